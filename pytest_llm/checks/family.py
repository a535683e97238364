"""Decisions on all questions of a run that pairs answer, made together: they share the error rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.checks.coverage import not_comparable
from pytest_llm.records import Gate
from pytest_llm.stats.log_ratios import observations
from pytest_llm.stats.sequential import Member, decide_family

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from pytest_llm.records import Claim, PairedRun
    from pytest_llm.stats.log_ratios import Observations
    from pytest_llm.stats.sequential import Decision, Rule

    Asked = tuple[PairedRun, Gate | Claim]
    Questions = Sequence[Asked]


class Decisions:
    """The decision on each question of a family.

    Attributes:
        rule: The one that they were made by.
    """

    def __init__(self, rule: Rule, questions: Iterable[Asked] = ()) -> None:
        """Decide questions; of equal ones about the same campaign and workload, the first counts.

        Metrics that repeat exactly are no part of the family.
        """
        self.rule = rule
        once: dict[Hashable, Asked] = {}
        for run, asked in questions:
            if not asked.metric.exact:
                once.setdefault(_key(run, asked), (run, asked))
        found = decide_family(rule, [_member(*each) for each in once.values()])
        self._found = dict(zip(once, found, strict=True))

    def of(self, run: PairedRun, asked: Gate | Claim) -> Decision:
        """Return the decision on a question that was among the family's.

        Raises:
            KeyError: It was not.
        """
        return self._found[_key(run, asked)]


def _pair(run: PairedRun) -> Hashable:
    return run.candidate.subject, run.reference.subject, run.candidate.workload


def _key(run: PairedRun, asked: Gate | Claim) -> Hashable:
    sizes = (asked.tolerance, asked.negligible) if isinstance(asked, Gate) else (asked.by,)
    return _pair(run), asked.metric.name, sizes


def _member(run: PairedRun, asked: Gate | Claim) -> Member:
    def observe(sessions: int) -> Observations:
        return observations(asked.metric, run, sessions)

    seen = not not_comparable(run, asked.metric)
    count = len(observations(asked.metric, run).typical) if seen else 0
    return Member(asked, observe, count, run.campaign, _pair(run))
