"""Sessions of a pair, with two pretended builds that share a pretended clock."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_llm.errors import (
    EngineError,
    LoadRefusedError,
    RequestFailedError,
    WorkerDiedError,
    WorkerHungError,
)
from pytest_llm.measure.budgets import PAIR
from pytest_llm.records import (
    Gate,
    Question,
    Series,
    Struck,
    Verdict,
    Workload,
)
from pytest_llm.records.device_memory import DEVICE_CHANGE, PER_PROCESS
from pytest_llm.records.metrics import METRICS
from pytest_llm.stats.log_ratios import log_ratios
from tests.comparing import compare_alone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


from .pretended_pair import (
    CANDIDATE,
    CHAT,
    DEEP,
    GATE,
    PEAK,
    REFERENCE,
    REQUESTS,
    RULE,
    WORK,
    Machine,
    Pair,
    Scheduled,
    an_outlier,
    now_faster_now_slower,
    the_pair,
    work_beside_something_awake,
)


def test_it_ends_at_the_first_look_that_answers_every_question() -> None:
    run = Pair().run_one()
    assert len(run.candidate.sessions) == len(run.reference.sessions) == RULE.looks[0]
    assert compare_alone(run, GATE, RULE).verdict is Verdict.PASS


def test_a_slower_candidate_is_called_and_the_log_ratio_is_exact() -> None:
    pair = Pair()
    pair.candidate.token_seconds = 0.012
    run = pair.run_one()
    found = compare_alone(run, GATE, RULE)
    assert found.verdict is Verdict.REGRESSED
    assert found.change == pytest.approx(1 / 1.2 - 1, rel=1e-9)
    assert len(found.log_ratios) == RULE.least_sessions


@pytest.mark.parametrize(
    ("factor", "sessions", "verdict"),
    [
        (an_outlier, RULE.looks[2], Verdict.PASS),
        (now_faster_now_slower, RULE.looks[3], Verdict.INCONCLUSIVE),
    ],
)
def test_it_goes_on_to_the_next_looks_while_a_question_is_open(
    factor: Callable[[int, Workload], float], sessions: int, verdict: Verdict
) -> None:
    pair = Pair()
    pair.candidate.factor = factor
    run = pair.run_one()
    assert len(run.candidate.sessions) == sessions
    assert compare_alone(run, GATE, RULE).verdict is verdict


def test_drift_and_noise_that_both_share_cancel_out() -> None:
    same = Pair(Machine(drift=0.001, noise=0.05))
    assert compare_alone(same.run_one(), GATE, RULE).verdict is Verdict.PASS
    slower = Pair(Machine(drift=0.001, noise=0.05))
    slower.candidate.token_seconds *= 1.08
    assert compare_alone(slower.run_one(), GATE, RULE).verdict is Verdict.REGRESSED


def test_a_workload_that_is_answered_takes_no_part_in_later_sessions() -> None:
    pair = Pair()
    pair.candidate.factor = lambda number, workload: an_outlier(number) if workload == DEEP else 1.0
    outcomes = pair.run(CHAT, DEEP)
    assert len(the_pair(outcomes, CHAT).candidate.sessions) == RULE.looks[0]
    assert len(the_pair(outcomes, DEEP).candidate.sessions) == RULE.looks[2]
    rehearsed = Counter(event.workload for event in pair.machine.events_of("rehearse"))
    assert rehearsed == {CHAT: 2 * (1 + RULE.looks[0]), DEEP: 2 * (1 + RULE.looks[2])}


def test_a_workload_that_nobody_asks_about_gets_as_many_sessions_as_the_first_look() -> None:
    pair = Pair()
    pair.candidate.factor = now_faster_now_slower
    outcomes = pair.run(CHAT, DEEP, questions=[Question(DEEP, GATE)])
    assert len(the_pair(outcomes, CHAT).candidate.sessions) == RULE.looks[0]
    assert len(the_pair(outcomes, DEEP).candidate.sessions) == RULE.looks[-1]


def test_every_session_has_fresh_processes_of_both_which_it_closes() -> None:
    pair = Pair()
    pair.run_one()
    started = [event.pid for event in pair.machine.events_of("start")]
    assert len(set(started)) == len(started) == 2 * (1 + RULE.looks[0])
    assert sorted(event.pid for event in pair.machine.events_of("close")) == started
    worked = Counter(event.pid for event in pair.machine.events_of("rehearse"))
    assert set(worked.values()) == {1}


def test_the_coin_decides_every_order_of_starting_and_of_working() -> None:
    pair = Pair()
    pair.run_one()
    events = pair.machine.events_of("start", *WORK)
    alone, together = events[:4], events[4:]
    assert [event.what for event in alone] == ["start", "rehearse"] * 2
    assert (alone[0].side == "candidate") is pair.machine.flips[0]
    first, second = together[::2], together[1::2]
    assert [event.what for event in first] == [event.what for event in second]
    assert all(one.side != other.side for one, other in zip(first, second, strict=True))
    assert [event.side == "candidate" for event in first] == pair.machine.flips[1:]
    for what in ("start", *WORK):
        assert {event.side for event in first if event.what == what} == {"candidate", "reference"}


def test_whichever_waits_is_stopped_and_goes_on_before_its_own_work() -> None:
    pair = Pair()
    pair.run(CHAT, DEEP)
    assert len(pair.machine.events_of(*WORK)) > 1000
    assert work_beside_something_awake(pair.machine.events) == []


@pytest.mark.parametrize(("ours", "theirs"), [(0.001, 0.01), (0.01, 0.001)])
def test_both_do_equal_work_enough_for_the_faster_one(ours: float, theirs: float) -> None:
    pair = Pair()
    pair.candidate.token_seconds, pair.reference.token_seconds = ours, theirs
    run = pair.run_one()
    assert {event.steps for event in pair.machine.events_of("generation")} == {32, 31}
    for side in (run.candidate, run.reference):
        assert {session.series["generation"].each_tokens()[:2] for session in side.sessions} == {(32, 31)}


def test_rounds_keep_to_their_budgets() -> None:
    series = Pair().run_one().candidate.sessions[0].series
    # A round of both takes 2 · (0.1 + 63 · 0.01) s.
    assert len(series["prompt"].values) == math.ceil(PAIR.rounds.seconds / 1.46) == 5
    assert len(series["generation"].values) == 5 * 21
    assert len(series["request"].values) == REQUESTS
    slow = Pair()
    for each in (slow.candidate, slow.reference):
        each.token_seconds, each.prompt_seconds = 5, 60
    series = slow.run_one().candidate.sessions[0].series
    assert len(series["prompt"].values) == PAIR.rounds.least
    assert len(series["generation"].values) == PAIR.rounds.least * 63


def test_of_many_long_workloads_a_session_takes_one_round_of_each() -> None:
    workloads = [Workload(prompt_tokens=128, generate_tokens=128, depth=depth) for depth in range(12)]
    outcomes = Pair().run(*workloads)
    for each in workloads:
        sessions = the_pair(outcomes, each).candidate.sessions
        assert {len(session.series["prompt"].values) for session in sessions} == {1}


def test_nothing_is_timed_before_the_slices_are_steady() -> None:
    works: Counter[int] = Counter()

    def cold(number: int, _: Workload) -> float:
        works[number] += 1
        return {3: 4.0, 4: 2.0}.get(works[number], 1.0)  # after the load and the rehearsal

    pair = Pair()
    pair.candidate.factor = cold
    for session in pair.run_one().candidate.sessions:
        assert session.series["prompt"].values == pytest.approx([0.1] * len(session.series["prompt"].values))


def test_the_order_of_each_turn_and_what_struck_it_are_noted() -> None:
    # Both sides of the first turn, which is of prompt, and whichever is first in the second of generation.
    struck = {0: ("CPU steal", "too hot"), 1: ("CPU steal",), 4: ("too hot",)}
    run = Pair(noise=Scheduled(lambda number: struck.get(number, ()))).run_one()
    prompt, generation = run.turns[0]["prompt"], run.turns[0]["generation"]
    candidate_first = prompt.first[0] == "0"
    assert prompt.struck == {
        "CPU steal": Struck((0,), (0,)),
        "too hot": Struck((0,), ()) if candidate_first else Struck((), (0,)),
    }
    assert generation.struck == {
        "too hot": Struck((1,), ()) if generation.first[1] == "0" else Struck((), (1,))
    }
    assert run.turns[1]["prompt"].struck == {}


def test_the_order_is_that_of_the_work() -> None:
    pair = Pair()
    run = pair.run_one()
    prompts = pair.machine.events_of("prompt")[::2]
    drawn = "".join(session["prompt"].first for session in run.turns)
    assert drawn == "".join("0" if event.side == "candidate" else "1" for event in prompts)
    assert set(drawn) == {"0", "1"}
    (series,) = {len(session.series["generation"].values) for session in run.candidate.sessions}
    assert {len(session["generation"].first) for session in run.turns} == {series}


def test_no_slice_is_left_out_of_the_series() -> None:
    wild = Pair(Machine(noise=3.0), noise=Scheduled(lambda number: ("CPU steal",) * (number % 3 == 0)))
    run = wild.run_one()
    slices = Counter(event.pid for event in wild.machine.events_of("prompt"))
    kept = [len(session.series["prompt"].values) for session in run.candidate.sessions]
    assert sum(slices.values()) == 2 * sum(kept)


def test_a_round_is_a_request_whose_slices_move_on_and_both_end_it_untimed() -> None:
    pair = Pair()
    run = pair.run_one()
    rounds = len(run.candidate.sessions[0].series["prompt"].values)
    assert Counter(event.what for event in pair.machine.events if event.pid == 3)["end"] >= rounds
    generated = sum(run.candidate.sessions[0].series["generation"].each_tokens())
    assert generated == rounds * (CHAT.generate_tokens - 1)


def test_what_does_not_fit_together_is_measured_in_turn_and_says_so() -> None:
    pair = Pair(room=2 * PEAK - 1)
    pair.candidate.token_seconds = 0.012
    run = pair.run_one()
    assert run.not_interleaved
    there = 0
    for event in pair.machine.events_of("start", "close"):
        there += 1 if event.what == "start" else -1
        assert there <= 1
    assert pair.machine.events_of("suspend") == []
    found = compare_alone(run, GATE, RULE)
    assert found.verdict is Verdict.REGRESSED
    firsts = [event.side for event in pair.machine.events_of("start")[::2]]
    assert [side == "candidate" for side in firsts] == pair.machine.flips


def test_what_just_fits_together_is_measured_together() -> None:
    assert not Pair(room=2 * PEAK).run_one().not_interleaved


def test_the_time_limit_ends_it_and_says_so_of_what_is_undecided() -> None:
    pair = Pair(time_limit=100.0)
    pair.candidate.factor = now_faster_now_slower
    run = pair.run_one()
    sessions = len(run.candidate.sessions)
    assert 1 <= sessions < RULE.least_sessions
    taken = [float(each.rpartition(" ")[2]) for each in pair.told.lines if "took" in each]
    assert sum(taken) <= 100 < sum(taken) * (sessions + 1) / sessions + 1
    assert run.cut_off == f"--llm-time-limit is 100 s, and {sessions} sessions took {sum(taken):.0f} s"
    found = compare_alone(run, GATE, RULE)
    assert (found.verdict, found.reason) == (Verdict.NOT_JUDGED, run.cut_off)


def test_the_time_limit_leaves_what_is_decided_as_it_is() -> None:
    pair = Pair(time_limit=150.0)
    pair.candidate.factor = lambda number, workload: (
        1.0 if workload == CHAT else now_faster_now_slower(number)
    )
    outcomes = pair.run(CHAT, DEEP)
    chat, deep = the_pair(outcomes, CHAT), the_pair(outcomes, DEEP)
    assert RULE.looks[0] < len(deep.candidate.sessions) < RULE.looks[-1]
    assert (chat.cut_off, compare_alone(chat, GATE, RULE).verdict) == ("", Verdict.PASS)
    assert deep.cut_off


def test_a_slow_workload_ends_alone() -> None:
    pair = Pair(time_limit=200.0)
    for build in (pair.candidate, pair.reference):
        build.factor = lambda number, workload: 1.0 if workload == CHAT else 10.0
    outcomes = pair.run(DEEP, CHAT)
    deep, chat = the_pair(outcomes, DEEP), the_pair(outcomes, CHAT)
    assert deep.cut_off.startswith("--llm-time-limit is 200 s")
    assert compare_alone(deep, GATE, RULE).verdict is Verdict.NOT_JUDGED
    assert compare_alone(chat, GATE, RULE).verdict is Verdict.PASS
    assert len(deep.candidate.sessions) < len(chat.candidate.sessions) == RULE.looks[0]


def test_the_budget_ends_all_workloads_of_a_campaign_and_says_so() -> None:
    pair = Pair(budget=50.0)
    outcomes = pair.run(DEEP, CHAT)
    for workload in (DEEP, CHAT):
        run = the_pair(outcomes, workload)
        assert run.cut_off.startswith("50 s of --llm-budget were left, and ")
        assert compare_alone(run, GATE, RULE).verdict is Verdict.NOT_JUDGED
    assert pair.machine.now - 1000 <= 50


@pytest.mark.parametrize("limits", [{"time_limit": 1e-9}, {"budget": 1e-9}])
def test_however_little_time_there_is_one_session_is_measured(limits: dict[str, float]) -> None:
    run = Pair(**limits).run_one()  # type: ignore[arg-type]
    assert len(run.candidate.sessions) == 1
    assert ", and 1 session took " in run.cut_off


def test_without_a_limit_a_pair_has_twice_the_time_of_its_first_session_or_of_the_plan() -> None:
    pair = Pair(time_limit=None)
    pair.candidate.factor = lambda number, workload: 1.0 if number < 4 else 30.0
    run = pair.run_one()
    assert run.cut_off.startswith("it took over twice the planned time, ")
    assert run.cut_off.endswith(": set --llm-time-limit")
    steady = Pair(time_limit=None)
    steady.candidate.factor = now_faster_now_slower
    assert len(steady.run_one().candidate.sessions) == RULE.looks[-1]


@pytest.mark.parametrize("error", [WorkerDiedError("SIGSEGV"), WorkerHungError("no answer")])
@pytest.mark.parametrize("what", WORK)
@pytest.mark.parametrize("side", ["candidate", "reference"])
def test_a_workload_that_ends_a_process_fails_alone_and_new_ones_serve_the_rest(
    error: EngineError, what: str, side: str
) -> None:
    pair = Pair()
    broken = getattr(pair, side)
    broken.trouble, broken.trouble_from = {(what, DEEP): error}, 4
    outcomes = pair.run(DEEP, CHAT)
    assert outcomes[DEEP] is error
    assert len(the_pair(outcomes, CHAT).candidate.sessions) == RULE.looks[0]
    # One pair of processes more: the third session had to begin anew after the death.
    assert len(pair.machine.events_of("start")) == 2 * (1 + RULE.looks[0] + 1)
    assert len(pair.machine.events_of("close")) == len(pair.machine.events_of("start"))
    assert work_beside_something_awake(pair.machine.events) == []


@pytest.mark.parametrize("what", WORK)
@pytest.mark.parametrize("side", ["candidate", "reference"])
def test_a_workload_that_is_refused_fails_alone_in_the_same_processes(what: str, side: str) -> None:
    pair = Pair()
    broken = getattr(pair, side)
    refused = RequestFailedError("no room")
    broken.trouble, broken.trouble_from = {(what, DEEP): refused}, 4
    outcomes = pair.run(DEEP, CHAT)
    assert outcomes[DEEP] is refused
    assert len(the_pair(outcomes, CHAT).candidate.sessions) == RULE.looks[0]
    assert len(pair.machine.events_of("start")) == 2 * (1 + RULE.looks[0])
    assert work_beside_something_awake(pair.machine.events) == []


@pytest.mark.parametrize("side", ["candidate", "reference"])
def test_in_turn_as_well_a_workload_fails_alone(side: str) -> None:
    pair = Pair(room=0)
    broken = getattr(pair, side)
    died = WorkerDiedError("SIGSEGV")
    broken.trouble, broken.trouble_from = {("prompt", DEEP): died}, 4
    outcomes = pair.run(DEEP, CHAT)
    assert outcomes[DEEP] is died
    run = the_pair(outcomes, CHAT)
    assert len(run.candidate.sessions) == len(run.reference.sessions) == RULE.looks[0]


@pytest.mark.parametrize("side", ["candidate", "reference"])
def test_a_workload_that_fails_in_the_first_look_is_never_timed(side: str) -> None:
    pair = Pair()
    getattr(pair, side).trouble = {("rehearse", DEEP): WorkerDiedError("SIGILL")}
    outcomes = pair.run(DEEP, CHAT)
    assert isinstance(outcomes[DEEP], WorkerDiedError)
    assert len(the_pair(outcomes, CHAT).candidate.sessions) == RULE.looks[0]
    assert DEEP not in {event.workload for event in pair.machine.events_of("prompt", "request")}


def test_a_pair_whose_workloads_all_failed_starts_no_further_process() -> None:
    pair = Pair()
    pair.reference.trouble = {("rehearse", CHAT): WorkerDiedError("SIGILL")}
    assert isinstance(pair.run(CHAT)[CHAT], WorkerDiedError)
    assert len(pair.machine.events_of("start")) <= 2


@pytest.mark.parametrize("process", [1, 3])
@pytest.mark.parametrize("side", ["candidate", "reference"])
def test_a_side_that_does_not_load_ends_everything_and_is_named(side: str, process: int) -> None:
    pair = Pair()
    getattr(pair, side).refuses_to_load = process
    with pytest.raises(LoadRefusedError, match=side):
        pair.run(CHAT)
    assert len(pair.machine.events_of("close")) == len(pair.machine.events_of("start"))


def test_each_subject_is_looked_at_once_and_alone_before_any_timing() -> None:
    pair = Pair()
    run = pair.run_one()
    assert Counter(event.side for event in pair.machine.events_of("invariants")) == {
        "candidate": 1,
        "reference": 1,
    }
    asked = max(index for index, event in enumerate(pair.machine.events) if event.what == "invariants")
    timed = next(index for index, event in enumerate(pair.machine.events) if event.what == "prompt")
    assert asked < timed
    assert [side.invariants["build"] for side in (run.candidate, run.reference)] == ["candidate", "reference"]
    assert [side.effective_options["build"] for side in (run.candidate, run.reference)] == [
        "candidate",
        "reference",
    ]
    assert [side.subject for side in (run.candidate, run.reference)] == [CANDIDATE, REFERENCE]


def test_a_death_in_the_first_look_does_not_make_it_ask_for_facts_again() -> None:
    pair = Pair()
    pair.candidate.trouble = {("rehearse", DEEP): WorkerDiedError("SIGILL")}
    pair.run(DEEP, CHAT)
    assert len(pair.machine.events_of("invariants")) == 2


@pytest.mark.parametrize(
    ("metric", "verdict"),
    [
        ("inter_token_latency_p50", Verdict.NOT_COVERED),  # one token has none before it
        ("peak_ram_anonymous", Verdict.NOT_COVERED),  # seen by no probe
        ("load_time", Verdict.INCONCLUSIVE),  # 0
    ],
)
def test_what_has_no_ratio_is_not_waited_for_and_told(metric: str, verdict: Verdict) -> None:
    short = Workload(prompt_tokens=8, generate_tokens=1)
    gate = Gate(METRICS[metric], 0.05)
    pair = Pair()
    pair.candidate.load_seconds = 0
    outcomes = pair.run(short, questions=[Question(short, gate), Question(short, GATE)])
    run = the_pair(outcomes, short)
    found = compare_alone(run, gate, RULE)
    assert found.verdict is verdict
    assert found.reason
    assert len(run.candidate.sessions) == RULE.looks[0]
    assert compare_alone(run, GATE, RULE).verdict is Verdict.PASS


def test_memory_and_loading_are_noted_in_every_session() -> None:
    run = Pair().run_one()
    for side in (run.candidate, run.reference):
        assert {session.series["peak_ram"] for session in side.sessions} == {Series((PEAK,))}
        assert {session.series["load"].values for session in side.sessions} == {(0.2,)}
    assert log_ratios(METRICS["load_time"], run) == [0.0] * RULE.looks[0]


class Devices:
    """Sees what is on a device: 100 bytes more at each watch, or refuses where two processes are there."""

    def __init__(self, machine: Machine, *, by_process: bool) -> None:
        self._machine = machine
        self._by_process = by_process
        self._peak = 0.0

    @contextmanager
    def watch(self, pid: int) -> Iterator[Mapping[str, Series]]:
        seen: dict[str, Series] = {}
        yield seen
        started, closed = (len(self._machine.events_of(what)) for what in ("start", "close"))
        self._peak += 100
        if self._by_process:
            seen["peak_vram"] = Series((self._peak,), note=PER_PROCESS)
        elif started - closed > 1:
            seen["peak_vram"] = Series((), note="GPU 0 is used by another process as well")
        else:
            seen["peak_vram"] = Series((self._peak,), note=DEVICE_CHANGE)


VRAM_GATE = Gate(METRICS["peak_vram"], 0.05)


def test_vram_that_is_told_by_process_is_read_and_compared_in_every_session() -> None:
    machine = Machine()
    run = Pair(machine, probe=Devices(machine, by_process=True)).run_one()
    for side in (run.candidate, run.reference):
        read = [session.series["peak_vram"].values for session in side.sessions]
        assert len(set(read)) == len(read) == RULE.looks[0]
    assert compare_alone(run, VRAM_GATE, RULE).sessions == RULE.looks[0]


def test_vram_that_is_the_change_of_the_device_is_that_of_each_subject_alone_and_stands_once() -> None:
    machine = Machine()
    run = Pair(machine, probe=Devices(machine, by_process=False)).run_one()
    values = []
    for side in (run.candidate, run.reference):
        first, *others = side.sessions
        assert first.series["peak_vram"].note == DEVICE_CHANGE
        assert not any("peak_vram" in session.series for session in others)
        values.append(side.peak_vram.value)
    # Two watches of each subject before the first session: one of the load, one of the request.
    assert sorted(values) == [200.0, 400.0]
    found = compare_alone(run, VRAM_GATE, RULE)
    assert (found.verdict, found.sessions) == (Verdict.INCONCLUSIVE, 1)
    assert found.reason == "it was read once, while neither was beside the other: state a limit instead"


def test_subjects_that_take_turns_are_alone_in_every_session() -> None:
    machine = Machine()
    run = Pair(machine, room=-1, probe=Devices(machine, by_process=False)).run_one()
    assert run.not_interleaved
    assert all(session.series["peak_vram"].note == DEVICE_CHANGE for session in run.candidate.sessions)


def test_progress_shows_every_session_and_of_the_end() -> None:
    pair = Pair()
    pair.run_one()
    lines = [line.partition(" ")[0] for line in pair.told.lines]
    assert lines[:4] == ["1/20", "1", "2/20", "2"]
    assert lines[-2:] == ["6", "ended"]


def test_progress_shows_which_subject_is_checked_alone() -> None:
    pair = Pair()
    pair.run_one()
    assert sorted(pair.told.looks) == [
        ("the candidate alone, before any timing", 0, 0),
        ("the reference alone, before any timing", 0, 0),
    ]
