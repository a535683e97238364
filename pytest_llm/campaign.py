"""Sessions of one subject: from a plan and an engine to runs.

Knows no pytest and no engine by name. Each session is a fresh process: its memory layout and its placement
differ from the last one's, so a session is the unit that may be called independent.
"""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llm.errors import EngineError, RequestFailedError, WorkerDiedError, WorkerHungError
from pytest_llm.inference.estimates import measure_all
from pytest_llm.records import Run, Series, Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_llm.protocols import Clock, Engine, Loaded, Probe, Watcher
    from pytest_llm.records import JSON, Build, Campaign, Model, Workload

Outcome = Run | EngineError


@dataclass(frozen=True)
class Budget:
    """How often a session does a thing: at least, at most, and for about how many seconds."""

    least: int
    most: int
    seconds: float


@dataclass(frozen=True)
class SliceFloor:
    """The smallest slice of generation worth timing: so many steps, and so many seconds."""

    steps: int
    seconds: float


ROUNDS = Budget(least=3, most=30, seconds=2.0)
REQUESTS = Budget(least=1, most=10, seconds=1.5)
# Far above the clock's resolution, far below the seconds over which a shared machine's speed wanders. On a
# GPU a few tokens measure the launch of the graph and little else.
ON_CPU = SliceFloor(steps=4, seconds=0.03)
ON_GPU = SliceFloor(steps=32, seconds=0.3)
_WARM_UP_SLICES_MOST = 8
_STEADY = 0.25


def run_campaign(
    campaign: Campaign,
    model: Model,
    engine: Engine,
    probe: Probe,
    clock: Clock,
    watcher: Watcher,
) -> dict[Workload, Outcome]:
    """Run every session of one subject.

    Args:
        campaign: The subject, its workloads, and how many sessions.
        model: The subject's file, resolved and verified.
        engine: Starts the processes.
        probe: Watches their memory.
        clock: For budgets alone.
        watcher: Is told of each session.

    Returns:
        For each workload its run, or the error that ended its measuring; the others went on.

    Raises:
        EngineError: The engine does not start, or refuses to load the subject.
    """
    records = _Records(campaign, model)
    for number in range(1, campaign.sessions + 1):
        watcher.session_started(campaign.subject, number, campaign.sessions)
        started = clock()
        waiting = records.unfailed()
        while waiting:
            # A workload that ended its process is not asked again; the rest of the session needs a new one.
            with closing(engine.start(campaign.subject, model)) as loaded:
                _run_session(loaded, waiting, records, probe, clock)
        watcher.session_ended(campaign.subject, number, campaign.sessions, clock() - started)
    return records.outcomes()


def _run_session(
    loaded: Loaded, waiting: list[Workload], records: _Records, probe: Probe, clock: Clock
) -> None:
    with probe.watch(loaded.pid) as at_load:
        seconds = loaded.load()
    # Once a campaign and before any timing: what a subject shows is the same in every session.
    records.loaded(loaded.build, loaded.resolved(), records.facts or loaded.facts())
    while waiting:
        workload = waiting.pop(0)
        try:
            with probe.watch(loaded.pid) as at_work:
                loaded.rehearse(workload)
            series = measure_workload(loaded, workload, clock)
        except RequestFailedError as error:
            records.fail(workload, error)
        except (WorkerDiedError, WorkerHungError) as error:
            records.fail(workload, error)
            return
        else:
            peaks = _larger(at_load, at_work)
            records.add(workload, {**series, **peaks, "load": Series((seconds,))})


def measure_workload(loaded: Loaded, workload: Workload, clock: Clock) -> dict[str, Series]:
    """Warm up, do rounds of slices, then whole requests; the subject stands at the workload's depth.

    Raises:
        EngineError: The worker refused, died or hung.
    """
    steps = _generation_steps(loaded, workload)
    _warm_up(loaded, steps)
    prompt: list[tuple[int, float]] = []
    generation: list[tuple[int, float]] = []
    for _ in _within(ROUNDS, clock):
        prompt.append(loaded.prompt_slice())
        generation.append(loaded.generation_slice(steps))
    requests = [loaded.request() for _ in _within(REQUESTS, clock)]
    tokens = workload.parallel * (workload.prompt_tokens + workload.generate_tokens)
    return {
        "prompt": _slices(prompt),
        "generation": _slices(generation),
        "request": Series(tuple(first + math.fsum(gaps) for first, gaps in requests), tokens),
        "first_token": Series(tuple(first for first, _ in requests)),
        "inter_token": Series(tuple(gap for _, gaps in requests for gap in gaps)),
    }


def _generation_steps(loaded: Loaded, workload: Workload) -> int:
    floor = ON_GPU if loaded.on_gpu else ON_CPU
    _, seconds = loaded.generation_slice(floor.steps)
    steps = math.ceil(floor.seconds * floor.steps / seconds)
    # More than the workload generates would measure another depth.
    return max(floor.steps, min(steps, workload.generate_tokens))


def _warm_up(loaded: Loaded, steps: int) -> None:
    # The rehearsal has warmed what a prompt touches; a prompt slice may take seconds, so it is not repeated.
    before = math.inf
    for _ in range(_WARM_UP_SLICES_MOST):
        _, now = loaded.generation_slice(steps)
        if abs(now - before) <= _STEADY * now:
            return
        before = now


def _within(budget: Budget, clock: Clock) -> Iterator[int]:
    started = clock()
    for done in range(budget.most):
        if done >= budget.least and clock() - started >= budget.seconds:
            return
        yield done


def _slices(slices: Sequence[tuple[int, float]]) -> Series:
    return Series(tuple(seconds for _, seconds in slices), slices[0][0])


def _larger(first: Mapping[str, Series], second: Mapping[str, Series]) -> dict[str, Series]:
    return {
        name: Series((max(first[name].values[0], second[name].values[0]),))
        for name in first.keys() & second.keys()
    }


class _Records:
    """What a campaign has so far."""

    def __init__(self, campaign: Campaign, model: Model) -> None:
        self._campaign = campaign
        self._model = model
        self._sessions: dict[Workload, list[Session]] = {w: [] for w in campaign.workloads}
        self._errors: dict[Workload, EngineError] = {}
        self._build: Build
        self._resolved: Mapping[str, JSON]
        self.facts: Mapping[str, JSON] = {}

    def unfailed(self) -> list[Workload]:
        return [workload for workload in self._sessions if workload not in self._errors]

    def loaded(self, build: Build, resolved: Mapping[str, JSON], facts: Mapping[str, JSON]) -> None:
        self._build, self._resolved, self.facts = build, resolved, facts

    def add(self, workload: Workload, series: Mapping[str, Series]) -> None:
        self._sessions[workload].append(Session(series))

    def fail(self, workload: Workload, error: EngineError) -> None:
        self._errors[workload] = error

    def outcomes(self) -> dict[Workload, Outcome]:
        return {workload: self._errors.get(workload) or self._run(workload) for workload in self._sessions}

    def _run(self, workload: Workload) -> Run:
        sessions = tuple(self._sessions[workload])
        return Run(
            subject=self._campaign.subject,
            workload=workload,
            model=self._model,
            build=self._build,
            resolved=self._resolved,
            sessions=sessions,
            measurements=measure_all(sessions),
            facts=self.facts,
        )
