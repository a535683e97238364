"""What a pair's campaign has so far, and which questions are open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.measure.memory import beside_another, memory_series
from pytest_llm.records import PairedRun, Run, Session
from pytest_llm.stats.log_ratios import session_log_ratios
from pytest_llm.stats.sequential import decide_any
from pytest_llm.stats.summary import summarize_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.errors import EngineError
    from pytest_llm.measure.rounds import Disturbances
    from pytest_llm.records import JSON, Build, Campaign, Claim, Gate, Model, Series, Workload
    from pytest_llm.stats.sequential import Rule


class PairedRecords:
    """Sessions, errors and open questions of a campaign of two subjects.

    Attributes:
        not_interleaved: Whether both did not fit into memory together.
        cut_off: Why no further session can follow; "" while one can.
    """

    def __init__(self, campaign: Campaign, models: tuple[Model, Model], rule: Rule) -> None:
        """Begin with nothing measured."""
        self.not_interleaved = False
        self.cut_off = ""
        self._campaign = campaign
        self._models = models
        self._rule = rule
        self._sessions: dict[Workload, list[tuple[Session, Session]]] = {w: [] for w in campaign.workloads}
        self._disturbances: dict[Workload, list[Disturbances]] = {w: [] for w in campaign.workloads}
        self._errors: dict[Workload, EngineError] = {}
        self._loaded: dict[int, tuple[Build, Mapping[str, JSON], Mapping[str, JSON]]] = {}
        self._bytes = [0.0, 0.0]
        self._alone: dict[tuple[int, Workload], Mapping[str, Series]] = {}

    def waiting(self) -> list[Workload]:
        """Return the workloads that another session has to measure."""
        return [each for each in self._sessions if each not in self._errors and self._open(each)]

    def loaded(
        self, place: int, build: Build, effective_options: Mapping[str, JSON], invariants: Mapping[str, JSON]
    ) -> None:
        """Take in what a subject says of itself."""
        self._loaded[place] = (build, effective_options, invariants)

    def has_seen(self, place: int) -> bool:
        """Whether a subject has said what it is."""
        return place in self._loaded

    def effective_options(self, place: int) -> Mapping[str, JSON]:
        """Return what a subject said of its load options."""
        return self._loaded[place][1]

    def alone(self, place: int, workload: Workload, memory: Mapping[str, Series]) -> None:
        """Take in what a subject showed of memory before the sessions, while its partner was not there."""
        self._alone[place, workload] = memory

    def memory(
        self, place: int, workload: Workload, at_load: Mapping[str, Series], at_work: Mapping[str, Series]
    ) -> Mapping[str, Series]:
        """Return what the session that is under way showed of a subject's memory."""
        # What ggml tells of a device may be both subjects', and is taken from the pass alone.
        own = memory_series(at_load, at_work, workload, self.effective_options(place), {})
        first = not self._sessions[workload]
        return beside_another(own, self._alone.get((place, workload), {}), first=first)

    def needs(self, place: int, peaks: Mapping[str, Series]) -> None:
        """Take in how much memory a subject took."""
        seen = peaks.get("peak_ram")
        if seen is not None:
            self._bytes[place] = max(self._bytes[place], *seen.values)

    def bytes_together(self) -> float:
        """Return how much memory both take, as far as it is known."""
        return sum(self._bytes)

    def add(
        self,
        workload: Workload,
        series: tuple[Mapping[str, Series], Mapping[str, Series]],
        disturbances: Disturbances,
    ) -> None:
        """Take in a session of both."""
        self._sessions[workload].append((Session(series[0]), Session(series[1])))
        self._disturbances[workload].append(disturbances)

    def was_measured(self, workload: Workload) -> bool:
        """Whether there are sessions of a workload, and no error."""
        return bool(self._sessions[workload]) and workload not in self._errors

    def add_to_last(self, workload: Workload, series: Mapping[str, Series]) -> None:
        """Take in what the candidate showed after all sessions."""
        ours, theirs = self._sessions[workload][-1]
        self._sessions[workload][-1] = Session({**ours.series, **series}), theirs

    def fail(self, workload: Workload, error: EngineError) -> None:
        """Take in that a workload cannot be measured."""
        self._errors[workload] = error

    def outcomes(self) -> dict[Workload, PairedRun | EngineError]:
        """Return for each workload its runs, or the error that ended its measuring."""
        return {each: self._errors.get(each) or self._paired_run(each) for each in self._sessions}

    def _open(self, workload: Workload) -> bool:
        sessions = self._sessions[workload]
        if len(sessions) >= self._rule.looks[-1]:
            return False
        asked = [each.asked for each in self._campaign.questions if each.workload == workload]
        if not asked:
            return len(sessions) < self._rule.looks[0]
        return any(self._undecided(each, sessions) for each in asked)

    def _undecided(self, asked: Gate | Claim, sessions: Sequence[tuple[Session, Session]]) -> bool:
        ratios = session_log_ratios(asked.metric, sessions, together=not self.not_interleaved)
        # What one session had nothing of, no further one can answer.
        return len(ratios) == len(sessions) and decide_any(self._rule, asked, ratios).verdict is None

    def _paired_run(self, workload: Workload) -> PairedRun:
        return PairedRun(
            self._run(workload, 0),
            self._run(workload, 1),
            dropped=tuple(dict(each.dropped) for each in self._disturbances[workload]),
            disturbed=tuple(dict(each.counted) for each in self._disturbances[workload]),
            not_interleaved=self.not_interleaved,
            cut_off=self.cut_off if self._open(workload) else "",
        )

    def _run(self, workload: Workload, place: int) -> Run:
        reference = self._campaign.reference
        assert reference is not None, "a pair has one"
        build, effective_options, invariants = self._loaded[place]
        sessions = tuple(each[place] for each in self._sessions[workload])
        return Run(
            subject=(self._campaign.subject, reference)[place],
            workload=workload,
            model=self._models[place],
            build=build,
            effective_options=effective_options,
            sessions=sessions,
            measurements=summarize_all(sessions),
            invariants=invariants,
        )
