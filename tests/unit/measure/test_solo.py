"""Sessions of one subject, with an engine that keeps a clock of its own."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from pytest_llm.errors import (
    EngineError,
    LoadRefusedError,
    RequestFailedError,
    WorkerDiedError,
)
from pytest_llm.measure import MeasurementContext, TimeLimits, measure
from pytest_llm.measure.budgets import SOLO
from pytest_llm.measure.rounds import ON_CPU
from pytest_llm.records import (
    Build,
    Campaign,
    Model,
    Run,
    Series,
    Subject,
    Workload,
)
from pytest_llm.records.protocols import Coverage
from pytest_llm.records.side import Side
from pytest_llm.stats.sequential import rule_for
from tests.bare import MODEL, SUBJECT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_llm.records import JSON
    from pytest_llm.records.generation import GGUFModel
    from pytest_llm.records.protocols import AnonymousReader

REQUESTS = 4
CHAT = Workload(prompt_tokens=128, generate_tokens=64)
DEEP = Workload(prompt_tokens=128, generate_tokens=64, depth=1024)


@dataclass
class Machine:
    """How fast the pretended model is, and what goes wrong with it."""

    prompt_seconds: float = 0.5
    token_seconds: float = 0.01
    load_seconds: float = 0.2
    on_gpu: bool = False
    refuses_to_load: bool = False
    errors: dict[Workload, EngineError] = field(default_factory=dict)
    now: float = 1000.0
    events: list[str] = field(default_factory=list)
    asked_steps: list[int] = field(default_factory=list)
    asked_for_facts: int = 0
    rounds_ended: int = 0
    generated: int = 0

    def clock(self) -> float:
        return self.now

    def start(self, subject: Subject, model: Model) -> PretendedModel:
        self.events.append("start")
        return PretendedModel(self)

    def start_generation(self, subject: Subject, model: Model) -> GGUFModel:
        raise NotImplementedError


class PretendedModel:
    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._workload = CHAT
        self.pid = 1
        self.build = Build("llama-cpp-python", "0.3.36", "0c1e570", "python")

    continues = True
    prompt_batch = 128

    @property
    def on_gpu(self) -> bool:
        return self._machine.on_gpu

    def coverage(self, workload: Workload) -> Coverage:
        return Coverage()

    def libraries(self) -> frozenset[Path]:
        return frozenset()

    def load(self) -> float:
        if self._machine.refuses_to_load:
            raise LoadRefusedError("no")
        self._machine.now += self._machine.load_seconds
        return self._machine.load_seconds

    def effective_options(self) -> Mapping[str, JSON]:
        return {"n_ctx": 4096}

    def inject_slowdown(self, share: float, stalls: float = 0.0) -> None:
        raise NotImplementedError

    def invariants(self) -> Mapping[str, JSON]:
        self._machine.asked_for_facts += 1
        return {"weights_bytes": 7}

    def suspend(self) -> None:
        self._machine.events.append("suspend")

    def resume(self) -> None:
        self._machine.events.append("resume")

    def counts(self) -> Mapping[str, Series]:
        return {}

    def on_devices(self) -> Mapping[str, float]:
        return {}

    def rehearse(self, workload: Workload) -> float:
        self._workload = workload
        if workload in self._machine.errors:
            raise self._machine.errors[workload]
        seconds = self._machine.token_seconds
        return seconds if 0 < seconds < math.inf else 0.0

    def prompt_slice(self, tokens: int) -> tuple[int, float]:
        self._machine.now += self._machine.prompt_seconds
        return tokens, self._machine.prompt_seconds

    def embedding_slice(self) -> tuple[int, float]:
        raise NotImplementedError

    def generation_slice(self, steps: int) -> tuple[int, float]:
        self._machine.asked_steps.append(steps)
        seconds = steps * self._machine.token_seconds
        self._machine.now += seconds
        return steps, seconds

    def end_round(self) -> None:
        self._machine.rounds_ended += 1

    def generate_steps(self, steps: int) -> int:
        self._machine.generated += steps * self._workload.parallel
        return steps * self._workload.parallel

    def request(self) -> tuple[float, Sequence[float]]:
        gaps = [self._machine.token_seconds] * (self._workload.generate_tokens - 1)
        self._machine.now += self._machine.prompt_seconds + sum(gaps)
        return self._machine.prompt_seconds, gaps

    def log(self) -> str:
        return ""

    def close(self) -> None:
        self._machine.events.append("close")


class PretendedMemory:
    """Sees 100 bytes at load, then 300, then 200 for the next workload, and so on down."""

    def __init__(self) -> None:
        self._sizes = iter([100.0, *(float(size) for size in range(300, 0, -100))] * 20)

    @contextmanager
    def watch(self, pid: int) -> Iterator[Mapping[str, Series]]:
        seen: dict[str, Series] = {}
        yield seen
        seen["peak_ram"] = Series((next(self._sizes),))


class Told:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.looks: list[tuple[str, int, int]] = []

    def session_started(self, subject: Subject, number: int, of: int) -> None:
        self.lines.append(f"{number}/{of}")

    def session_ended(self, subject: Subject, number: int, of: int, seconds: float) -> None:
        self.lines.append(f"{number} took {seconds:.1f}")

    def replanned(
        self, subject: Subject, planned: float, seconds: float, left: Sequence[tuple[int, float]]
    ) -> None:
        self.lines.append(f"{seconds:.1f} not {planned:.1f}: {left}")

    def campaign_ended(self) -> None:
        self.lines.append("ended")

    def waiting(self, holder: str) -> None:
        raise AssertionError("nobody is waited for")

    def untimed(self, subject: Subject, doing: str, number: int = 0, of: int = 0) -> None:
        self.looks.append((doing, number, of))

    def preparing(self, doing: str) -> None: ...


class Unasked:
    """Noise and a coin that a subject alone has no use for."""

    def mark(self) -> None:
        raise AssertionError("no round is dropped")

    def since_mark(self) -> tuple[str, ...]:
        raise AssertionError("no round is dropped")

    def flip(self) -> bool:
        raise AssertionError("there is no order to draw")


def measure_solo(
    campaign: Campaign,
    machine: Machine,
    told: Told | None = None,
    anonymous: AnonymousReader = lambda _: None,
) -> Mapping[Workload, Run | EngineError]:
    context = MeasurementContext(
        probe=PretendedMemory(),
        noise=Unasked(),
        clock=machine.clock,
        progress=told or Told(),
        coin=Unasked().flip,
        room=lambda: 0.0,
        limits=TimeLimits(math.inf),
        anonymous=anonymous,
    )
    return measure(campaign, (Side(SUBJECT, MODEL, machine),), rule_for("normal", 1), context)


def run(machine: Machine, *workloads: Workload, sessions: int = 2) -> dict[Workload, object]:
    campaign = Campaign(SUBJECT, workloads, sessions, requests=dict.fromkeys(workloads, REQUESTS))
    return dict(measure_solo(campaign, machine))


def the_run(outcomes: dict[Workload, object], workload: Workload) -> Run:
    found = outcomes[workload]
    assert isinstance(found, Run)
    return found


def test_values_are_exactly_tokens_by_the_seconds_that_passed() -> None:
    found = the_run(run(Machine(), CHAT), CHAT)
    assert found.prompt_tokens_per_second.value == pytest.approx(128 / 0.5, rel=1e-12)
    assert found.generation_tokens_per_second.value == pytest.approx(100, rel=1e-12)
    assert found.first_token_latency.value == 0.5
    assert found.inter_token_latency_p99.value == 0.01
    assert found.load_time.value == 0.2
    assert found.total_tokens_per_second.value == pytest.approx((128 + 64) / (0.5 + 63 * 0.01), rel=1e-12)


def test_every_session_is_a_process_of_its_own_closed_at_its_end() -> None:
    machine = Machine()
    found = the_run(run(machine, CHAT, DEEP, sessions=3), DEEP)
    assert machine.events == ["start", "close"] * 3
    assert len(found.sessions) == len(found.generation_tokens_per_second.samples) == 3


def test_rounds_and_requests_keep_to_their_budgets() -> None:
    series = the_run(run(Machine(), CHAT), CHAT).sessions[0].series
    # A round takes 0.5 s and 63 tokens of 10 ms: the fourth ends past the 4 s.
    assert len(series["prompt"].values) == 4
    assert len(series["first_token"].values) == REQUESTS
    assert len(series["inter_token"].values) == REQUESTS * 63
    quick = the_run(run(Machine(prompt_seconds=0.001, token_seconds=1e-5), CHAT), CHAT).sessions[0].series
    assert len(quick["prompt"].values) == SOLO.rounds.most
    assert len(quick["first_token"].values) == REQUESTS
    slow = the_run(run(Machine(prompt_seconds=60, token_seconds=5), CHAT), CHAT).sessions[0].series
    assert len(slow["prompt"].values) == SOLO.rounds.least
    assert len(slow["first_token"].values) == REQUESTS


@pytest.mark.parametrize(
    ("token_seconds", "on_gpu", "steps"),
    [
        (0.1, False, ON_CPU.steps),
        (0.01, False, 3),
        (0.001, False, 31),  # two slices: 32 and 31
        (0.0001, False, CHAT.generate_tokens - 1),
        (0.02, True, 63),
        (0.006, True, 63),
    ],
)
def test_a_slice_of_generation_is_long_enough_to_time_and_no_longer_than_a_request(
    token_seconds: float, on_gpu: bool, steps: int
) -> None:
    machine = Machine(token_seconds=token_seconds, on_gpu=on_gpu)
    the_run(run(machine, CHAT), CHAT)
    assert machine.asked_steps[-1] == steps


@pytest.mark.parametrize("seconds", [0.0, -0.01, math.nan, math.inf])
@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ("prompt_seconds", "a slice of prompt"),
        ("token_seconds", "a slice of generation"),
    ],
)
def test_what_is_not_a_time_is_no_speed(changed: str, what: str, seconds: float) -> None:
    machine = Machine()
    setattr(machine, changed, seconds)
    outcome = run(machine, CHAT)[CHAT]
    assert isinstance(outcome, RequestFailedError)
    assert f"{what} took {seconds * (63 if 'gen' in what else 1):g} s, which is not a time" in str(outcome)


@pytest.mark.parametrize("seconds", [-0.01, math.nan, math.inf])
def test_what_is_not_a_time_is_not_the_time_of_loading(seconds: float) -> None:
    outcome = run(Machine(load_seconds=seconds), CHAT)[CHAT]
    assert isinstance(outcome, RequestFailedError)
    assert f"loading took {seconds:g} s" in str(outcome)


def test_memory_is_the_larger_of_loading_and_working() -> None:
    outcomes = run(Machine(), CHAT, DEEP, sessions=1)
    assert the_run(outcomes, CHAT).peak_ram.value == 300
    assert the_run(outcomes, DEEP).peak_ram.value == 200


def test_what_no_probe_saw_is_no_metric() -> None:
    found = the_run(run(Machine(), CHAT), CHAT)
    assert "peak_ram_anonymous" not in found.measurements


def test_a_single_generated_token_has_no_inter_token_latency() -> None:
    short = Workload(prompt_tokens=8, generate_tokens=1)
    assert "inter_token_latency_p50" not in the_run(run(Machine(), short), short).measurements


def test_a_workload_that_kills_its_process_fails_alone_and_is_not_asked_again() -> None:
    died = WorkerDiedError("SIGSEGV")
    machine = Machine(errors={DEEP: died})
    outcomes = run(machine, DEEP, CHAT, sessions=3)
    assert outcomes[DEEP] is died
    assert len(the_run(outcomes, CHAT).sessions) == 3
    # One process more: the first session had to begin anew after the death.
    assert machine.events == ["start", "close"] * 4


def test_a_workload_that_is_refused_fails_alone_in_the_same_process() -> None:
    refused = RequestFailedError("no room")
    machine = Machine(errors={DEEP: refused})
    outcomes = run(machine, DEEP, CHAT, sessions=2)
    assert outcomes[DEEP] is refused
    assert len(the_run(outcomes, CHAT).sessions) == 2
    assert machine.events == ["start", "close"] * 2


def test_a_subject_that_does_not_load_ends_the_campaign_and_its_process() -> None:
    machine = Machine(refuses_to_load=True)
    with pytest.raises(LoadRefusedError):
        run(machine, CHAT)
    assert machine.events == ["start", "close"]


def test_a_campaign_whose_workloads_all_failed_starts_no_further_process() -> None:
    machine = Machine(errors={CHAT: WorkerDiedError("SIGILL")})
    outcomes = run(machine, CHAT, sessions=5)
    assert isinstance(outcomes[CHAT], WorkerDiedError)
    assert machine.events == ["start", "close"]


def test_progress_shows_every_session_and_how_long_it_took() -> None:
    told = Told()
    machine = Machine()
    measure_solo(Campaign(SUBJECT, (CHAT,), 2), machine, told)
    assert [line.partition(" ")[0] for line in told.lines] == ["1/2", "1", "2/2", "2", "ended"]
    assert told.lines[1] == told.lines[3].replace("2 took", "1 took")
