"""Whether a machine may judge: on pretended machines, each with one thing wrong with it."""

from __future__ import annotations

import json
import math
import os
import random
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.errors import UsageError, WorkerDiedError
from pytest_llm.machine import qualification
from pytest_llm.machine.qualification import (
    CHECKS,
    GATES,
    SESSIONS,
    Check,
    LabelBias,
    Qualification,
    Result,
    ShamPair,
)
from pytest_llm.machine.qualification.checks import judge
from pytest_llm.machine.qualification.interference import interference_log_ratios
from pytest_llm.machine.qualification.record import path_of
from pytest_llm.measure import MeasurementContext, TimeLimits
from pytest_llm.records import Build, Model, Series, Subject, Verdict, Workload
from pytest_llm.records.protocols import Coverage
from pytest_llm.records.side import Side
from tests.bare import MODEL, SUBJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_llm.records import JSON
    from pytest_llm.records.generation import GGUFModel

WORKLOAD = Workload(prompt_tokens=128, generate_tokens=32)
# Of a machine whose sessions differ by a fifth.
WILD = {each.metric.name: [0.1 * (-1) ** n for n in range(SESSIONS)] for each in GATES}


@dataclass
class Machine:
    """How fast everything is, and what disturbs it."""

    spread: float = 0.003
    waiting_disturbs: float = 0.0  # each other process that lives
    spinning_disturbs: float = 0.0  # each other process whose threads spin
    first_process_is_slower: float = 0.0
    slows_down_by: float = 0.0  # a second of its clock
    drag_is_felt: bool = True
    dies: bool = False
    now: float = 0.0
    started: int = 0
    random: random.Random = field(default_factory=lambda: random.Random(3))
    alive: list[PretendedModel] = field(default_factory=list)
    seen: list[str | None] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def coin(self) -> bool:
        return self.random.random() < 0.5

    def start(self, subject: Subject, model: Model) -> PretendedModel:
        self.seen.append(os.environ.get("OMP_WAIT_POLICY"))
        self.started += 1
        slow = self.first_process_is_slower if not self.alive else 0.0
        self.alive.append(PretendedModel(self, slow, spins=self.seen[-1] == "active"))
        return self.alive[-1]

    def start_generation(self, subject: Subject, model: Model) -> GGUFModel:
        raise NotImplementedError

    @contextmanager
    def watch(self, pid: int) -> Iterator[Mapping[str, Series]]:
        yield {"peak_ram": Series((100.0,))}


class PretendedModel:
    on_gpu = False
    build = Build("llama-cpp-python", "0.3.36", "0c1e570", "python")

    def __init__(self, machine: Machine, slow: float, *, spins: bool) -> None:
        self._machine = machine
        self._slow = slow
        self.spins = spins
        self.pid = machine.started
        self.suspended = False
        self._drag = 0.0

    def _take(self, seconds: float) -> float:
        machine = self._machine
        assert not self.suspended
        assert self in machine.alive
        others = [each for each in machine.alive if each is not self]
        assert all(each.suspended for each in others)
        seconds *= 1 + self._slow
        seconds *= 1 + machine.waiting_disturbs * len(others)
        seconds *= 1 + machine.spinning_disturbs * sum(each.spins for each in others)
        seconds *= 1 + (self._drag if machine.drag_is_felt else 0)
        seconds *= 1 + machine.slows_down_by * machine.now
        seconds *= math.exp(machine.random.gauss(0, machine.spread))
        machine.now += seconds
        return seconds

    continues = True
    prompt_batch = 512

    def coverage(self, workload: Workload) -> Coverage:
        return Coverage()

    def libraries(self) -> frozenset[Path]:
        return frozenset()

    def load(self) -> float:
        if self._machine.dies:
            raise WorkerDiedError("SIGSEGV")
        return 1.0

    def effective_options(self) -> Mapping[str, JSON]:
        return {}

    def invariants(self) -> Mapping[str, JSON]:
        return {}

    def inject_slowdown(self, share: float, stalls: float = 0.0) -> None:
        self._drag = share

    def counts(self) -> Mapping[str, Series]:
        return {}

    def on_devices(self) -> Mapping[str, float]:
        return {}

    def rehearse(self, workload: Workload) -> float:
        return 0.01

    def prompt_slice(self, tokens: int) -> tuple[int, float]:
        return tokens, self._take(0.45)

    def embedding_slice(self) -> tuple[int, float]:
        raise NotImplementedError

    def generation_slice(self, steps: int) -> tuple[int, float]:
        return steps, self._take(0.01 * steps)

    def end_round(self) -> None:
        pass

    def generate_steps(self, steps: int) -> int:
        raise NotImplementedError

    def request(self) -> tuple[float, Sequence[float]]:
        return self._take(0.5), [self._take(0.01)] * 31

    def suspend(self) -> None:
        self.suspended = True

    def resume(self) -> None:
        self.suspended = False

    def log(self) -> str:
        return ""

    def close(self) -> None:
        self._machine.alive.remove(self)


class Told:
    def __init__(self) -> None:
        self.checks: list[str] = []
        self.results: list[Result] = []
        self.sessions = 0

    def session_started(self, subject: Subject, number: int, of: int) -> None:
        self.sessions += 1

    def session_ended(self, subject: Subject, number: int, of: int, seconds: float) -> None:
        assert seconds > 0

    def replanned(
        self, subject: Subject, planned: float, seconds: float, left: Sequence[tuple[int, float]]
    ) -> None:
        raise AssertionError("nothing was planned")

    def campaign_ended(self) -> None:
        pass

    def waiting(self, holder: str) -> None:
        raise AssertionError("nobody is waited for")

    def untimed(self, subject: Subject, doing: str, number: int = 0, of: int = 0) -> None:
        pass

    def preparing(self, doing: str) -> None: ...


class Calm:
    def mark(self) -> None:
        pass

    def since_mark(self) -> tuple[str, ...]:
        return ()


def context(machine: Machine, told: Told, **changed: Any) -> MeasurementContext:
    found = MeasurementContext(
        probe=machine,
        noise=Calm(),
        clock=machine.clock,
        progress=told,
        coin=machine.coin,
        room=lambda: math.inf,
        limits=TimeLimits(math.inf),
    )
    return replace(found, **changed)


def qualify(machine: Machine, told: Told | None = None, **changed: Any) -> list[Result]:
    told = told or Told()
    return qualification.qualify(
        Side(SUBJECT, MODEL, machine),
        WORKLOAD,
        context(machine, told, **changed),
        lambda check: told.checks.append(check.name),
        told.results.append,
    )


def check_of(name: str) -> Check:
    return next(each for each in CHECKS if each.name == name)


def test_a_sound_machine_passes_every_check() -> None:
    machine, told = Machine(), Told()
    results = qualify(machine, told)
    assert [(each.check, each.reasons) for each in results] == [(each.name, ()) for each in CHECKS]
    assert told.checks == ["A/A", "interference", "wait policy", "slowdown"]
    assert told.results == results
    assert told.sessions == SESSIONS * len(CHECKS)
    assert machine.alive == []


def test_figures_tell_what_was_seen_of_each_metric() -> None:
    *_, slowdown = qualify(Machine())
    assert [each.metric for each in slowdown.figures] == [each.metric.name for each in GATES]
    for each in slowdown.figures:
        assert each.verdict is Verdict.REGRESSED
        assert each.change is not None
        assert each.interval is not None
        assert each.mde is not None
        assert each.change == pytest.approx(1 / 1.1 - 1, abs=0.003)
        assert each.interval[0] <= each.change <= each.interval[1]
        assert 0.01 < each.mde < 0.02
        assert len(each.log_ratios) == SESSIONS


@pytest.mark.parametrize(
    ("wrong", "ran", "reason"),
    [
        (
            Machine(waiting_disturbs=0.1),
            ["A/A", "interference"],
            "slower beside a waiting process than alone",
        ),
        (
            Machine(spinning_disturbs=0.1),
            ["A/A", "interference", "wait policy"],
            "threads that spin while they wait slow the other side down",
        ),
        (
            Machine(drag_is_felt=False),
            ["A/A", "interference", "wait policy", "slowdown"],
            "10% more time passed unseen",
        ),
    ],
    ids=["disturbing neighbour", "spinning threads", "unfelt slowdown"],
)
def test_what_a_machine_gets_wrong_ends_it_with_a_reason(wrong: Machine, ran: list[str], reason: str) -> None:
    results = qualify(wrong)
    assert [each.check for each in results] == ran
    assert [each.passed for each in results] == [True] * (len(ran) - 1) + [False]
    assert [f"{each.metric.title}: {reason}" for each in GATES] == [
        each.partition(": the")[0] for each in results[-1].reasons
    ]


@pytest.mark.parametrize(("side", "told"), [(True, "slower"), (False, "faster")])
def test_a_biased_comparison_of_a_build_with_itself_is_found_first(side: bool, told: str) -> None:
    results = qualify(Machine(first_process_is_slower=0.1), coin=lambda: side)
    assert [each.check for each in results] == ["A/A"]
    assert results[0].reasons[0] == f"prompt speed: called {told} than itself"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_that_cannot_tell_does_not_pass(check: Check) -> None:
    found = judge(check, WILD)
    assert not found.passed
    assert all("too noisy" in reason for reason in found.reasons)


def test_the_first_check_that_does_not_pass_ends_it() -> None:
    told = Told()
    noisy = [replace(each, measure=lambda *_: WILD) for each in CHECKS]
    results = qualification.qualify(
        Side(SUBJECT, MODEL, Machine()),
        WORKLOAD,
        context(Machine(), told),
        lambda check: told.checks.append(check.name),
        told.results.append,
        noisy,
    )
    assert told.checks == [each.check for each in results] == ["A/A"]


EVEN = {each.metric.name: [0.001 * (-1) ** n for n in range(2 * SESSIONS)] for each in GATES}
SLOW = {each.metric.name: [0.2 + 0.001 * n for n in range(SESSIONS)] for each in GATES}


@pytest.mark.parametrize(
    ("seen", "sessions", "passed"),
    [
        ([WILD, EVEN], [SESSIONS, 2 * SESSIONS], True),
        ([WILD, WILD], [SESSIONS, 2 * SESSIONS], False),
        ([SLOW, EVEN], [SESSIONS], False),
        ([{**WILD, GATES[0].metric.name: SLOW[GATES[0].metric.name]}, EVEN], [SESSIONS], False),
    ],
    ids=["then passes", "still cannot tell", "called wrongly", "one called wrongly"],
)
def test_a_check_that_cannot_tell_is_repeated_once_with_twice_the_sessions(
    seen: list[dict[str, list[float]]], sessions: list[int], passed: bool
) -> None:
    asked: list[int] = []

    def measure(side: Side, workload: Workload, sessions: int, context: MeasurementContext) -> Any:
        asked.append(sessions)
        return seen[len(asked) - 1]

    machine = Machine()
    results = qualification.qualify(
        Side(SUBJECT, MODEL, machine),
        WORKLOAD,
        context(machine, Told()),
        lambda _: None,
        lambda _: None,
        [replace(check_of("A/A"), measure=measure)],
    )
    assert asked == sessions
    assert [each.passed for each in results] == [passed]


def test_a_machine_without_room_for_two_processes_is_told_to_take_a_smaller_model() -> None:
    with pytest.raises(UsageError, match="m do not fit into memory together"):
        qualify(Machine(), room=lambda: 150.0)


def test_a_steady_loss_of_speed_is_not_taken_for_a_neighbour_s_doing() -> None:
    machine = Machine(spread=0.0, slows_down_by=0.01)
    side = Side(SUBJECT, MODEL, machine)
    metrics = [each.metric for each in GATES]
    ratios = interference_log_ratios(side, WORKLOAD, metrics, 8, context(machine, Told()))
    # From stretch to stretch it loses some 10 %; left is what bends the line of its logarithms.
    assert all(abs(each) < 0.02 for each in ratios["prompt_tokens_per_second"])


@pytest.mark.parametrize("between", [True, False])
def test_a_neighbour_that_costs_a_tenth_is_seen_as_that_whichever_is_in_the_middle(between: bool) -> None:
    machine = Machine(spread=0.0, waiting_disturbs=0.1)
    side = Side(SUBJECT, MODEL, machine)
    metrics = [each.metric for each in GATES]
    around = context(machine, Told(), coin=lambda: between)
    ratios = interference_log_ratios(side, WORKLOAD, metrics, 2, around)
    assert ratios == {each.name: pytest.approx([math.log(1.1)] * 2) for each in metrics}
    # One process a session, and a neighbour for each stretch beside a neighbour.
    assert machine.started == 2 * (2 if between else 3)
    assert machine.alive == []


def test_no_slice_beside_a_neighbour_is_dropped_since_none_taken_alone_is() -> None:
    class Noisy(Calm):
        def since_mark(self) -> tuple[str, ...]:
            raise AssertionError("asked")

    machine = Machine()
    side = Side(SUBJECT, MODEL, machine)
    interference_log_ratios(side, WORKLOAD, [GATES[0].metric], 1, context(machine, Told(), noise=Noisy()))


def test_only_the_candidate_of_the_wait_policy_check_spins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    machine = Machine()
    side = Side(SUBJECT, MODEL, machine)
    check_of("wait policy").measure(side, WORKLOAD, SESSIONS, context(machine, Told()))
    assert sorted(map(str, machine.seen)) == ["None"] * (1 + SESSIONS) + ["active"] * (1 + SESSIONS)
    assert os.environ["OMP_WAIT_POLICY"] == "passive"


def test_a_worker_that_dies_ends_it() -> None:
    machine = Machine(dies=True)
    with pytest.raises(WorkerDiedError):
        qualify(machine)
    assert machine.alive == []


def test_too_few_sessions_are_inconclusive_not_passed() -> None:
    result = judge(check_of("A/A"), {each.metric.name: [0.0] * 3 for each in GATES})
    assert [each.verdict for each in result.figures] == [Verdict.INCONCLUSIVE] * 2
    assert not result.passed


# ── the file ─────────────────────────────────────────────────────────────────────────────────────

WHEN = "2026-01-02T03:04:05+00:00"
BIAS = LabelBias(
    0.004, (ShamPair("path and environment", {each.metric.name: (0.01, -0.01) for each in GATES}),), ("why",)
)


def record(results: Sequence[Result] | None = None) -> Qualification:
    ratios = {each.metric.name: [0.001 * (-1) ** n for n in range(SESSIONS)] for each in GATES}
    slow = {each.metric.name: [0.1] * (SESSIONS - 1) + [0.11] for each in GATES}
    every = [judge(each, slow if each.expected is Verdict.REGRESSED else ratios) for each in CHECKS]
    return Qualification(
        "abc",
        WHEN,
        "0.1",
        "llama-cpp-python 0.3.36 (llama.cpp 0c1e570)",
        "m",
        "0" * 64,
        tuple(every if results is None else results),
        tuple(each.name for each in CHECKS),
        BIAS,
    )


def test_what_was_kept_is_read_back(tmp_path: Path) -> None:
    kept = record()
    assert kept.qualified
    path = qualification.write(tmp_path / "cache", kept)
    assert path == path_of(tmp_path / "cache", "abc")
    assert list(path.parent.iterdir()) == [path]
    assert qualification.read(tmp_path / "cache", "abc") == qualification.Standing(WHEN, "", kept)


def test_a_machine_that_was_never_tried_is_not_qualified(tmp_path: Path) -> None:
    assert qualification.read(tmp_path, "abc") == qualification.Standing(None, "never tried")


def test_a_failed_check_is_kept_and_told(tmp_path: Path) -> None:
    first, *others = record().results
    kept = record([replace(first, reasons=("prompt speed: too noisy",)), *others])
    qualification.write(tmp_path, record())
    qualification.write(tmp_path, kept)
    found = qualification.read(tmp_path, "abc")
    assert (found.since, found.reason) == (None, "A/A: prompt speed: too noisy")


def test_tau_is_what_was_measured_on_a_qualified_machine_alone(tmp_path: Path) -> None:
    assert qualification.read(tmp_path, "abc").tau == 0.003
    qualification.write(tmp_path, record())
    assert qualification.read(tmp_path, "abc").tau == 0.004
    first, *others = record().results
    qualification.write(tmp_path, record([replace(first, reasons=("prompt speed: too noisy",)), *others]))
    assert qualification.read(tmp_path, "abc").tau == 0.003


def test_a_machine_whose_label_bound_bias_was_not_measured_is_not_qualified() -> None:
    some = replace(record(), bias=None)
    assert (some.qualified, some.reason()) == (False, "no sham pair was measured")


def test_a_check_that_did_not_run_does_not_qualify() -> None:
    some = record(record().results[:-1])
    assert (some.qualified, some.reason()) == (False, "not every check ran")


def _damaged(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], str]:
    def text(document: dict[str, Any]) -> str:
        change(document)
        return json.dumps(document)

    return text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (lambda _: "", "is damaged"),
        (lambda _: "[" * 100_000, "is damaged"),
        (lambda _: "[]", "is damaged"),
        (lambda _: "{}", "is damaged"),
        (lambda document: json.dumps(document)[:-20], "is damaged"),
        (_damaged(lambda each: each.update(results=[{}])), "is damaged"),
        (_damaged(lambda each: each.update(results=5)), "is damaged"),
        (_damaged(lambda each: each.update(when="yesterday")), "is damaged"),
        (_damaged(lambda each: each.update(when="2026-01-02T03:04:05")), "is damaged"),
        (_damaged(lambda each: each.update(when=None)), "is damaged"),
        (_damaged(lambda each: each.update(more=1)), "is damaged"),
        (_damaged(lambda each: each.update(schema_version=0)), "is damaged"),
        (_damaged(lambda each: each["results"][0]["figures"][0].update(verdict="fine")), "is damaged"),
        (_damaged(lambda each: each.update(checks=[])), "is damaged"),
        (_damaged(lambda each: each.update(fingerprint="def")), "is of another machine, def"),
        (
            _damaged(lambda each: each.update(schema_version=2)),
            "is of version 2, this plugin reads up to 1: upgrade pytest-llm-bench",
        ),
    ],
)
def test_a_file_that_cannot_be_used_means_not_qualified(
    tmp_path: Path, text: Callable[[dict[str, Any]], str], reason: str
) -> None:
    path = qualification.write(tmp_path, record())
    path.write_text(text(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")
    found = qualification.read(tmp_path, "abc")
    assert (found.since, found.reason) == (None, f"{path} {reason}")


def test_a_file_that_cannot_be_read_means_not_qualified(tmp_path: Path) -> None:
    path_of(tmp_path, "abc").mkdir(parents=True)
    assert "cannot be read: " in qualification.read(tmp_path, "abc").reason


def test_a_folder_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "qualified").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match=r"cannot be written \(.*\); name another --cache"):
        qualification.write(tmp_path, record())
