"""Verdicts by ratios to an anchor: which observation decides, and what leaves the question open."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_llm.baselines import Missing
from pytest_llm.checks.anchored import check_anchored, check_ratios, has_ratio
from pytest_llm.checks.baseline import context, summary
from pytest_llm.checks.findings import Anchored
from pytest_llm.records import Gate, PairedRun, Provenance, Run, Series, Session, StoredRun, TestKey, Verdict
from pytest_llm.records.metrics import METRICS
from pytest_llm.stats.prediction import Spread
from tests.bare import BUILD, RUN

SPEED = Gate(METRICS["generation_tokens_per_second"], 0.05)
STORED = tuple(StoredRun(0.0, Provenance("llama-cpp-python 0.3.35"), whole=0.0) for _ in range(10))
NOTHING = Missing("nothing is stored", unrecorded=True)


def a_run(*slices: float, sessions: int = 5) -> Run:
    """A run of slices of four tokens each."""
    return replace(RUN, sessions=(Session({"generation": Series(slices, tokens=4)}),) * sessions)


def a_pair(*slices: float) -> PairedRun:
    """A candidate with these slices beside an anchor whose slices take 40 ms each."""
    anchor = replace(a_run(*[0.04] * len(slices)), build=replace(BUILD, version="0.3.30"))
    return PairedRun(a_run(*slices), anchor)


def beside(pair: PairedRun) -> Anchored:
    return Anchored(pair, spread=Spread(0.0066, 40), whole_spread=Spread(0.01, 40))


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(1.0, Verdict.PASS), (1.06, Verdict.REGRESSED), (0.94, Verdict.IMPROVED), (1.025, Verdict.PASS)],
)
def test_the_ratio_of_now_is_judged_by_the_stored_ones(factor: float, verdict: Verdict) -> None:
    pair = a_pair(*[0.04 * factor] * 10)
    found = check_ratios(beside(pair), SPEED, STORED, 2, NOTHING)
    assert found.verdict is verdict
    assert found.value == pytest.approx(1)
    assert found.change == pytest.approx(1 / factor - 1)
    assert found.calls_from == pytest.approx(0.031, abs=0.002)


def test_stalls_that_no_typical_slice_shows_are_called_over_all_slices() -> None:
    pair = a_pair(*[0.04] * 9, 0.08)
    found = check_ratios(beside(pair), SPEED, STORED, 2, NOTHING)
    assert found.verdict is Verdict.REGRESSED
    assert found.anchored is not None
    assert (found.anchored.decided_by, found.anchored.ratio) == ("whole", 0)
    assert summary(found).startswith(
        "generation speed over all slices fell from 1.000 to 0.909 times the anchor's, −9.1 % (99 % interval "
    )
    assert context(found)[0] == "anchor llama-cpp-python 0.3.30 (llama.cpp 0c1e570)"


def test_a_campaign_that_was_cut_short_is_not_judged() -> None:
    pair = replace(a_pair(0.08, 0.08), cut_off="the time limit was reached after 5 sessions, 60 s")
    found = check_ratios(beside(pair), SPEED, STORED, 2, NOTHING)
    assert found.verdict is Verdict.NOT_JUDGED
    assert summary(found).endswith("the time limit was reached after 5 sessions, 60 s")
    assert found.anchored is not None
    assert found.anchored.ratio is None


def test_without_stored_ratios_the_gate_is_unrecorded_and_with_few_inconclusive() -> None:
    pair = a_pair(0.08, 0.08)
    assert check_ratios(Anchored(pair), SPEED, (), 2, NOTHING).verdict is Verdict.UNRECORDED
    few = check_ratios(
        Anchored(pair, spread=Spread(0.01, 3), whole_spread=Spread(0.01, 3)), SPEED, STORED[:2], 2, NOTHING
    )
    assert few.verdict is Verdict.INCONCLUSIVE


def test_stored_runs_that_are_replaced_judge_nothing() -> None:
    key = TestKey("test_it", "test_it")
    found = check_anchored(Missing("this run replaces it"), key, a_pair(0.08, 0.08), SPEED, 1)
    assert (found.verdict, found.reason) == (Verdict.NO_BASELINE, "this run replaces it")
    assert found.anchored is not None
    assert found.anchored.ratio == pytest.approx(0.693, abs=1e-3)


def test_an_anchor_that_lacks_a_metric_is_not_covered() -> None:
    pair = a_pair(0.04, 0.04)
    bare = replace(pair, reference=replace(pair.reference, sessions=(Session({}),) * 5))
    found = check_ratios(beside(bare), SPEED, STORED, 1, NOTHING)
    assert found.verdict is Verdict.NOT_COVERED
    assert found.reason.startswith("of the anchor, generation speed")


def test_an_error_of_a_migration_makes_the_interval_wider() -> None:
    pair = a_pair(*[0.04] * 4)
    moved = tuple(replace(each, migrated=0.25) for each in STORED)
    plain, wider = (
        check_ratios(beside(pair), SPEED, stored, 2, NOTHING).calls_from for stored in (STORED, moved)
    )
    assert plain is not None
    assert wider is not None
    assert wider > plain


def test_counts_and_what_is_read_once_have_values_and_no_ratio() -> None:
    assert [has_ratio(METRICS[name]) for name in ("graph_splits", "peak_vram", "load_time")] == [
        False,
        False,
        True,
    ]
