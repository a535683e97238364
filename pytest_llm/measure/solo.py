"""All sessions of one subject."""

from __future__ import annotations

import math
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from pytest_llm.errors import EngineError
from pytest_llm.measure.leaks import WATCHING, watch_for_leaks
from pytest_llm.measure.memory import memory_series
from pytest_llm.measure.slices import (
    Budget,
    generation_steps,
    load_series,
    request_series,
    slice_series,
    within,
)
from pytest_llm.measure.workloads import through
from pytest_llm.records import Run, Session
from pytest_llm.stats.summary import summarize_all

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.records import JSON, Build, Campaign, Model, Series, Workload
    from pytest_llm.records.protocols import Clock, Engine, Held, Loaded, Probe, Progress

Outcome = Run | EngineError

ROUNDS = Budget(least=3, most=30, seconds=2.0)
REQUESTS = Budget(least=1, most=10, seconds=1.5)
_WARM_UP_SLICES_MOST = 8
_STEADY = 0.25


def run_alone(
    campaign: Campaign,
    model: Model,
    engine: Engine,
    probe: Probe,
    clock: Clock,
    progress: Progress,
    held: Held = lambda _: None,
) -> dict[Workload, Outcome]:
    """Run every session of one subject.

    Args:
        campaign: The subject, its workloads, and how many sessions.
        model: The subject's file, resolved and verified.
        engine: Starts the processes.
        probe: Watches their memory.
        clock: For budgets alone.
        progress: Shows each session.
        held: Tells what a process holds, for workloads that are watched for leaks.

    Returns:
        For each workload its run, or the error that ended its measuring; the others went on.

    Raises:
        EngineError: The engine does not start, or refuses to load the subject.
    """
    records = _Records(campaign, model)
    for number in range(1, campaign.sessions + 1):
        progress.session_started(campaign.subject, number, campaign.sessions)
        started = clock()
        waiting = records.unfailed()
        while waiting:
            # A workload that ended its process is not asked again; the rest of the session needs a new one.
            with closing(engine.start(campaign.subject, model)) as loaded:
                _run_session(loaded, waiting, records, probe, clock)
        progress.session_ended(campaign.subject, number, campaign.sessions, clock() - started)
    watch_for_leaks(
        [each for each in campaign.leaks if each in records.unfailed()],
        lambda: engine.start(campaign.subject, model),
        held,
        records.add_to_last,
        records.fail,
        partial(progress.untimed, campaign.subject, WATCHING),
    )
    progress.campaign_ended()
    return records.outcomes()


def _run_session(
    loaded: Loaded, waiting: list[Workload], records: _Records, probe: Probe, clock: Clock
) -> None:
    with probe.watch(loaded.pid) as at_load:
        seconds = loaded.load()
    # Once a campaign and before any timing: what a subject shows is the same in every session.
    effective_options = loaded.effective_options()
    records.loaded(loaded.build, effective_options, records.invariants or loaded.invariants())

    def work(workload: Workload) -> None:
        with probe.watch(loaded.pid) as at_work:
            loaded.rehearse(workload)
        series = measure_workload(loaded, workload, clock)
        memory = memory_series(at_load, at_work, workload, effective_options, loaded.on_devices())
        records.add(workload, {**series, **memory, **load_series(loaded, workload, seconds)})

    through(waiting, work, records.fail)


def measure_workload(loaded: Loaded, workload: Workload, clock: Clock) -> dict[str, Series]:
    """Warm up, do rounds of slices, then whole requests; the subject stands at the workload's depth.

    Raises:
        EngineError: The worker refused, died or hung.
    """
    coverage = loaded.coverage(workload)
    if not coverage.slices:
        return {}
    steps = generation_steps(loaded, workload)
    _warm_up(loaded, steps)
    prompt: list[tuple[int, float]] = []
    generation: list[tuple[int, float]] = []
    for _ in within(ROUNDS, clock):
        prompt.append(loaded.prompt_slice())
        generation.append(loaded.generation_slice(steps))
    requests = [loaded.request() for _ in within(REQUESTS, clock)] if coverage.requests else []
    return {
        "prompt": slice_series(prompt),
        "generation": slice_series(generation),
        **request_series(requests, workload),
    }


def _warm_up(loaded: Loaded, steps: int) -> None:
    # The rehearsal has warmed what a prompt touches; a prompt slice may take seconds, so it is not repeated.
    before = math.inf
    for _ in range(_WARM_UP_SLICES_MOST):
        _, now = loaded.generation_slice(steps)
        if abs(now - before) <= _STEADY * now:
            return
        before = now


class _Records:
    """What a campaign has so far."""

    def __init__(self, campaign: Campaign, model: Model) -> None:
        self._campaign = campaign
        self._model = model
        self._sessions: dict[Workload, list[Session]] = {w: [] for w in campaign.workloads}
        self._errors: dict[Workload, EngineError] = {}
        self._build: Build
        self._effective_options: Mapping[str, JSON]
        self.invariants: Mapping[str, JSON] = {}

    def unfailed(self) -> list[Workload]:
        return [workload for workload in self._sessions if workload not in self._errors]

    def loaded(
        self, build: Build, effective_options: Mapping[str, JSON], invariants: Mapping[str, JSON]
    ) -> None:
        self._build, self._effective_options, self.invariants = build, effective_options, invariants

    def add(self, workload: Workload, series: Mapping[str, Series]) -> None:
        self._sessions[workload].append(Session(series))

    def add_to_last(self, workload: Workload, series: Mapping[str, Series]) -> None:
        last = self._sessions[workload][-1]
        self._sessions[workload][-1] = Session({**last.series, **series})

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
            effective_options=self._effective_options,
            sessions=sessions,
            measurements=summarize_all(sessions),
            invariants=self.invariants,
        )
