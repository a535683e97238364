"""State of a campaign: what is measured so far, and which questions are open."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.checks.family import Decisions
from pytest_llm.engines.libraries import are_equal, names
from pytest_llm.errors import SameBuildError
from pytest_llm.measure.memory import beside_another, memory_series
from pytest_llm.measure.rounds import cut
from pytest_llm.records import Command, PairedRun, Run, Series, Session
from pytest_llm.records.metrics import OTHER_LOAD, OVER_TIME
from pytest_llm.stats.summary import summarize_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pytest_llm.errors import EngineError
    from pytest_llm.measure.limits import Stopwatch
    from pytest_llm.measure.rounds import Cut, Pace
    from pytest_llm.records import (
        JSON,
        Build,
        BuildReference,
        Campaign,
        Claim,
        Control,
        Gate,
        Turns,
        Workload,
    )
    from pytest_llm.records.protocols import Coverage, Loaded
    from pytest_llm.records.side import Side
    from pytest_llm.stats.sequential import Rule


class _Description(NamedTuple):
    build: Build
    effective_options: Mapping[str, JSON]
    invariants: Mapping[str, JSON]
    control: Control | None
    libraries: frozenset[Path] = frozenset()


class CampaignState:
    """Sessions, errors and open questions of one subject or of a pair.

    Attributes:
        sides: The subject; of a pair, the candidate and its reference. A *place* is an index of these.
        not_interleaved: Both of a pair do not fit into memory together.
        cut_off: Why no further session may begin, by workload.
        watch: What the sessions took.
        covers_nothing: A subject cannot be loaded, and never will.
    """

    def __init__(
        self,
        campaign: Campaign,
        sides: tuple[Side, ...],
        rule: Rule,
        watch: Stopwatch,
        control: Control | None = None,
        earlier: Sequence[tuple[PairedRun, Gate | Claim]] = (),
    ) -> None:
        """Begin with nothing measured.

        Args:
            campaign: What is asked.
            sides: The subject; of a pair, the candidate and its reference.
            rule: Says after which sessions the questions of a pair are looked at.
            watch: Tells how much time is left.
            control: The speed of the machine now.
            earlier: The questions of campaigns before this one, with their pairs.
        """
        self.sides = sides
        self.not_interleaved = False
        self.cut_off: dict[Workload, str] = {}
        self.watch = watch
        self._campaign = campaign
        self._rule = rule
        self._control = control
        self._sessions: dict[Workload, list[tuple[Session, ...]]] = {w: [] for w in campaign.workloads}
        self._turns: dict[Workload, list[Sequence[Mapping[str, Turns]]]] = {w: [] for w in campaign.workloads}
        self._paces: dict[tuple[int, Workload], Pace] = {}
        self._errors: dict[Workload, EngineError] = {}
        self._described: dict[int, _Description] = {}
        self._bytes: dict[int, float] = {}
        self._solo: dict[tuple[int, Workload], Mapping[str, Series]] = {}
        self._uncovered: dict[tuple[int, Workload], str] = {}
        self.covers_nothing = False
        self._earlier = earlier
        self._pairs: dict[Workload, PairedRun] = {}
        self._decided: tuple[int, Decisions] | None = None

    def role(self, place: int) -> str:
        """Return what a side that is no reference is called."""
        return "candidate" if len(self.sides) < 3 else f"variant {place + 1}"

    def waiting(self) -> list[Workload]:
        """Return the workloads that another session has to measure."""
        ended = {*self._errors, *self.cut_off}
        return [each for each in self._sessions if each not in ended and self._open(each)]

    def ends(self) -> list[int]:
        """Return the numbers of sessions after which a single loss can be called, and all is over."""
        last = self._campaign.sessions
        return [last] if self._campaign.fixed else sorted({self._rule.least_sessions, last})

    def was_measured(self, workload: Workload) -> bool:
        """Whether there are sessions of a workload, and no error."""
        return bool(self._sessions[workload]) and workload not in self._errors

    def describe(self, place: int, loaded: Loaded) -> None:
        """Ask a loaded subject what it is, once a campaign: every session shows the same.

        Raises:
            SameBuildError: Both of a pair are known now, and are equal if they must not be, or differ if they
                must not.
        """
        if place not in self._described:
            self._described[place] = _Description(
                loaded.build,
                loaded.effective_options(),
                loaded.invariants(),
                None if loaded.on_gpu else self._control,  # the processors' speed says little of a GPU's
                loaded.libraries(),
            )
            if {0, 1} <= self._described.keys():
                self._check_sides(self._described[0], self._described[1])

    def _check_sides(self, ours: _Description, theirs: _Description) -> None:
        asked = self._campaign.equal
        if asked is None or not (ours.libraries and theirs.libraries):
            return
        differ = [] if are_equal(ours.libraries, theirs.libraries) else ["libraries"]
        differ += [] if ours.build.environment == theirs.build.environment else ["environment"]
        first, second = (_arguments(each.subject.build) for each in self.sides[:2])
        differ += [] if first == second else ["command lines"]
        builds = f"{self.sides[0].subject.build} and {self.sides[1].subject.build}"
        if asked and differ:
            raise SameBuildError(
                f"--llm-aa: {builds} have other {' and '.join(differ)}: leave --llm-aa out to compare them"
            )
        if not asked and not differ:
            raise SameBuildError(
                f"{builds} are the same build: the libraries that they loaded are equal ("
                f"{names(ours.libraries)}), and so are options and environment; name another build, or "
                "measure the noise with --llm-aa"
            )

    def covers(self, place: int, workload: Workload, coverage: Coverage) -> bool:
        """Note what a subject covers of a workload; return if that is anything."""
        self._uncovered[place, workload] = coverage.reason
        return not coverage.nothing

    def cover_nothing(self, place: int, build: Build, reason: str = "") -> None:
        """Note that a side cannot be loaded, or that the other one cannot; nothing is measured then."""
        self.covers_nothing = True
        self._described.setdefault(place, _Description(build, {}, {}, None))
        for workload in self._sessions:
            self._sessions[workload].clear()
            self._pairs.pop(workload, None)
            known = [each for (_, other), each in self._uncovered.items() if other == workload and each]
            self._uncovered[place, workload] = reason or next(iter(known), "")

    def effective_options(self, place: int) -> Mapping[str, JSON]:
        """Return the load options of a subject as they really are."""
        return self._described[place].effective_options

    def note_pace(self, place: int, workload: Workload, pace: Pace) -> None:
        """Note what the slices of a subject must suit; the first reading holds for the whole campaign."""
        self._paces.setdefault((place, workload), pace)

    def cut(self, workload: Workload) -> Cut:
        """Return the slices of a round, equal for all subjects that were rehearsed."""
        return cut(workload, [pace for (_, other), pace in self._paces.items() if other == workload])

    def requests(self, workload: Workload) -> int:
        """Return how many whole requests a session takes."""
        return self._campaign.requests.get(workload, int(len(self.sides) == 1 and not workload.embed))

    def note_memory(self, place: int, peaks: Mapping[str, Series]) -> None:
        """Note how much memory a subject took."""
        seen = peaks.get("peak_ram")
        if seen is not None:
            self._bytes[place] = max(self._bytes.get(place, 0.0), *seen.values)

    def bytes_together(self) -> float:
        """Return how much memory both of a pair take, as far as it is known."""
        return sum(self._bytes.values())

    def note_solo(self, place: int, workload: Workload, memory: Mapping[str, Series]) -> None:
        """Note the memory of one side of a pair while it was the only one."""
        self._solo[place, workload] = memory

    def memory_beside(
        self, place: int, workload: Workload, at_load: Mapping[str, Series], at_work: Mapping[str, Series]
    ) -> Mapping[str, Series]:
        """Return the memory of one side in the current session, in which both are in memory."""
        # What ggml tells of a device may be both subjects', and is taken from the check alone.
        own = memory_series(at_load, at_work, workload, self.effective_options(place), {})
        first = not self._sessions[workload]
        return beside_another(own, self._solo.get((place, workload), {}), first=first)

    def add(
        self,
        workload: Workload,
        series: Sequence[Mapping[str, Series]],
        turns: Sequence[Mapping[str, Turns]] = (),
    ) -> None:
        """Add a session: the series of each side, and the turns that each but the last took with the last."""
        if self._sessions[workload]:  # one curve of memory is enough
            series = [{name: each for name, each in side.items() if name not in OVER_TIME} for side in series]
        self._sessions[workload].append(tuple(Session(each) for each in series))
        self._turns[workload].append(turns)
        self._pairs.pop(workload, None)

    def add_to_last(self, workload: Workload, series: Mapping[str, Series]) -> None:
        """Add to the last session what the candidate showed after all of them."""
        ours, *others = self._sessions[workload][-1]
        self._sessions[workload][-1] = (Session({**ours.series, **series}), *others)
        self._pairs.pop(workload, None)

    def note_others(self, workloads: Sequence[Workload], share: float | None) -> None:
        """Add to the last session of the candidate how much of the processors other processes used in it."""
        for workload in workloads:
            if share is not None and self.was_measured(workload):
                self.add_to_last(workload, {OTHER_LOAD: Series((round(share, 4),))})

    def fail(self, workload: Workload, error: EngineError) -> None:
        """Note that a workload cannot be measured."""
        self._errors[workload] = error

    def outcomes(self) -> dict[Workload, Run | PairedRun | EngineError]:
        """Return for each workload its run, or the error that ended it."""
        return {each: self._errors.get(each) or self._outcome(each) for each in self._sessions}

    def runs(self) -> dict[Workload, Run | PairedRun]:
        """Return the run so far of each workload that was measured."""
        return {each: self._outcome(each) for each in self._sessions if self.was_measured(each)}

    def _open(self, workload: Workload) -> bool:
        sessions = self._sessions[workload]
        if len(self.sides) == 1 or self._campaign.anchored:
            return len(sessions) < self._campaign.sessions
        if len(sessions) >= self._rule.looks[-1]:
            return False
        asked = self._asked(workload)
        if not asked:
            return len(sessions) < self._rule.looks[0]
        return not sessions or any(self._undecided(workload, each) for each in asked)

    def _asked(self, workload: Workload) -> list[Gate | Claim]:
        return [each.asked for each in self._campaign.questions if each.workload == workload]

    def _undecided(self, workload: Workload, asked: Gate | Claim) -> bool:
        if asked.metric.exact:
            return False
        pair = self._pair(workload)
        decision = self._decide().of(pair, asked)
        # What one session had nothing of, no further one can answer.
        complete = decision.sessions == len(pair.candidate.sessions)
        return decision.verdict is None and not decision.stopped and complete

    def _decide(self) -> Decisions:
        """Return the decisions after the sessions so far, made once."""
        count = sum(map(len, self._sessions.values()))
        if self._decided is None or self._decided[0] != count:
            own = [
                (self._pair(each.workload), each.asked)
                for each in self._campaign.questions
                if self._sessions[each.workload]
            ]
            self._decided = count, Decisions(self._rule, [*self._earlier, *own])
        return self._decided[1]

    def _outcome(self, workload: Workload) -> Run | PairedRun:
        if len(self.sides) == 1:
            return replace(self._run(workload, 0), cut_off=self.cut_off.get(workload, ""))
        pair, cut_off = self._pair(workload), self.cut_off.get(workload, "")
        return replace(pair, cut_off=cut_off) if cut_off else pair

    def _pair(self, workload: Workload) -> PairedRun:
        if workload not in self._pairs:
            candidate, reference = (self._run(workload, place) for place in range(2))
            self._pairs[workload] = PairedRun(
                candidate,
                reference,
                turns=tuple(each[0] if each else {} for each in self._turns[workload]),
                not_interleaved=self.not_interleaved,
                campaign=self.number,
            )
        return self._pairs[workload]

    @property
    def number(self) -> int:
        """The place of this campaign in the order in which campaigns were measured."""
        return len({pair.campaign for pair, _ in self._earlier})

    def _why_not(self, place: int, workload: Workload) -> str:
        """Return why a side does not cover a workload, or the other one, without which it is not measured."""
        places = (place, *(each for each in range(len(self.sides)) if each != place))
        known = [self._uncovered.get((each, workload), "") for each in places]
        return next((each for each in known if each), "")

    def _run(self, workload: Workload, place: int) -> Run:
        side, described = self.sides[place], self._described[place]
        sessions = tuple(each[place] for each in self._sessions[workload])
        return Run(
            subject=side.subject,
            workload=workload,
            model=side.model,
            build=described.build,
            effective_options=described.effective_options,
            sessions=sessions,
            measurements=summarize_all(sessions),
            invariants=described.invariants,
            uncovered=self._why_not(place, workload),
            control=described.control,
        )


def _arguments(build: BuildReference) -> tuple[str, ...]:
    return build.words[1:] if isinstance(build, Command) else ()
