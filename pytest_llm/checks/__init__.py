"""From a run and what was asked of it to verdicts, each able to explain itself."""

from pytest_llm.checks.baseline import alike, check_stored_runs
from pytest_llm.checks.comparison import compare_runs
from pytest_llm.checks.drift import compare, compare_sides
from pytest_llm.checks.explain import explain, failing, notes, verdicts, worst
from pytest_llm.checks.format import NOT_QUALIFIED
from pytest_llm.checks.limits import judge_limits
from pytest_llm.checks.operators.explain import slower_phases
from pytest_llm.checks.output.compare import compare_with_stored
from pytest_llm.checks.output.verdict import judge_output, not_covered_output, without_reference

__all__ = [
    "NOT_QUALIFIED",
    "alike",
    "check_stored_runs",
    "compare",
    "compare_runs",
    "compare_sides",
    "compare_with_stored",
    "explain",
    "failing",
    "judge_limits",
    "judge_output",
    "not_covered_output",
    "notes",
    "slower_phases",
    "verdicts",
    "without_reference",
    "worst",
]
