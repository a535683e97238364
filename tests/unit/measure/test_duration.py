"""How long sessions take, by what is known before anything is loaded."""

from __future__ import annotations

import math

import pytest

from pytest_llm.errors import UsageError
from pytest_llm.measure.budgets import PAIR, SOLO
from pytest_llm.measure.duration import Size, Speed, planned_time
from pytest_llm.measure.limits import RunBudget, check_limits
from pytest_llm.measure.plan import make_plan
from pytest_llm.records import (
    Benchmark,
    Control,
    Gate,
    Installed,
    Limit,
    LoadOptions,
    Plan,
    Subject,
    TestKey,
    Venv,
    Workload,
)
from pytest_llm.records.metrics import METRICS, find
from pytest_llm.records.units import duration
from pytest_llm.stats.sequential import rule_for

CONTROL = Control(bandwidth=10e9, arithmetic=100e9, threads=2, method="numpy 2")
FAST = Speed(start=1.0, token=0.001, step=0.01)
SLOW = Speed(start=1.0, token=1 / 21, step=0.1)
CHAT = Workload(prompt_tokens=100, generate_tokens=11)
GATE = Gate(METRICS["generation_tokens_per_second"], 0.05)
P95 = find("first_token_latency_p95")
FORGET = "; pytest --cache-clear forgets the speeds of earlier runs"


def subject(model: str) -> Subject:
    return Subject(model, Installed("llama-cpp-python"), LoadOptions())


def reference(each: Subject) -> Subject:
    return Subject(each.model, Venv("llama-cpp-python", "there"), each.load_options)


def benchmark(name: str, workload: Workload = CHAT, model: str = "m", **asked: object) -> Benchmark:
    return Benchmark(f"t.py::{name}", TestKey("t.py", name), subject(model), workload, **asked)  # type: ignore[arg-type]


def planned(*benchmarks: Benchmark, speed: Speed = FAST, limit: float = math.inf, pair: bool = True) -> Plan:
    beside = reference if pair else lambda _: None
    return make_plan(benchmarks, "normal", beside, speed_of=lambda _: speed, time_limit=limit)


def test_a_prompt_takes_two_operations_a_parameter_and_a_step_reads_each_weight_once() -> None:
    once = Speed.of(Size(100_000_000, 135_000_000), CONTROL)
    twice = Speed.of(Size(200_000_000, 270_000_000), CONTROL)
    assert twice.token == pytest.approx(2 * once.token)
    assert twice.step == pytest.approx(2 * once.step)
    assert Speed.of(Size(), CONTROL, on_gpu=True).token < once.token / 10


@pytest.mark.parametrize(
    ("workload", "first_token", "gap"),
    [
        (Workload(128, 64), 0.411, 0.0103),
        (Workload(128, 64, depth=1024), 0.518, 0.0153),
        (Workload(1280, 16), 4.61, 0.0160),
    ],
)
def test_it_agrees_with_what_a_small_model_takes_on_two_cores(
    workload: Workload, first_token: float, gap: float
) -> None:
    size = Size(98_362_432, 134_515_008, 4 * 30 * 576)
    speed = Speed.of(size, Control(bandwidth=9e9, arithmetic=228e9, threads=2, method="numpy 2"))
    prompt = speed.prompt(workload, workload.prompt_tokens, workload.depth)
    assert prompt == pytest.approx(first_token, rel=0.2)
    assert speed.steps(workload, 16) / 16 == pytest.approx(gap, rel=0.2)


def test_a_request_is_its_prompt_and_one_step_for_each_later_token() -> None:
    assert FAST.request(CHAT) == pytest.approx(0.1 + 10 * 0.01)
    assert FAST.request(Workload(100, 11, parallel=20)) == pytest.approx(2.0 + 10 * 0.02)
    assert FAST.request(Workload(100, embed=True)) == pytest.approx(0.1)
    assert FAST.rehearsal(Workload(100, 11, depth=1000)) == pytest.approx(1.2)


def test_workloads_share_the_seconds_of_a_session_but_for_some_and_one_round_each() -> None:
    alone = planned_time([FAST, FAST], [CHAT], {})
    assert alone.work[CHAT] == pytest.approx(0.4 + PAIR.rounds.seconds + 0.2)
    many = [Workload(100, 11, depth=each) for each in range(60)]
    shared = planned_time([FAST, FAST], many, {})
    assert shared.work[many[0]] == pytest.approx(0.4 + PAIR.rounds.shared_seconds + 0.2)
    slow = planned_time([SLOW, SLOW], many, {}).work[many[1]]
    assert slow == pytest.approx(2 * SLOW.rehearsal(many[1]) + 2 * SLOW.request(many[1]))
    assert shared.work_alone[many[0]] == alone.work[CHAT]
    assert planned_time([SLOW, SLOW], [CHAT], {}).work[CHAT] > 4 * SLOW.request(CHAT) > PAIR.rounds.seconds
    assert planned_time([FAST], [CHAT], {}).work[CHAT] == pytest.approx(0.2 + SOLO.rounds.seconds + 0.1)


def test_whole_requests_and_watching_for_leaks_are_counted() -> None:
    without, with_ten = (planned_time([FAST, FAST], [CHAT], {CHAT: number}) for number in (0, 10))
    assert with_ten.work[CHAT] - without.work[CHAT] == pytest.approx(10 * 0.4)
    assert planned_time([FAST], [CHAT], {}, [CHAT]).after > FAST.start


def test_the_plan_adds_up_sessions_and_the_pass_before_them() -> None:
    (campaign,) = planned(benchmark("a", gates=(GATE,))).campaigns
    time = campaign.planned
    assert time.session == pytest.approx(2.0 + time.work[CHAT])
    assert time.until(10) == pytest.approx(2.4 + 10 * time.session)
    assert time.of(CHAT, 10) == pytest.approx(10 * time.session)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0051, "5 ms"), (45, "45 s"), (240, "240 s"), (330, "5.5 min"), (1000, "17 min"), (9000, "2.5 h")],
)
def test_a_duration_is_rounded(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_workload_that_cannot_reach_a_call_within_its_limit_is_refused_with_what_to_do() -> None:
    plan = planned(
        benchmark("fast", gates=(GATE,)), benchmark("slow", Workload(512, 11), gates=(GATE,)), speed=SLOW
    )
    rule = rule_for("normal", plan.family)
    needed = plan.campaigns[0].planned.of(Workload(512, 11), rule.least_sessions)
    check_limits(plan, rule, 1.01 * needed, math.inf)
    check_limits(plan, rule, None, math.inf)
    with pytest.raises(UsageError) as refused:
        check_limits(plan, rule, 0.99 * needed, math.inf)
    assert str(refused.value) == (
        f"--llm-time-limit {duration(0.99 * needed)}: t.py::slow takes about {duration(needed)}, "
        f"{rule.least_sessions} sessions until a single loss can be called: raise the limit to "
        f"{duration(1.2 * needed)}, take --llm-effort=quick, or give it fewer tokens{FORGET}"
    )


def test_a_plan_that_takes_longer_than_its_budget_is_refused_with_what_to_drop() -> None:
    plan = planned(
        benchmark("a", gates=(GATE,)),
        benchmark("b", Workload(900, 11), model="other", gates=(GATE,)),
        speed=SLOW,
    )
    rule = rule_for("normal", plan.family)
    needed = sum(each.planned.until(rule.least_sessions) for each in plan.campaigns)
    check_limits(plan, rule, None, 1.01 * needed)
    with pytest.raises(UsageError) as refused:
        check_limits(plan, rule, None, 0.5 * needed)
    assert str(refused.value) == (
        f"--llm-budget {duration(0.5 * needed)}: the plan takes about {duration(needed)} until a single loss "
        f"can be called: raise the budget to {duration(1.2 * needed)}, take --llm-effort=quick, or drop "
        f"tests, the longest of which is t.py::b{FORGET}"
    )


def test_a_subject_alone_is_refused_if_its_sessions_take_too_long() -> None:
    plan = planned(benchmark("a"), speed=SLOW, pair=False)
    rule = rule_for("normal", plan.family)
    with pytest.raises(
        UsageError, match=r"^--llm-time-limit 5 s: t.py::a takes about \d+ s, 5 sessions: raise"
    ):
        check_limits(plan, rule, 5.0, math.inf)


def test_a_percentile_that_the_limit_has_no_time_for_is_not_asked() -> None:
    asked = benchmark("a", limits=(Limit(P95, 1.0),), gates=(Gate(P95, 0.05), GATE))
    (with_time,) = planned(asked, speed=SLOW).campaigns
    assert with_time.requests == {CHAT: 40}
    assert [each.asked.metric for each in with_time.questions] == [P95, GATE.metric]
    limit = with_time.planned.of(CHAT, 10) / 2
    (without,) = planned(asked, speed=SLOW, limit=limit).campaigns
    assert without.requests == {CHAT: math.ceil(40 / rule_for("normal", 2).looks[0])}  # for the limit
    assert [each.asked.metric for each in without.questions] == [GATE.metric]
    check_limits(Plan((asked,), (without,)), rule_for("normal", 2), limit, math.inf)


def test_the_budget_is_shared_by_planned_time_and_what_is_left_goes_on() -> None:
    plan = planned(*(benchmark(each, model=each, gates=(GATE,)) for each in "abc"))
    rule = rule_for("normal", plan.family)
    now = [100.0]
    budget = RunBudget(300.0, lambda: now[0])
    assert budget.share(plan, plan.campaigns[0], rule) == pytest.approx(100)
    with budget.spending():
        now[0] += 40
    now[0] += 1000  # making a build does not count
    assert budget.share(plan, plan.campaigns[1], rule) == pytest.approx(130)
    with budget.spending():
        now[0] += 250
    assert budget.share(plan, plan.campaigns[2], rule) == pytest.approx(10)
    assert RunBudget(math.inf, lambda: 0.0).share(plan, plan.campaigns[0], rule) == math.inf


def test_workloads_share_the_seconds_of_a_session_and_each_of_a_pair_keeps_some() -> None:
    assert [PAIR.shared_by(each).rounds.seconds for each in (1, 2, 12)] == [6.0, 3.0, 1.5]
    assert [SOLO.shared_by(each).rounds.seconds for each in (1, 2, 16)] == [4.0, 2.0, 0.25]
    assert [PAIR.shared_by(each).rounds.least for each in (1, 2, 12)] == [3, 1, 1]
