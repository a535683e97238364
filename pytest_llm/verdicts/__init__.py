"""From a run and what was asked of it to verdicts, each able to explain itself."""

from pytest_llm.verdicts.drift import compare, compare_sides
from pytest_llm.verdicts.limits import judge
from pytest_llm.verdicts.operators import slower_phases
from pytest_llm.verdicts.output import judge_output, not_to_be_had, without_reference
from pytest_llm.verdicts.paired import compare_runs
from pytest_llm.verdicts.said import judge_said
from pytest_llm.verdicts.stored import alike, screen_run
from pytest_llm.verdicts.telling import explain, failing, notes, verdicts, worst
from pytest_llm.verdicts.words import NOT_QUALIFIED

__all__ = [
    "NOT_QUALIFIED",
    "alike",
    "compare",
    "compare_runs",
    "compare_sides",
    "explain",
    "failing",
    "judge",
    "judge_output",
    "judge_said",
    "not_to_be_had",
    "notes",
    "screen_run",
    "slower_phases",
    "verdicts",
    "without_reference",
    "worst",
]
