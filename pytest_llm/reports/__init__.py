"""Reports on results: one module for each, and one line in ``REPORTS``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pytest_llm.system.registry import Registry, load_code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.reports.document import Results


class Report(Protocol):
    """A function that makes a report."""

    def __call__(self, files: Sequence[Results]) -> str:
        """Return the text of a report on one or more results files, without a newline at its end."""


# Report -> "module:function", a :class:`Report`.
REPORTS: Registry[str] = Registry(
    "report",
    {
        "terminal": "pytest_llm.reports.terminal:render",
        "markdown": "pytest_llm.reports.markdown:render",
        "csv": "pytest_llm.reports.comma_separated:render",
        "html": "pytest_llm.reports.html:render",
        "annotations": "pytest_llm.reports.github_annotations:render",
        "outputs": "pytest_llm.reports.github_outputs:render",
    },
)


def render(name: str, files: Sequence[Results]) -> str:
    """Return a report on one or more results files.

    Raises:
        UnknownNameError: No report has that name.
    """
    report: Report = load_code(REPORTS.find(name))
    return report(files)
