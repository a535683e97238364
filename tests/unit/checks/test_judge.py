"""One benchmark judged: which check answers which question."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_llm.baselines import Missing
from pytest_llm.checks.family import Decisions
from pytest_llm.checks.judge import judge
from pytest_llm.records import (
    Benchmark,
    Claim,
    Gate,
    Limit,
    PairedRun,
    Run,
    Series,
    Session,
    Subject,
    TestKey,
    Verdict,
    Workload,
)
from pytest_llm.records.metrics import METRICS
from pytest_llm.stats.sequential import rule_for
from tests.bare import RUN, SUBJECT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.checks.findings import Finding

SPEED = METRICS["generation_tokens_per_second"]
RULE = rule_for("quick", 3)
THAN = replace(SUBJECT, load_options=replace(SUBJECT.load_options, n_ubatch=64))
BENCHMARK = Benchmark(
    "test_it.py::test_it",
    TestKey("test_it", "test_it"),
    SUBJECT,
    Workload(),
    limits=(Limit(SPEED, 50.0),),
    gates=(Gate(SPEED, 0.05),),
)
CLAIM = Claim(SPEED, 0.1, THAN)
NOTHING = Missing("nothing is stored")


def a_run(seconds: float) -> Run:
    """A run of as many sessions as a pair has, each of four tokens in so many seconds."""
    session = Session({"generation": Series((seconds,), tokens=4)})
    return replace(RUN, sessions=(session,) * RULE.looks[-1])


def a_pair(candidate: float, reference: float, than: Subject = SUBJECT) -> PairedRun:
    return PairedRun(a_run(candidate), replace(a_run(reference), subject=than))


def judged(benchmark: Benchmark, measured: Run | PairedRun, claims: Sequence[PairedRun] = ()) -> Finding:
    asked: list[tuple[PairedRun, Gate | Claim]] = list(zip(claims, benchmark.claims, strict=False))
    asked += [(measured, gate) for gate in benchmark.gates if isinstance(measured, PairedRun)]
    return judge(benchmark, measured, claims, NOTHING, Decisions(RULE, asked))


def test_a_run_alone_is_judged_by_limits_and_by_what_is_stored() -> None:
    found = judged(BENCHMARK, a_run(0.04))
    assert found.run == a_run(0.04)
    assert [each.verdict for each in found.judgements] == [Verdict.PASS]
    assert [(each.verdict, each.reason) for each in found.baseline_checks] == [
        (Verdict.NO_BASELINE, "nothing is stored")
    ]
    assert found.comparisons == ()
    assert found.drift is not None
    assert found.drift.reason == "nothing is stored"


def test_the_candidate_of_a_pair_is_judged_by_limits_and_by_its_reference() -> None:
    found = judged(BENCHMARK, a_pair(0.1, 0.04))
    assert found.run == a_run(0.1)
    assert [each.verdict for each in found.judgements] == [Verdict.OVER_LIMIT]
    assert [each.verdict for each in found.comparisons] == [Verdict.REGRESSED]
    assert found.baseline_checks == ()
    assert found.drift is not None
    assert found.drift.reason == ""


@pytest.mark.parametrize("measured", [a_run(0.04), a_pair(0.04, 0.04)])
def test_each_claim_is_judged_by_its_own_pair_after_the_gates(measured: Run | PairedRun) -> None:
    other = replace(THAN, load_options=replace(THAN.load_options, n_ubatch=32))
    benchmark = replace(BENCHMARK, claims=(CLAIM, replace(CLAIM, than=other)))
    found = judged(benchmark, measured, (a_pair(0.04, 0.08, THAN), a_pair(0.08, 0.04, other)))
    claims = [each for each in found.comparisons if isinstance(each.asked, Claim)]
    assert found.comparisons[-2:] == tuple(claims)
    assert [each.verdict is Verdict.PASS for each in claims] == [True, False]


def test_without_a_gate_nothing_is_compared_with_what_is_stored() -> None:
    found = judged(replace(BENCHMARK, gates=()), a_run(0.04))
    assert (found.baseline_checks, found.drift) == ((), None)


def test_as_many_pairs_as_claims_are_needed() -> None:
    with pytest.raises(ValueError, match="argument"):
        judged(replace(BENCHMARK, claims=(CLAIM,)), a_run(0.04))
