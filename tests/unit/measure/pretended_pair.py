"""Two pretended builds that share a pretended clock, and what is drawn and read beside them."""

from __future__ import annotations

import math
import random
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.errors import (
    EngineError,
    LoadRefusedError,
)
from pytest_llm.measure import MeasurementContext, TimeLimits, measure
from pytest_llm.records import (
    Build,
    Campaign,
    Gate,
    LoadOptions,
    Model,
    PairedRun,
    Question,
    Series,
    Subject,
    Venv,
    Workload,
)
from pytest_llm.records.metrics import METRICS
from pytest_llm.records.protocols import Coverage
from pytest_llm.records.side import Side
from pytest_llm.stats.sequential import rule_for
from tests.bare import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_llm.records import JSON
    from pytest_llm.records.generation import GGUFModel
    from pytest_llm.records.protocols import Probe

CHAT = Workload(prompt_tokens=128, generate_tokens=64)
DEEP = Workload(prompt_tokens=128, generate_tokens=64, depth=1024)
GATE = Gate(METRICS["generation_tokens_per_second"], 0.05)
RULE = rule_for("normal", 1)  # looks after 10, 15 and 20 sessions
PEAK = 300.0
REQUESTS = 5
WORK = ("rehearse", "prompt", "generation", "request")


class Event(NamedTuple):
    what: str
    side: str
    pid: int
    workload: Workload = CHAT
    steps: int = 0
    seconds: float = 0.0


@dataclass
class Machine:
    """What both builds run on: a clock that only work moves, and a diary."""

    seed: int = 1
    drift: float = 0.0  # by so much a second everything becomes slower
    noise: float = 0.0  # standard deviation of every slice, as a share
    now: float = 1000.0
    events: list[Event] = field(default_factory=list)
    flips: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._coin = random.Random(self.seed + 1)
        self._pids = iter(range(1, 100_000))
        self._began = self.now

    def clock(self) -> float:
        return self.now

    def coin(self) -> bool:
        self.flips.append(self._coin.random() < 0.5)
        return self.flips[-1]

    def pid(self) -> int:
        return next(self._pids)

    def spend(self, seconds: float) -> float:
        slowness = 1 + self.drift * (self.now - self._began)
        taken = seconds * slowness * max(0.1, 1 + self.noise * self._random.gauss(0, 1))
        self.now += taken
        return taken

    def events_of(self, *kinds: str) -> list[Event]:
        return [event for event in self.events if event.what in kinds]


def always(number: int, workload: Workload) -> float:
    return 1.0


@dataclass
class PretendedBuild:
    """How fast one of the two is, and what goes wrong with it; an engine."""

    name: str
    machine: Machine
    token_seconds: float = 0.01
    prompt_seconds: float = 0.1
    load_seconds: float = 0.2
    factor: Callable[[int, Workload], float] = always  # by the number of its process, from 1, and workload
    refuses_to_load: int = 0  # from that process on
    trouble: Mapping[tuple[str, Workload], EngineError] = field(default_factory=dict)
    trouble_from: int = 1
    started: int = 0

    def start(self, subject: Subject, model: Model) -> PretendedModel:
        self.started += 1
        return PretendedModel(self, self.started)

    def start_generation(self, subject: Subject, model: Model) -> GGUFModel:
        raise NotImplementedError


class PretendedModel:
    def __init__(self, build: PretendedBuild, number: int) -> None:
        self._build = build
        self._number = number
        self._workload = CHAT
        self.pid = build.machine.pid()
        self.on_gpu = False
        self.continues = True
        self.prompt_batch = 128
        self.build = Build("llama-cpp-python", build.name, "0c1e570", "python")
        self._note("start")

    def _note(self, what: str, steps: int = 0, seconds: float = 0.0) -> None:
        event = Event(what, self._build.name, self.pid, self._workload, steps, seconds)
        self._build.machine.events.append(event)

    def _work(self, what: str, seconds: float, steps: int = 0) -> float:
        trouble = self._build.trouble.get((what, self._workload))
        if trouble is not None and self._number >= self._build.trouble_from:
            raise trouble
        taken = self._build.machine.spend(seconds * self._build.factor(self._number, self._workload))
        self._note(what, steps, taken)
        return taken

    def coverage(self, workload: Workload) -> Coverage:
        return Coverage()

    def libraries(self) -> frozenset[Path]:
        return frozenset()

    def load(self) -> float:
        if 0 < self._build.refuses_to_load <= self._number:
            raise LoadRefusedError(f"{self._build.name}: no")
        return self._work("load", self._build.load_seconds)

    def effective_options(self) -> Mapping[str, JSON]:
        return {"n_ctx": 4096, "build": self._build.name}

    def inject_slowdown(self, share: float, stalls: float = 0.0) -> None:
        raise NotImplementedError

    def invariants(self) -> Mapping[str, JSON]:
        self._note("invariants")
        return {"weights_bytes": 7, "build": self._build.name}

    def suspend(self) -> None:
        self._note("suspend")

    def resume(self) -> None:
        self._note("resume")

    def counts(self) -> Mapping[str, Series]:
        return {}

    def on_devices(self) -> Mapping[str, float]:
        return {}

    def rehearse(self, workload: Workload) -> float:
        self._workload = workload
        self._work("rehearse", 1.0)
        return self._build.token_seconds

    def prompt_slice(self, tokens: int) -> tuple[int, float]:
        return tokens, self._work("prompt", self._build.prompt_seconds)

    def embedding_slice(self) -> tuple[int, float]:
        raise NotImplementedError

    def generation_slice(self, steps: int) -> tuple[int, float]:
        return steps, self._work("generation", steps * self._build.token_seconds, steps)

    def end_round(self) -> None:
        self._note("end")

    def generate_steps(self, steps: int) -> int:
        self._work("generate", steps * self._build.token_seconds, steps)
        return steps

    def request(self) -> tuple[float, Sequence[float]]:
        first = self._work("request", self._build.prompt_seconds)
        return first, [self._build.token_seconds] * (self._workload.generate_tokens - 1)

    def log(self) -> str:
        return ""

    def close(self) -> None:
        self._note("close")


class Memory:
    @contextmanager
    def watch(self, pid: int) -> Iterator[Mapping[str, Series]]:
        seen: dict[str, Series] = {}
        yield seen
        seen["peak_ram"] = Series((PEAK,))


class Calm:
    def mark(self) -> None: ...

    def since_mark(self) -> tuple[str, ...]:
        return ()


class Scheduled:
    """Flags rounds by their number, counted from 0 over all sessions."""

    def __init__(self, reasons: Callable[[int], tuple[str, ...]]) -> None:
        self._reasons = reasons
        self._number = -1

    def mark(self) -> None:
        self._number += 1

    def since_mark(self) -> tuple[str, ...]:
        return self._reasons(self._number)


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


def subject(name: str) -> Subject:
    return Subject("m", Venv("llama-cpp-python", name), LoadOptions())


CANDIDATE, REFERENCE = subject("candidate"), subject("reference")


@dataclass
class Pair:
    """A campaign of two pretended builds on one machine."""

    machine: Machine = field(default_factory=Machine)
    noise: Calm | Scheduled = field(default_factory=Calm)
    room: float = 1e9
    time_limit: float | None = 1e9
    budget: float = math.inf
    requests: int = REQUESTS
    told: Told = field(default_factory=Told)
    probe: Probe = field(default_factory=Memory)

    def __post_init__(self) -> None:
        self.candidate = PretendedBuild("candidate", self.machine)
        self.reference = PretendedBuild("reference", self.machine)

    def run(
        self, *workloads: Workload, questions: Sequence[Question] | None = None
    ) -> Mapping[Workload, PairedRun | EngineError]:
        asked = tuple(questions) if questions is not None else tuple(Question(w, GATE) for w in workloads)
        campaign = Campaign(
            CANDIDATE,
            workloads,
            RULE.looks[-1],
            REFERENCE,
            asked,
            requests=dict.fromkeys(workloads, self.requests),
        )
        context = MeasurementContext(
            probe=self.probe,
            noise=self.noise,
            clock=self.machine.clock,
            progress=self.told,
            coin=self.machine.coin,
            room=lambda: self.room,
            limits=TimeLimits(self.time_limit, self.budget),
        )
        sides = Side(CANDIDATE, MODEL, self.candidate), Side(REFERENCE, MODEL, self.reference)
        return measure(campaign, sides, RULE, context)

    def run_one(self, workload: Workload = CHAT) -> PairedRun:
        return the_pair(self.run(workload), workload)


def the_pair(outcomes: Mapping[Workload, PairedRun | EngineError], workload: Workload) -> PairedRun:
    found = outcomes[workload]
    assert isinstance(found, PairedRun), found
    return found


def an_outlier(number: int, workload: Workload = CHAT) -> float:
    """The third session is much slower; its process is the fourth, since one was looked at alone."""
    return 1.4 if number == 4 else 1.0


def now_faster_now_slower(number: int, workload: Workload = CHAT) -> float:
    return 1.1 if number % 2 else 0.9


def work_beside_something_awake(events: Sequence[Event]) -> list[Event]:
    """Every piece of work during which another process was there and not stopped, or the own one was."""
    there: set[int] = set()
    stopped: set[int] = set()
    found = []
    for event in events:
        if event.what == "start":
            there.add(event.pid)
        elif event.what == "close":
            there.discard(event.pid)
            stopped.discard(event.pid)
        elif event.what == "suspend":
            stopped.add(event.pid)
        elif event.what == "resume":
            stopped.discard(event.pid)
        elif event.pid in stopped or there - stopped - {event.pid}:
            found.append(event)
    return found
