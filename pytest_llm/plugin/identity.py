"""Identity of a test: a key that is the same however pytest is started and whatever other plugins add.

A parameter is part of the key if the test asks for its argument: in its signature, through a fixture, or with
``parametrize``. Plugins that repeat tests add arguments that no test asks for; such repeats share a key.
"""

from __future__ import annotations

import inspect
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pytest_llm.baselines.module_files import name_of
from pytest_llm.plugin.homes import is_installed
from pytest_llm.records import TestKey
from pytest_llm.system.repository import repository_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from pytest_llm.plugin.homes import Homes

# The fixture that carries the parameters made of lists in our markers; no test uses it by name.
CHOICE = "_llm_choice"


def key_of(item: pytest.Item, homes: Homes) -> TestKey:
    """Return what identifies a test among those of its home.

    Raises:
        UsageError: The home cannot be found.
    """
    nodes = item.listchain()
    # Some collectors of other plugins stand for a part of a file and are files themselves.
    file = next((index for index, node in enumerate(nodes) if _is_file(node)), len(nodes) - 2)
    names = [node.name for node in nodes[file + 1 : -1]]
    name = getattr(item, "originalname", None) or item.name
    return TestKey(homes.module(item.path), "::".join([*names, name]), _parameters(item).id)


def nodeid_of(item: pytest.Item, homes: Homes) -> str:
    """Return the node id from rootdir, without what other plugins add: unique, and the same in every call.

    Pytest's own begins at the folder that was named, if that is not in rootdir.

    Raises:
        UsageError: The home cannot be found.
    """
    return f"{homes.place(item.path)}::{name_of(key_of(item, homes))}"


def are_repeats(one: pytest.Item, other: pytest.Item) -> bool:
    """Return if two items with one key are the same test: only parameters differ that it does not ask for."""
    mine, theirs = _parameters(one), _parameters(other)
    if (one.nodeid, one.name) == (other.nodeid, other.name):
        return True  # collected twice
    return bool(mine.added and theirs.added) and (
        mine.asked.keys() == theirs.asked.keys()
        and all(mine.asked[name] is theirs.asked[name] for name in mine.asked)
    )


class _Parameters(NamedTuple):
    """The parameters of an item.

    Attributes:
        id: Of those that the test asks for, as pytest writes it.
        asked: Their values.
        added: The other ones.
    """

    id: str
    asked: Mapping[str, object]
    added: Mapping[str, object]


def _parameters(item: pytest.Item) -> _Parameters:
    callspec = getattr(item, "callspec", None)
    if callspec is None or not isinstance(item, pytest.Function):
        return _Parameters("", {}, {})
    marked = {name for mark in item.iter_markers("parametrize") for name in _names(mark)}
    known = {CHOICE, *marked, *_asked_fixtures(item)}
    asked = {name: value for name, value in callspec.params.items() if name in known}
    added = {name: value for name, value in callspec.params.items() if name not in known}
    return _Parameters(_id(item, asked) if added else callspec.id, asked, added)


def _asked_fixtures(item: pytest.Function) -> set[str]:
    """Return the fixtures that the test and its project ask for, and those that these ask for."""
    info = item._fixtureinfo
    definitions: Mapping[str, Sequence[Any]] = info.name2fixturedefs
    used = {name for mark in item.iter_markers("usefixtures") for name in mark.args}
    unasked = [name for name in info.initialnames if name not in used and name not in info.argnames]
    waiting = [*info.argnames, *used, *(each for each in unasked if _of_project(definitions.get(each, ())))]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [each for definition in definitions.get(name, ()) for each in definition.argnames]
    return found


def _of_project(definitions: Sequence[Any]) -> bool:
    functions = [inspect.unwrap(each.func) for each in definitions]
    files = [each.__code__.co_filename for each in functions if hasattr(each, "__code__")]
    return any(not is_installed(Path(each)) for each in files)


def _id(item: pytest.Function, asked: Collection[str]) -> str:
    """Return the id without the parts of parameters that the test does not ask for.

    Pytest keeps one part for each call of ``parametrize``, and the parameters in the order of the calls.
    """
    parts: Sequence[str] = item.callspec._idlist
    for at_once in (False, True):  # a hook may parametrize several arguments in one call
        calls = [
            list(names)
            for _, names in itertools.groupby(item.callspec.params, _call_of(item, asked, at_once))
        ]
        if len(calls) == len(parts):
            return "-".join(part for part, names in zip(parts, calls, strict=True) if names[0] in asked)
    return str(item.callspec.id)  # a part is hidden


def _call_of(item: pytest.Function, asked: Collection[str], at_once: bool) -> Callable[[str], object]:
    """Return what tells the call of ``parametrize`` that an argument belongs to from the next one."""
    marks = {
        name: ("mark", number)
        for number, mark in enumerate(item.iter_markers("parametrize"))
        for name in _names(mark)
    }
    definitions: Mapping[str, Sequence[Any]] = item._fixtureinfo.name2fixturedefs

    def call_of(name: str) -> object:
        if name in marks:
            return marks[name]
        of_fixture = any(each.params for each in definitions.get(name, ()))
        return ("hook", name in asked) if at_once and not of_fixture else name

    return call_of


def _names(mark: pytest.Mark) -> list[str]:
    given = mark.args[0] if mark.args else mark.kwargs.get("argnames", ())
    names = given.split(",") if isinstance(given, str) else given
    return [name.strip() for name in names if name.strip()]


def _is_file(node: object) -> bool:
    return isinstance(node, pytest.File) and not isinstance(node, pytest.Package)


def place_of(item: pytest.Item) -> tuple[str, int]:
    """Return the file of a test, from its repository or else from rootdir, and its line from 1 on."""
    name, line, _ = item.location
    path = Path(os.path.normpath(item.config.rootpath / name))
    root = repository_of(path.parent)
    return path.relative_to(root).as_posix() if root is not None else name, 0 if line is None else line + 1
