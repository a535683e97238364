"""Tables of a ``*.llm.toml`` file: tests for people who gate releases and write no Python.

Each key becomes the marker that does the same, so that both kinds of tests mean the same.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.errors import DataError, LLMBenchError, UnknownNameError, UsageError
from pytest_llm.plugin import markers
from pytest_llm.plugin.declared import choices, read_load_options, read_workload
from pytest_llm.records import LoadOptions, Workload
from pytest_llm.records.metrics import find
from pytest_llm.system import ini_file
from pytest_llm.system.folders import expanded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

TOP_KEYS = ("models", "load", "tests")
TEST_KEYS = (
    "models",
    "load",
    "workload",
    "limits",
    "no_regression",
    "faster_than",
    "compare",
    "output",
    "answers",
    "marks",
)
REGRESSION_KEYS = ("metrics", "tolerance", "negligible")
COMPARE_KEYS = ("metrics", "tolerance", "output")
FASTER_KEYS = ("by", "phase", "load")
OUTPUT_KEYS = ("prompts", "top_k", "max_kl", "max_distance")
ANSWER_KEYS = ("prompt", "contains", "max_tokens")
WORKLOAD_KEYS = tuple(each.name for each in fields(Workload))
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ANSWER_TOKENS = 32

_MEASURED = ("workload", "limits", "no_regression", "faster_than", "compare", "output")


class Mark(NamedTuple):
    """A marker and its arguments."""

    name: str
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = {}


class Answer(NamedTuple):
    """A prompt, and a text that the greedy answer must hold."""

    prompt: str
    contains: str
    max_tokens: int = ANSWER_TOKENS


@dataclass(frozen=True)
class TestTable:
    """A test of a file.

    Attributes:
        name: Of its table.
        line: Of the table in the file, from 1 on.
        marks: What it asks.
        answers: What the model must say; then nothing is measured.
        problem: What is wrong with it, with file, table and key; "" if nothing is.
    """

    name: str
    line: int
    marks: tuple[Mark, ...] = ()
    answers: tuple[Answer, ...] = ()
    problem: str = ""

    __test__ = False

    @property
    def function(self) -> str:
        """The name of its function."""
        return self.name if self.name.startswith("test") else f"test_{self.name}"

    @property
    def place(self) -> str:
        """Its table, as messages name it."""
        return f"[tests.{self.name}]"


def read_suite(path: Path) -> list[TestTable]:
    """Return the tests of a file; one that makes no sense has a problem, and the others run.

    Raises:
        UsageError: The file is no TOML, or has no tests.
    """
    try:
        content = ini_file.read_toml(path)
    except DataError as error:
        raise UsageError(str(error)) from None
    text = path.read_text(encoding="utf-8")
    with _at(path.name, "at the top"):
        _known("key", content, TOP_KEYS)
        tests = content.get("tests")
        if not isinstance(tests, dict) or not tests:
            raise UsageError("it has no tests: write a table [tests.NAME]")
    found = [_test(path, text, name, table, content) for name, table in tests.items()]
    functions = [each.function for each in found]
    for each in found:
        if functions.count(each.function) > 1:
            raise UsageError(f"{path.name}, {each.place}: two tests have this name: rename one of them")
    return found


def _test(path: Path, text: str, name: str, table: object, top: Mapping[str, Any]) -> TestTable:
    line = _line_of(text, name)
    try:
        with _at(path.name, f"[tests.{name}]"):
            if not NAME.fullmatch(name):
                raise UsageError("a name has letters, digits and '_' only, and no digit first")
            if not isinstance(table, dict):
                raise UsageError("it is not a table")
            _known("key", table, TEST_KEYS)
        answers = _answers(path, name, table)
        with _at(path.name, f"[tests.{name}]"):
            if answers and (measured := [each for each in _MEASURED if each in table]):
                raise UsageError(
                    f"answers measures nothing, and {measured[0]} does: write two tests, one with each"
                )
        marks = [_model(path, name, table, top), *_marks(path, name, table)]
    except UsageError as error:
        return TestTable(name if NAME.fullmatch(name) else _as_name(name), line, problem=str(error))
    return TestTable(name, line, tuple(marks), answers)


def _model(path: Path, name: str, table: Mapping[str, Any], top: Mapping[str, Any]) -> Mark:
    where = path.name, f"[tests.{name}]" if "models" in table else "at the top"
    with _at(*where, "models"):
        models = table.get("models", top.get("models", ()))
        models = [models] if isinstance(models, str) else models
        if not isinstance(models, (list, tuple)) or not all(isinstance(each, str) for each in models):
            raise UsageError(f"{models!r} is neither a name, a path, nor a list of them")
    load: dict[str, Any] = {}
    for place, options in (("at the top", top.get("load", {})), (f"[tests.{name}]", table.get("load", {}))):
        load |= _load(path, place, options)
    return Mark("llm_model", ([_near(path, each) for each in models],), load)


def _load(path: Path, place: str, options: object) -> dict[str, Any]:
    with _at(path.name, place, "load"):
        if not isinstance(options, dict):
            raise UsageError("it is not a table of load options")
        for each in choices([""], options, {}):
            read_load_options(each.load_options, LoadOptions(), "load")
        return options


def _near(path: Path, model: str) -> str:
    """Return a model's name; a path is from the file on, if it leads to a file there."""
    from pytest_llm.models.naming import is_path

    beside = path.parent / expanded(model)
    return str(beside) if is_path(model) and beside.exists() else model


def _marks(path: Path, name: str, table: Mapping[str, Any]) -> Iterator[Mark]:
    for key, read in _READERS.items():
        if key in table:
            with _at(path.name, f"[tests.{name}]", key):
                found = list(read(table[key]))
                for each in found:
                    if each.name in markers.MARKERS:
                        markers.read(each.name, each.arguments, each.keywords)
            yield from found


def _workload(value: Any) -> Iterator[Mark]:
    _known("argument", _table(value), WORKLOAD_KEYS)
    for each in choices([""], {}, markers.llm_workload(**value)):
        read_workload(each.workload)
    yield Mark("llm_workload", (), value)


def _limits(value: Any) -> Iterator[Mark]:
    for metric, bound in _table(value).items():
        side = "min" if find(metric).better == "higher" else "max"
        yield Mark("llm_limit", (metric,), {side: bound})


def _of_metrics(marker: str, keys: Sequence[str], value: Any) -> Iterator[Mark]:
    if value is True:
        yield Mark(marker)
    elif value is not False:
        _known("key", _table(value), keys)
        others = {name: each for name, each in value.items() if name != "metrics"}
        yield Mark(marker, tuple(_texts(value.get("metrics", ()))), others)


def _faster_than(value: Any) -> Iterator[Mark]:
    _known("key", _table(value), FASTER_KEYS)
    load = _table(value.get("load", {}))
    read_load_options(load, LoadOptions(), "load")
    others = {name: each for name, each in value.items() if name != "load"}
    yield Mark("llm_faster_than", (), {**others, **load})


def _output(value: Any) -> Iterator[Mark]:
    if value is True:
        yield Mark("llm_output")
    elif value is not False:
        _known("key", _table(value), OUTPUT_KEYS)
        yield Mark("llm_output", (), value)


def _own_marks(value: Any) -> Iterator[Mark]:
    for each in _texts(value):
        if not NAME.fullmatch(each):
            raise UsageError(f"{each!r} cannot be a marker: it has letters, digits and '_' only")
        yield Mark(each)


_READERS: Mapping[str, Callable[[Any], Iterator[Mark]]] = {
    "workload": _workload,
    "limits": _limits,
    "no_regression": partial(_of_metrics, "llm_no_regression", REGRESSION_KEYS),
    "faster_than": _faster_than,
    "compare": partial(_of_metrics, "llm_compare", COMPARE_KEYS),
    "output": _output,
    "marks": _own_marks,
}


def _answers(path: Path, name: str, table: Mapping[str, Any]) -> tuple[Answer, ...]:
    with _at(path.name, f"[tests.{name}]", "answers"):
        value = table.get("answers", ())
        if not isinstance(value, (list, tuple)) or ("answers" in table and not value):
            raise UsageError('it is not a list: write [{ prompt = "…", contains = "…" }]')
        for each in value:
            _known("key", _table(each), ANSWER_KEYS)
            if not all(isinstance(each.get(key), str) and each[key] for key in ("prompt", "contains")):
                raise UsageError("each answer needs a prompt, and the text that it contains")
            tokens = each.get("max_tokens", ANSWER_TOKENS)
            if type(tokens) is not int or tokens < 1:
                raise UsageError(f"max_tokens={tokens!r} is not a whole number above 0")
        return tuple(Answer(**each) for each in value)


def _known(kind: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in table:
        if key not in known:
            raise UnknownNameError(kind, key, known)


def _table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{value!r} is not a table: write {{ name = value }}")
    return value


def _texts(value: Any) -> list[str]:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, (list, tuple)) or not all(isinstance(each, str) for each in found):
        raise UsageError(f"{value!r} is neither a text nor a list of texts")
    return list(found)


@contextmanager
def _at(file: str, table: str, key: str = "") -> Iterator[None]:
    """Name the file, the table and the key in an error."""
    try:
        yield
    except LLMBenchError as error:
        place = ", ".join(each for each in (file, table, key) if each)
        raise UsageError(f"{place}: {error}") from None


def _line_of(text: str, name: str) -> int:
    """Return the line of a table, or of the first key that begins with its name."""
    table = rf"^[ \t]*\[[ \t]*tests[ \t]*\.[ \t]*[\"']?{re.escape(name)}[\"']?[ \t]*[\].]"
    for pattern in (table, rf"^[ \t]*(?:tests[ \t]*\.[ \t]*)?[\"']?{re.escape(name)}[\"']?[ \t]*[=.]"):
        found = re.search(pattern, text, re.MULTILINE)
        if found:
            return text.count("\n", 0, found.start()) + 1
    return 1


def _as_name(name: str) -> str:
    return re.sub(r"\W", "_", f"_{name}", flags=re.ASCII)
