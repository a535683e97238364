"""Registries: the named parts of this package, to which other packages add their own.

A package adds to a registry when it is imported: from a ``conftest.py``, or as an entry point of the group
``pytest_llm``, which is loaded when a registry is first listed or asked for a name that it does not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, TypeVar

from pytest_llm.errors import UnknownNameError, UsageError

GROUP = "pytest_llm"
Part = TypeVar("Part")
_loaded: set[str] = set()


class Registry(Mapping[str, Part]):
    """Parts by name, in the order in which they were registered."""

    def __init__(self, kind: str, parts: Mapping[str, Part]) -> None:
        """Begin with this package's own parts.

        Args:
            kind: A part's name in messages: "engine".
            parts: By name. Equal parts are the same part, so code is named as "module:attribute".
        """
        self._kind = kind
        self._parts = dict(parts)

    def register(self, name: str, part: Part) -> None:
        """Add a part; ``UsageError`` if another part has that name, nothing if an equal one has it."""
        if self._parts.setdefault(name, part) != part:
            raise UsageError(f"{self._kind} {name!r} is registered already: choose another name")

    def find(self, name: str, fix: str = "") -> Part:
        """Return the part, or raise ``UnknownNameError``; ``fix`` is a clause of its message."""
        if name not in self:
            raise UnknownNameError(self._kind, name, self, fix=fix)
        return self._parts[name]

    def __getitem__(self, name: str) -> Part:
        if name not in self._parts:
            _load_extensions()
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        _load_extensions()
        return iter(list(self._parts))

    def __len__(self) -> int:
        _load_extensions()
        return len(self._parts)


def load_code(name: str) -> Any:
    """Return what "module:attribute" names."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def _load_extensions() -> None:
    if GROUP in _loaded:
        return
    _loaded.add(GROUP)  # before they are loaded: an extension may list a registry itself
    from importlib.metadata import entry_points

    for each in entry_points(group=GROUP):
        try:
            each.load()
        except Exception as error:
            raise UsageError(
                f"the extension {each.name} ({each.value}) cannot be imported: mend or uninstall it "
                f"({type(error).__name__}: {error})"
            ) from error
