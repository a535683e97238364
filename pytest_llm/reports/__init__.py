"""Reports on results: one module for each, and one line in ``REPORTS``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pytest_llm.system.registry import Registry, load_code

if TYPE_CHECKING:
    from pytest_llm.reports.document import Results


class Report(Protocol):
    """A function that makes a report."""

    def __call__(self, results: Results) -> str:
        """Return the report's text, without a newline at its end."""


# Report -> "module:function", a :class:`Report`.
REPORTS: Registry[str] = Registry(
    "report",
    {
        "terminal": "pytest_llm.reports.terminal:render",
        "json": "pytest_llm.reports.results_file:render",
    },
)


def render(name: str, results: Results) -> str:
    """Return a report on results.

    Raises:
        UnknownNameError: No report has that name.
    """
    report: Report = load_code(REPORTS.find(name))
    return report(results)
