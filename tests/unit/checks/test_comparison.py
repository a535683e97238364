"""A candidate against its reference: what the words say, and what cannot be said."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.checks import explain, notes
from pytest_llm.checks.comparison import context, next_step, summary
from pytest_llm.checks.findings import Difference, Drift, Finding
from pytest_llm.records import (
    ALWAYS_FAILING,
    Benchmark,
    Build,
    Claim,
    Gate,
    Installed,
    Library,
    LoadOptions,
    Model,
    PairedRun,
    Release,
    Run,
    Series,
    Session,
    Struck,
    Subject,
    TestKey,
    Turns,
    Venv,
    Verdict,
    Workload,
)
from pytest_llm.records.metrics import METRICS, at_percentile
from pytest_llm.stats.sequential import rule_for
from tests.comparing import compare_alone
from tests.golden import assert_golden

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.checks.findings import Comparison

GOLDEN = Path(__file__).parent / "golden" / "paired.txt"
RULE = rule_for("normal", 2)
SPEED = Gate(METRICS["generation_tokens_per_second"], 0.05)
LATENCY = Gate(at_percentile("first_token_latency", 90), 0.05)
# Sessions of a machine whose log ratios scatter by about 1 %, and by ten times as much.
QUIET = (0.011, -0.008, 0.006, -0.014, 0.002, 0.009, -0.003, -0.010, 0.005, -0.001)
ROUGH = tuple(10 * each for each in QUIET) * 2
OLD = Build("llama-cpp-python", "0.3.35", "4df29be", "python")
NEW = Build("llama-cpp-python", "0.3.36", "0c1e570", "python")
BUILD = Installed("llama-cpp-python")
RELEASE = Release("llama-cpp-python", "there")
SUBJECT = Subject("smollm2-135m", BUILD, LoadOptions(n_ctx=2048, n_threads=2, flash_attn="on"))
THAN = replace(SUBJECT, load_options=replace(SUBJECT.load_options, flash_attn="off", n_ubatch=64))


def a_run(build: Build, log_times: Sequence[float], subject: Subject = SUBJECT, requests: int = 20) -> Run:
    sessions = tuple(
        Session(
            {
                "generation": Series((0.032 * math.exp(max(each, -1)),), tokens=4),  # it always takes time
                "first_token": Series((0.209 * math.exp(each),) * requests),
            }
        )
        for each in log_times
    )
    model = Model("smollm2-135m", "x.gguf", "b1", 1, "llama", "Q4_1", 134515008, 30, 9, 3, 576, 8192, 49152)
    return Run(subject, Workload(128, 64, 1024), model, build, {}, sessions, {})


def a_pair(ratios: Sequence[float], by: float = 0.0) -> PairedRun:
    """Both of a machine whose log ratios are these, with a candidate that is slower by so much more."""
    return PairedRun(a_run(NEW, [each + by for each in ratios]), a_run(OLD, [0.0] * len(ratios)))


def a_size(build: Build, size: float) -> Run:
    return replace(a_run(build, QUIET), sessions=(Session({"peak_ram": Series((size,))}),) * len(QUIET))


def asked_for_less(pair: PairedRun) -> PairedRun:
    return replace(pair, reference=replace(pair.reference, build=NEW, subject=THAN))


LIMITED = "the time limit was reached after 3 sessions, 61 s"
CASES: dict[str, tuple[PairedRun, Gate | Claim, Verdict]] = {
    "regressed": (a_pair(QUIET, 0.063), SPEED, Verdict.REGRESSED),
    "regressed latency": (a_pair(QUIET, 0.12), LATENCY, Verdict.REGRESSED),
    "improved": (a_pair(QUIET, -0.08), SPEED, Verdict.IMPROVED),
    "pass": (a_pair(QUIET), SPEED, Verdict.PASS),
    "pass at a later look": (a_pair((*QUIET[:5], 0.06, *QUIET[5:9])), SPEED, Verdict.PASS),
    "pass, however small a loss": (a_pair(QUIET, -0.015), SPEED, Verdict.PASS),
    "regressed RAM": (
        PairedRun(a_size(NEW, 2.2e9), a_size(OLD, 2e9)),
        Gate(METRICS["peak_ram"], 0.03),
        Verdict.REGRESSED,
    ),
    "inconclusive by looks": (a_pair(ROUGH, 0.03), SPEED, Verdict.INCONCLUSIVE),
    "not judged by the time limit": (
        replace(a_pair(QUIET[:3]), cut_off=LIMITED),
        SPEED,
        Verdict.NOT_JUDGED,
    ),
    "claim not judged": (
        replace(asked_for_less(a_pair(QUIET[:9], -0.3)), cut_off=LIMITED),
        Claim(SPEED.metric, 0.2, THAN),
        Verdict.NOT_JUDGED,
    ),
    "inconclusive by the time limit": (
        replace(a_pair(ROUGH[:12], 0.03), cut_off=LIMITED),
        SPEED,
        Verdict.INCONCLUSIVE,
    ),
    "claim kept": (
        asked_for_less(a_pair(QUIET, -0.3)),
        Claim(SPEED.metric, 0.2, THAN),
        Verdict.PASS,
    ),
    "claim not kept": (
        asked_for_less(a_pair(QUIET, -0.1)),
        Claim(SPEED.metric, 0.2, THAN),
        Verdict.OVER_LIMIT,
    ),
    "claim inconclusive": (
        asked_for_less(a_pair(ROUGH, -0.18)),
        Claim(SPEED.metric, 0.2, THAN),
        Verdict.INCONCLUSIVE,
    ),
    "not covered": (a_pair(QUIET), Gate(METRICS["peak_ram"], 0.05), Verdict.NOT_COVERED),
    "a time of zero": (a_pair([0.0, -math.inf] * 5), LATENCY, Verdict.INCONCLUSIVE),
    "in turn": (replace(a_pair(QUIET), not_interleaved=True), SPEED, Verdict.PASS),
    "disturbed": (
        replace(
            a_pair(QUIET),
            turns=(
                {"prompt": Turns("0101", {"CPU steal above 5%": Struck((0,), (2,))})},
                {"prompt": Turns("01010101", {"CPU quota used up": Struck(tuple(range(8)), ())})},
            ),
        ),
        SPEED,
        Verdict.PASS,
    ),
}


@pytest.mark.parametrize(("requests", "verdict"), [(20, Verdict.PASS), (19, Verdict.NOT_COVERED)])
def test_each_session_of_a_pair_has_a_percentile_of_its_own(requests: int, verdict: Verdict) -> None:
    ours, theirs = (a_run(build, [0.0] * 10, requests=requests) for build in (NEW, OLD))
    found = compare_alone(PairedRun(ours, theirs), LATENCY, RULE)
    assert found.verdict is verdict
    if verdict is Verdict.NOT_COVERED:
        assert found.reason == (
            "first-token latency p90 takes 20 observations in each session of a pair: raise --llm-time-limit"
        )


def judged(name: str) -> Comparison:
    pair, asked, _ = CASES[name]
    return compare_alone(pair, asked, RULE)


@pytest.mark.parametrize("name", CASES)
def test_a_verdict_is_what_the_rule_says(name: str) -> None:
    found = judged(name)
    assert found.verdict is CASES[name][2]
    without = (Verdict.INCONCLUSIVE, Verdict.NOT_JUDGED, Verdict.NOT_COVERED)
    assert bool(found.reason) is (found.verdict in without)


def test_the_words_are_those_of_the_golden_file() -> None:
    told = [
        line
        for name in CASES
        for line in (f"{name}:", summary(judged(name)), *(f"  {line}" for line in context(judged(name))))
    ]
    assert_golden(GOLDEN, "\n".join(told) + "\n")


def test_a_change_and_its_interval_are_those_of_the_metric() -> None:
    slower, later = judged("regressed"), judged("regressed latency")
    assert slower.change is not None
    assert later.change is not None
    assert slower.interval is not None
    assert later.interval is not None
    assert slower.interval[0] < slower.change < slower.interval[1] < 0
    assert 0 < later.interval[0] < later.change < later.interval[1]
    assert slower.change == pytest.approx(math.exp(-0.063) - 1, abs=0.003)


def test_what_would_have_been_called_is_known_but_where_the_looks_were_cut_short() -> None:
    for name in ("pass at a later look", "inconclusive by looks"):
        mde = judged(name).mde
        assert mde is not None
        assert mde > 0
    for name in ("pass", "inconclusive by the time limit"):  # no loss is called after 6 sessions
        assert judged(name).mde is None


def test_of_what_one_side_lacks_that_side_is_named() -> None:
    pair = a_pair(QUIET)
    bare = tuple(Session({}) for _ in QUIET)
    for without, named in (
        (replace(pair, reference=replace(pair.reference, sessions=bare)), "0.3.35"),
        (replace(pair, candidate=replace(pair.candidate, sessions=bare)), "0.3.36"),
    ):
        found = compare_alone(without, SPEED, RULE)
        assert found.verdict is Verdict.NOT_COVERED
        assert named in found.reason
        assert summary(found) == found.reason


def a_finding(name: str, drift: Drift | None = None) -> Finding:
    pair, asked, _ = CASES[name]
    benchmark = Benchmark("t.py::a", TestKey("t", "a"), SUBJECT, pair.candidate.workload)
    return Finding(benchmark, pair.candidate, comparisons=(compare_alone(pair, asked, RULE),), drift=drift)


def test_a_failure_shows_candidate_reference_model_workload_and_what_differs() -> None:
    drift = Drift((Difference("flash_attn", "off", "on"), Difference("greedy_output", [1], [2])))
    text = explain(a_finding("regressed", drift), ALWAYS_FAILING).splitlines()
    assert [line.split()[0] for line in text] == [
        "generation",
        "candidate",
        "reference",
        "model",
        "workload",
        "other",
        "next:",
    ]
    assert text[-2] == "  other output; configuration differs: flash_attn off → on"


@pytest.mark.parametrize(
    ("reference", "candidate", "step"),
    [
        (RELEASE, BUILD, "next: pytest-llm bisect 't.py::a[1]' --good 0.3.35 --bad 0.3.36"),
        (RELEASE, RELEASE, "next: pytest-llm bisect 't.py::a[1]' --good 0.3.35 --bad 0.3.36"),
        (Venv("llama-cpp-python", "there"), BUILD, ""),
        (RELEASE, Library("llama-cpp-python", "there"), ""),
    ],
)
def test_a_loss_between_two_releases_can_be_bisected(reference: Any, candidate: Any, step: str) -> None:
    pair = a_pair(QUIET, 0.063)
    old, new = (
        replace(run, subject=replace(SUBJECT, build=build))
        for run, build in ((pair.reference, reference), (pair.candidate, candidate))
    )
    assert next_step([compare_alone(PairedRun(new, old), SPEED, RULE)], "t.py::a[1]") == step


@pytest.mark.parametrize("name", ["pass", "improved", "claim not kept"])
def test_only_a_regression_is_bisected(name: str) -> None:
    assert next_step([judged(name)], "t.py::a") == ""


def test_a_row_of_releases_goes_onwards_and_has_one_kind_of_settings() -> None:
    pair = a_pair(QUIET, 0.063)
    back = PairedRun(replace(pair.candidate, build=OLD), replace(pair.reference, build=NEW))
    build = Release("llama-cpp-python", "0.3.35", ("-DGGML_AVX2=OFF",))
    other = replace(pair, reference=replace(pair.reference, subject=replace(SUBJECT, build=build)))
    for each in (back, other):
        assert next_step([compare_alone(each, SPEED, RULE)], "t.py::a") == ""


def test_a_drift_that_fails_as_well_says_what_to_do() -> None:
    drift = Drift((Difference("greedy_output", [1], [2]),))
    text = explain(a_finding("regressed", drift), ALWAYS_FAILING | {Verdict.DRIFT}).splitlines()
    assert text[0].startswith("generation speed fell")
    assert text[-3:] == [
        "  other output; same configuration",
        "  next: --llm-drift=warn judges the speed all the same",
        "  next: pytest-llm bisect t.py::a --good 0.3.35 --bad 0.3.36",
    ]


def test_what_differs_is_told_with_a_pass_as_well() -> None:
    drift = Drift((Difference("flash_attn", "off", "on"),))
    assert notes(a_finding("pass", drift))[-1] == "same output; configuration differs: flash_attn off → on"
    assert len(notes(a_finding("pass", Drift()))) == 1
