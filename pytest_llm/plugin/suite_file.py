"""Collection of ``*.llm.toml`` files: each of their tables is an ordinary test function with markers.

This module loads in every run of pytest.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pytest_llm.plugin.suite_tables import Answer, TestTable

SUFFIX = ".llm.toml"


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> SuiteFile | None:
    """Collect a suite without Python."""
    if not file_path.name.endswith(SUFFIX):
        return None
    file: SuiteFile = SuiteFile.from_parent(parent, path=file_path)
    return file


def problem_of(item: pytest.Item) -> str:
    """Return what is wrong with the table of a test; "" if nothing is, or it comes from no such file."""
    table: TestTable | None = getattr(getattr(item, "obj", None), "llm_table", None)
    return table.problem if table is not None else ""


def place_of_table(item: pytest.Item) -> str:
    """Return the file and table that a test comes from, for messages: "speed.llm.toml, [tests.chat]: "."""
    table: TestTable | None = getattr(getattr(item, "obj", None), "llm_table", None)
    return f"{item.path.name}, {table.place}: " if table is not None else ""


class SuiteFile(pytest.Module):
    """A file of tables, as a module with a function for each."""

    def _getobj(self) -> ModuleType:
        from pytest_llm.errors import UsageError
        from pytest_llm.plugin.suite_tables import read_suite

        try:
            tables = read_suite(self.path)
        except UsageError as error:
            raise self.CollectError(str(error)) from None
        module = ModuleType(self.path.name, f"Tests of {self.path.name}.")
        module.__file__ = str(self.path)
        for each in tables:
            setattr(module, each.function, _function(each, self.path))
        return module

    def funcnamefilter(self, name: str) -> bool:  # noqa: ARG002
        """Return True: every function of the module is a test, whatever ``python_functions`` says."""
        return True


def _function(table: TestTable, path: Path) -> Callable[..., None]:
    """Return a test function that stands at the table's line, for reports and for ``file:line``."""
    takes = "gguf_model" if table.answers else "llm_bench"
    body = "_check(gguf_model, _answers)" if table.answers else "pass"
    source = "\n" * (table.line - 1) + f"def {table.function}({takes}): {body}"
    names: dict[str, Any] = {"_check": check_answers, "_answers": table.answers}
    exec(compile(source, str(path), "exec"), names)
    function: Callable[..., None] = names[table.function]
    for each in table.marks:
        mark = getattr(pytest.mark, each.name)
        # Written out, because a mark of one function alone would be taken for a decorator's use.
        function = mark.with_args(*each.arguments, **each.keywords)(function)
    function.llm_table = table  # type: ignore[attr-defined]
    return function


def check_answers(model: Any, answers: Iterable[Answer]) -> None:
    """Fail if the model's greedy answer to a prompt does not hold a text."""
    for each in answers:
        text = model.generate(each.prompt, max_tokens=each.max_tokens).text
        if each.contains not in text:
            told = f"the answer to {each.prompt!r} is {text!r}, without {each.contains!r}"
            pytest.fail(told, pytrace=False)
