"""Decisions on all questions of a run: made together, and the same again from a results file."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest

from pytest_llm.checks import compare_runs
from pytest_llm.checks.family import Decisions
from pytest_llm.checks.findings import Drift, Finding
from pytest_llm.records import Benchmark, Gate, PairedRun, Series, Session, TestKey, Verdict, Workload
from pytest_llm.records.metrics import METRICS
from pytest_llm.reports.document import Machine
from pytest_llm.reports.recheck import differences, rejudge
from pytest_llm.reports.results import results_of
from pytest_llm.stats.sequential import rule_for
from tests.bare import RUN

SPEED = METRICS["generation_tokens_per_second"]
GATE = Gate(SPEED, 0.05)
RULE = rule_for("normal", 3)
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
MACHINE = Machine("f", "cpu", 2, 8, "Linux x86_64", None)


def a_pair(depth: int, slower: float, sessions: int = 10) -> PairedRun:
    """Both of a workload, of which the candidate takes so many times as long."""

    def session(seconds: float) -> Session:
        return Session({"generation": Series((seconds,) * 3, tokens=4)})

    run = replace(RUN, workload=Workload(depth=depth))
    candidate = tuple(session(0.04 * slower * (1 + each / 1000)) for each in range(sessions))
    reference = (session(0.04),) * sessions
    return PairedRun(replace(run, sessions=candidate), replace(run, sessions=reference))


PAIRS = [a_pair(depth, 1.3) for depth in range(3)]


def test_questions_support_each_other_and_one_alone_needs_more_sessions() -> None:
    together = Decisions(RULE, [(pair, GATE) for pair in PAIRS])
    assert [together.of(pair, GATE).verdict for pair in PAIRS] == [Verdict.REGRESSED] * 3
    assert Decisions(RULE, [(PAIRS[0], GATE)]).of(PAIRS[0], GATE).verdict is None


def test_a_question_that_was_not_asked_has_no_decision() -> None:
    with pytest.raises(KeyError):
        Decisions(RULE, [(PAIRS[0], GATE)]).of(PAIRS[1], GATE)


def test_questions_that_differ_by_their_sizes_are_one_member_of_the_family() -> None:
    loose = Gate(SPEED, 0.1)
    asked = [(pair, gate) for pair in PAIRS for gate in (GATE, loose)]
    decisions = Decisions(RULE, asked)
    assert {decisions.of(*each).verdict for each in asked} == {Verdict.REGRESSED}


def test_a_verdict_is_the_same_again_although_the_tests_that_supported_it_did_not_end() -> None:
    asked = [(pair, GATE) for pair in PAIRS]
    run = PAIRS[0].candidate
    finding = Finding(
        Benchmark("t.py::a", TestKey("t", "a"), run.subject, run.workload, (), (GATE,)),
        run,
        comparisons=(compare_runs(PAIRS[0], GATE, Decisions(RULE, asked)),),
        drift=Drift(),
        outcome="failed",
    )
    results = results_of([finding], NOW, NOW, MACHINE, RULE, questions=asked)
    assert [each.verdict for each in rejudge(results)[0].comparisons] == [Verdict.REGRESSED]
    assert differences(results) == []
    alone = replace(results, questions=results.questions[:1])
    assert differences(alone) == ["t.py::a: generation_tokens_per_second"]
