"""Variants: several subjects in the same sessions, each compared with the last one, the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.checks.family import Decisions
from pytest_llm.measure.limits import Stopwatch
from pytest_llm.measure.sessions import run_sessions
from pytest_llm.measure.state import CampaignState
from pytest_llm.records import PairedRun

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.errors import EngineError
    from pytest_llm.measure.rounds import MeasurementContext
    from pytest_llm.records import Campaign, Claim, Gate, Run, Workload
    from pytest_llm.records.side import Side
    from pytest_llm.stats.sequential import Rule

    Pairs = tuple[PairedRun, ...]


def measure_variants(
    campaign: Campaign,
    sides: tuple[Side, ...],
    rule: Rule,
    context: MeasurementContext,
    earlier: Sequence[tuple[PairedRun, Gate | Claim]] = (),
) -> Mapping[Workload, Pairs | EngineError]:
    """Run sessions of all sides until every question about each pair is answered.

    Args:
        campaign: The workloads, and the questions that are asked of each pair.
        sides: The variants; the last one is the reference of all others.
        rule: Says after which sessions the questions are looked at; its family has those of all pairs.
        context: Probes, clock, coin and limits.
        earlier: The questions of campaigns before this one, with their pairs: all share the error rate.

    Returns:
        For each workload the pairs, in the order of the variants, or the error that ended it.

    Raises:
        EngineError: An engine does not start, or refuses to load its subject.
        ModelHashError: The file of a model changed before the end of a session.
    """
    watch = Stopwatch(campaign, context.limits, context.clock)
    state = VariantsState(campaign, sides, rule, watch, context.control, earlier)
    run_sessions(campaign, state, context)
    return state.found()


class VariantsState(CampaignState):
    """Sessions, errors and open questions of several candidates and their reference.

    Attributes:
        asked_about: How many candidates the questions are asked of, from the first one on; None is all.
    """

    asked_about: int | None = None

    def found(self) -> dict[Workload, Pairs | EngineError]:
        """Return for each workload its pairs, or the error that ended it."""
        return {each: self._errors.get(each) or self.pairs(each) for each in self._sessions}

    def pairs(self, workload: Workload) -> Pairs:
        """Return each variant with the reference, from the sessions so far."""
        *candidates, reference = (self._run(workload, place) for place in range(len(self.sides)))
        turns = self._turns[workload]
        return tuple(
            PairedRun(
                each,
                reference,
                turns=tuple(session[place] if session else {} for session in turns),
                not_interleaved=self.not_interleaved,
                cut_off=self.cut_off.get(workload, ""),
                campaign=self.number,
            )
            for place, each in enumerate(candidates)
        )

    def decisions(self) -> Decisions:
        """Return the decisions on all questions after the sessions so far."""
        return Decisions(
            self._rule,
            [
                *self._earlier,
                *(
                    (pair, asked)
                    for workload in self._sessions
                    if self.was_measured(workload)
                    for pair in self.pairs(workload)[: self.asked_about]
                    for asked in self._asked(workload)
                ),
            ],
        )

    def runs(self) -> dict[Workload, Run | PairedRun]:
        """Return nothing: what is measured so far is shown in the end."""
        return {}

    def _open(self, workload: Workload) -> bool:
        done, looks = len(self._sessions[workload]), self._rule.looks
        if done >= looks[-1]:
            return False
        if done < looks[0]:
            return True
        decided = self.decisions()
        return any(
            self._is_open(decided, pair, asked)
            for pair in self.pairs(workload)[: self.asked_about]
            for asked in self._asked(workload)
        )

    @staticmethod
    def _is_open(decided: Decisions, pair: PairedRun, asked: Gate | Claim) -> bool:
        decision = decided.of(pair, asked)
        complete = decision.sessions == len(pair.candidate.sessions)
        return decision.verdict is None and not decision.stopped and complete
