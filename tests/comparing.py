"""Comparisons of a pair while nothing else is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.checks import compare_runs
from pytest_llm.checks.family import Decisions

if TYPE_CHECKING:
    from pytest_llm.checks.findings import Comparison
    from pytest_llm.records import Claim, Gate, PairedRun
    from pytest_llm.stats.sequential import Rule


def compare_alone(run: PairedRun, asked: Gate | Claim, rule: Rule) -> Comparison:
    """Return the verdict on one metric by a rule, decided by itself."""
    return compare_runs(run, asked, Decisions(rule, [(run, asked)]))
