"""Outputs of a step for GitHub: ``name=value`` lines for the file ``$GITHUB_OUTPUT``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.records import Verdict
from pytest_llm.reports.rows import failed, shortfall, verdicts, worst
from pytest_llm.system.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_llm.reports.document import Results, TestEntry


def render(files: Sequence[Results]) -> str:
    """Return the worst verdict, counts of tests and verdicts, and the largest loss that could have passed.

    ``failed_test`` is the first test that a verdict failed, as ``pytest-llm bisect`` takes it; "" if none.
    ``detectable_loss`` is a ratio: the largest of the losses that gates would have called; "" if none tells.
    """
    tests = [test for each in files for test in each.tests]
    found = [verdict for test in tests for verdict in verdicts(test)]
    verdict, losses = worst(found), [loss for test in tests for loss in _detectable(test)]
    broken = failed(tests)
    proved = broken or not shortfall(files)  # or a run that was killed would be a pass
    values: dict[str, object] = {
        "verdict": verdict.value if verdict is not None and proved else "",
        "finished": str(all(each.finished for each in files)).lower(),
        "tests": len(tests),
        "failed": len(broken),
        "failed_test": next((clean(test.nodeid) for test in broken if test.failed_by_verdict), ""),
        **{each.value.replace(" ", "_"): found.count(each) for each in Verdict},
        "detectable_loss": f"{max(losses):.6g}" if losses else "",
    }
    return "\n".join(f"{name}={value}" for name, value in values.items())


def _detectable(test: TestEntry) -> Iterator[float]:
    for entry in test.metrics.values():
        for loss in (
            entry.baseline.calls_from if entry.baseline is not None else None,
            entry.comparison.mde if entry.comparison is not None else None,
        ):
            if loss is not None:
                yield loss
