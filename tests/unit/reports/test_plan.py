"""The plan as text, and what corrects it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_llm.measure.duration import Speed
from pytest_llm.measure.plan import make_plan
from pytest_llm.records import Benchmark, Gate, Limit, Plan, TestKey, Venv, Workload
from pytest_llm.records.metrics import METRICS, find
from pytest_llm.reports.plan import lines, summary
from pytest_llm.reports.progress import ProgressDisplay
from pytest_llm.stats.sequential import rule_for
from tests.bare import SUBJECT

SPEED = Speed(start=1.0, token=0.001, step=0.01)
GATE = Gate(METRICS["generation_tokens_per_second"], 0.05)
P95 = Limit(find("first_token_latency_p95"), 1.0)


def planned(effort: str, *, pair: bool) -> Plan:
    asked = Benchmark("t", TestKey("m", "t"), SUBJECT, Workload(100, 11), (P95,), (GATE,))
    reference = replace(SUBJECT, build=Venv("llama-cpp-python", "there"))
    return make_plan([asked], effort, lambda _: reference if pair else None, speed_of=lambda _: SPEED)


@pytest.mark.parametrize("effort", ["quick", "normal", "thorough"])
def test_a_comparison_has_the_time_of_its_looks(effort: str) -> None:
    plan = planned(effort, pair=True)
    rule, (campaign,) = rule_for(effort, plan.family), plan.campaigns

    def at(sessions: int) -> str:
        return f"{campaign.planned.until(sessions):.0f} s"

    told = summary(plan, rule)
    assert f"{at(rule.least_sessions)} until a single loss can be called ({rule.least_sessions})" in told
    if len(rule.looks) > 1:
        last = rule.looks[-1]
        minutes = f"{campaign.planned.until(last) / 60:.1f} min"
        assert (
            f"{at(last) if campaign.planned.until(last) < 300 else minutes} to the last look ({last})" in told
        )
    if rule.looks[0] < rule.least_sessions:
        assert f"about {at(rule.looks[0])} to the first look ({rule.looks[0]}), " in told


def test_a_subject_alone_has_one_time_and_its_requests() -> None:
    plan = planned("normal", pair=False)
    told = lines(plan, rule_for("normal", plan.family))
    seconds = plan.campaigns[0].planned.until(5)
    assert told[0] == f"llm-bench plan: 1 benchmark on 1 subject, 5 sessions, about {seconds:.0f} s"
    assert told[1].endswith(f": 5 sessions of {seconds / 5:.0f} s, about {seconds:.0f} s")
    assert told[2] == "    100 prompt tokens, 11 generated, depth 0, 8 whole requests a session"


def test_the_first_session_corrects_the_plan() -> None:
    told: list[str] = []
    ProgressDisplay(told.append).replanned(SUBJECT, 8.2, 21.0, [(10, 189.0), (20, 399.0)])
    assert told == [
        f"  {SUBJECT.model}: a session takes 21 s, not 8 s as planned: about 189 s to session 10, 6.7 min to "
        "session 20"
    ]
