"""Two servers in turns: equal ones pass, and one whose every graph takes 10 % longer is called."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from pytest_llm import measure as measuring
from pytest_llm.engines.llama_server.engine import LlamaServer
from pytest_llm.machine.environment import measurement_context
from pytest_llm.machine.qualification.injected import WithVariables
from pytest_llm.records import Campaign, Gate, LoadOptions, PairedRun, Question, Subject, Verdict, Workload
from pytest_llm.records.metrics import METRICS
from pytest_llm.records.side import Side
from pytest_llm.reports.progress import ProgressDisplay
from pytest_llm.stats.log_ratios import observations
from pytest_llm.stats.sequential import Member, conclude, decide_family, rule_for
from tests.system.faults.preload import Fault, compile_library

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_llm.records import BuildReference, Model
    from pytest_llm.stats.log_ratios import Observations

WORKLOAD = Workload(prompt_tokens=128, generate_tokens=32)
GATES = tuple(
    Gate(METRICS[name], 0.05) for name in ("prompt_tokens_per_second", "generation_tokens_per_second")
)
RULE = rule_for("quick", len(GATES))
PATIENCE = 120.0


def verdicts(run: PairedRun) -> dict[str, Verdict]:
    def member(gate: Gate) -> Member:
        def observe(sessions: int) -> Observations:
            return observations(gate.metric, run, sessions)

        return Member(gate, observe, len(run.candidate.sessions))

    decisions = map(conclude, decide_family(RULE, [member(each) for each in GATES]))
    return {
        gate.metric.name: each.verdict
        for gate, each in zip(GATES, decisions, strict=True)
        if each.verdict is not None
    }


@pytest.fixture
def pair(smollm2: Model, server_build: BuildReference, server_program: Path) -> Side:
    options = LoadOptions(n_ctx=512, n_threads=1, n_threads_batch=1)  # a core is left to the client
    engine = LlamaServer(server_build, PATIENCE, str(server_program))
    return Side(Subject(smollm2.name, server_build, options), smollm2, engine)


def measured(pair: Side, variables: Mapping[str, str]) -> PairedRun:
    questions = tuple(Question(WORKLOAD, gate) for gate in GATES)
    campaign = Campaign(pair.subject, (WORKLOAD,), RULE.looks[-1], pair.subject, questions)
    context = measurement_context(ProgressDisplay(lambda _: None), measuring.TimeLimits(workload=math.inf))
    candidate = pair._replace(engine=WithVariables(pair.engine, variables))
    run = measuring.measure(campaign, (candidate, pair), RULE, context)[WORKLOAD]
    assert isinstance(run, PairedRun), run
    return run


@pytest.mark.timed
def test_two_equal_servers_pass(pair: Side) -> None:
    found = verdicts(measured(pair, {}))
    assert Verdict.REGRESSED not in found.values()
    assert list(found.values()).count(Verdict.PASS) >= 1, found


@pytest.mark.timed
def test_a_server_that_is_ten_percent_slower_is_called(pair: Side, tmp_path: Path) -> None:
    slow = Fault(slowdown=0.10).environment(compile_library(tmp_path))
    found = verdicts(measured(pair, slow))
    assert set(found.values()) == {Verdict.REGRESSED}, found
