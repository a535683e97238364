"""Twelve workloads of one model, on a fast and on a slow machine: each gets a verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_llm.checks import compare_runs
from pytest_llm.checks.family import Decisions
from pytest_llm.measure import MeasurementContext, TimeLimits, measure
from pytest_llm.measure.duration import Speed
from pytest_llm.measure.plan import make_plan
from pytest_llm.records import Benchmark, Gate, TestKey, Verdict, Workload
from pytest_llm.records.metrics import METRICS
from pytest_llm.records.side import Side
from pytest_llm.stats.sequential import rule_for
from tests.bare import MODEL

from .pretended_pair import CANDIDATE, REFERENCE, Calm, Machine, Memory, PretendedBuild, Told, the_pair

WORKLOADS = tuple(Workload(prompt, generated) for prompt in (32, 64, 96, 128) for generated in (16, 24, 32))
GATES = tuple(Gate(METRICS[f"{each}_tokens_per_second"], 0.05) for each in ("prompt", "generation"))
BENCHMARKS = [
    Benchmark(str(number), TestKey("m", str(number)), CANDIDATE, workload, gates=GATES)
    for number, workload in enumerate(WORKLOADS)
]
# Seconds of a prompt, and of a step: 135 million parameters on two cores, and a model of 21 tok/s.
SPEEDS = {"fast": (0.3, 0.009), "slow": (6.0, 0.1)}


@pytest.mark.slow
@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize(("slower", "verdict"), [(1.0, Verdict.PASS), (2.0, Verdict.REGRESSED)])
def test_every_one_is_judged_by_default(speed: str, slower: float, verdict: Verdict) -> None:
    prompt, step = SPEEDS[speed]
    plan = make_plan(
        BENCHMARKS,
        "normal",
        lambda each: replace(each, build=REFERENCE.build),
        speed_of=lambda _: Speed(0.2, prompt / 128, step),
    )
    rule, (campaign,) = rule_for("normal", plan.family), plan.campaigns
    machine = Machine(noise=0.02)
    candidate, reference = (
        PretendedBuild(name, machine, token_seconds=factor * step, prompt_seconds=factor * prompt)
        for name, factor in (("candidate", slower), ("reference", 1.0))
    )
    context = MeasurementContext(
        probe=Memory(),
        noise=Calm(),
        clock=machine.clock,
        progress=Told(),
        coin=machine.coin,
        room=lambda: 1e9,
        limits=TimeLimits(),
    )
    sides = Side(CANDIDATE, MODEL, candidate), Side(REFERENCE, MODEL, reference)

    outcomes = measure(campaign, sides, rule, context)

    runs = {each: the_pair(outcomes, each) for each in WORKLOADS}
    decisions = Decisions(rule, [(run, gate) for run in runs.values() for gate in GATES])
    verdicts = {compare_runs(run, gate, decisions).verdict for run in runs.values() for gate in GATES}
    assert verdicts == {verdict}
    assert not any(run.cut_off for run in runs.values())
    if speed == "fast":
        assert machine.now - 1000 < 15 * 60
