"""The results file: its schema, what is refused, and that verdicts follow from the file alone."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.checks import compare_runs, judge_limits
from pytest_llm.checks.drift import ROUNDING
from pytest_llm.checks.expected_differences import ASKED, COMPILED
from pytest_llm.checks.family import Decisions
from pytest_llm.checks.findings import Difference, Drift, Finding
from pytest_llm.errors import ResultsError
from pytest_llm.records import (
    Benchmark,
    Claim,
    Gate,
    LoadOptions,
    PairedRun,
    Series,
    Session,
    TestKey,
    Workload,
)
from pytest_llm.reports import results_file
from pytest_llm.reports.recheck import (
    asked_in,
    baseline_checks_of,
    differences,
    limits_of,
    pairs_of,
    questions_of,
)
from pytest_llm.reports.results import results_of
from pytest_llm.reports.update_baselines import by_home
from pytest_llm.stats.sequential import rule_for
from pytest_llm.stats.summary import summarize_all
from tests.bare import BUILD
from tests.comparing import compare_alone

from .examples import (
    COMPARED,
    FAMILY,
    LEFT_OUT,
    MACHINE,
    NOW,
    a_pair,
    a_run,
    findings,
    results_of_pairs,
    some_results,
    the_pairs,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.reports.document import Results


def plain(results: Results) -> dict[str, Any]:
    """The results as JSON has them."""
    found: dict[str, Any] = json.loads(results_file.render(results))
    return found


def bare(results: Results) -> Results:
    """The results without what is computed from the sessions when it is asked for."""
    runs = {name: replace(run, measurements={}) for name, run in results.runs.items()}
    return replace(results, runs=runs)


def written(document: Any, folder: Path) -> Path:
    path = folder / "results.json"
    path.write_text(json.dumps(document))
    return path


def test_what_is_written_is_what_the_schema_says_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "results.json"
    results_file.write(path, some_results())
    assert results_file.read(path) == bare(some_results())
    assert results_file.read_plain(path) == plain(some_results())


def test_verdicts_follow_from_the_file_alone_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results_file.write(path, some_results())
    results = results_file.read(path)
    runs, rule = results.runs, results.rule
    test, gated, _ = results.tests
    assert test.run is not None
    assert gated.run is not None
    assert rule is not None
    again = judge_limits(runs[test.run], limits_of(test))
    assert {each.limit.metric.name: each.verdict for each in again} == {
        name: entry.limit.verdict for name, entry in test.metrics.items() if entry.limit
    }
    for each in again:
        assert each.measurement is not None
        assert each.measurement.value == test.metrics[each.limit.metric.name].value
    for screened in baseline_checks_of(gated, runs[gated.run], {}, rule):
        found = gated.metrics[screened.gate.metric.name].baseline
        assert found is not None
        assert (screened.verdict, screened.interval) == (found.verdict, found.interval)
        assert (screened.value, screened.change) == (found.value, found.change)
    for name, measurement in summarize_all(runs["run-1"].sessions).items():
        assert measurement.value == test.metrics[name].value
        assert measurement.samples == test.metrics[name].samples


def test_comparisons_and_claims_follow_from_the_file_alone_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results_file.write(path, results_of_pairs())
    results = results_file.read(path)
    assert results == bare(results_of_pairs())
    pairs = pairs_of(results, results.runs)
    assert results.rule == rule_for("normal", FAMILY)
    decisions = Decisions(results.rule, asked_in(results, pairs))
    verdicts = []
    for test in results.tests:
        for asked, pair in questions_of(test, pairs):
            kind = "comparison" if isinstance(asked, Gate) else "claim"
            entry = getattr(test.metrics[asked.metric.name], kind)
            again = compare_runs(pair, asked, decisions)
            verdicts.append((test.key.name, kind, asked.metric.name, again.verdict.value))
            for name in (
                *("verdict", "log_ratios", "whole_log_ratios", "observation", "bound"),
                *("interval", "sessions", "change"),
                *("p_regressed", "p_improved", "p_ok", "mde", "reason"),
            ):
                assert getattr(again, name) == getattr(entry, name), name
            assert again.candidate is not None
            assert again.reference is not None
            if kind == "comparison":  # a claim is measured apart
                assert again.candidate.value == test.metrics[asked.metric.name].value
            assert again.reference.value == entry.reference_value
            assert again.reference.samples == entry.reference_samples
    assert verdicts == [
        ("d", "comparison", "generation_tokens_per_second", "regressed"),
        ("d", "claim", "generation_tokens_per_second", "over limit"),
        ("d", "comparison", "load_time", "inconclusive"),
        ("d", "comparison", "first_token_latency_p90", "regressed"),
        ("e", "comparison", "generation_tokens_per_second", "regressed"),
    ]


def test_pairs_come_back_equal_but_for_what_follows_from_them(tmp_path: Path) -> None:
    def without(pair: PairedRun) -> PairedRun:
        candidate, reference = (replace(each, measurements={}) for each in (pair.candidate, pair.reference))
        return replace(pair, candidate=candidate, reference=reference)

    results = results_file.read(written(plain(results_of_pairs()), tmp_path))
    expected = {f"pair-{number}": without(each) for number, each in enumerate(the_pairs(), 1)}
    assert pairs_of(results, results.runs) == expected


def test_a_pair_has_the_order_of_its_turns_and_what_struck_them() -> None:
    document = plain(results_of_pairs())
    pair = document["pairs"]["pair-1"]
    assert pair["turns"][0]["generation"] == {"first": "01", "struck": {}}
    assert pair["turns"][2]["generation"]["struck"] == {
        "CPU quota used up": {"candidate": [0], "reference": []},
        "CPU steal above 5%": {"candidate": [1], "reference": [1]},
    }
    assert len(pair["turns"]) == len(document["runs"][pair["candidate"]]["sessions"])
    entry = document["tests"][0]["metrics"]["generation_tokens_per_second"]["comparison"]
    assert entry["rounds"] == [5] * len(pair["turns"])


def test_the_reference_is_another_build_never_other_load_options() -> None:
    builds = results_of_pairs()
    assert builds.candidate is not None
    assert builds.reference is not None
    assert (builds.candidate.version, builds.reference.version) == ("0.3.36", "0.3.35")
    claimed = a_pair(4, LoadOptions(flash_attn="off"))
    claim = Claim(COMPARED[0].metric, 0.1, claimed.reference.subject)
    benchmark = Benchmark("t.py::f", TestKey("t", "f"), claimed.candidate.subject, Workload())
    found = compare_alone(claimed, claim, rule_for("normal", FAMILY))
    finding = Finding(benchmark, claimed.candidate, comparisons=(found,), outcome="failed")
    assert results_of([finding], NOW, NOW, MACHINE).reference is None


def test_what_a_pair_has_nothing_of_is_listed_as_not_covered() -> None:
    assert [(each.nodeid, each.metric) for each in results_of_pairs().not_covered] == [
        ("t.py::d", "peak_ram"),
        ("t.py::d", "total_tokens_per_second"),
    ]


def test_a_run_comes_back_equal_but_for_what_follows_from_it(tmp_path: Path) -> None:
    path = written(plain(some_results()), tmp_path)
    assert results_file.read(path).runs == {"run-1": replace(a_run(), measurements={})}


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("schema_version",), "1", "schema_version"),
        (("tests", 0, "metrics", "generation_tokens_per_second", "value"), "fast", "value"),
        (("tests", 0, "outcome"), "fine", "outcome"),
        (("tests", 0, "colour"), "red", "colour"),
        (("runs", "run-1", "sessions"), {}, "sessions"),
        (("tests", 0, "output"), {"verdict": "fine"}, "output"),
        (("runs", "run-1", "sessions", 0, "series", "generation", "values", 0), -1, "values"),
        (("machine", "cores"), None, "cores"),
        (("tests",), {}, "tests"),
    ],
)
def test_another_shape_is_refused_at_its_place(
    place: tuple[str | int, ...], value: object, words: str, tmp_path: Path
) -> None:
    document = plain(some_results())
    *way, last = place
    at: Any = document
    for step in way:
        at = at[step]
    at[last] = value
    with pytest.raises(ResultsError, match=words) as caught:
        results_file.read(written(document, tmp_path))
    assert "\n" not in str(caught.value)


ODD: dict[str, dict[str, Any]] = {"outcome": {"outcome": "fine"}, "cores": {"cores": None}}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"schema_version": "1"}, r"\$\.schema_version: "),
        ({"duration_s": "long"}, r"\$\.duration_s: 'long' is not of type 'number'"),
        (
            {"tests": (replace(some_results().tests[0], **ODD["outcome"]),)},
            r"\$\.tests\[0\]\.outcome: 'fine'",
        ),
        ({"machine": replace(MACHINE, **ODD["cores"])}, r"\$\.machine\.cores: None"),
        ({"runs": {"run-1": replace(a_run(), sessions=(Session({"load": Series((-1.0,))}),))}}, "values.*-1"),
        ({"runs": {"run-1": replace(a_run(), build=replace(BUILD, engine=""))}}, "engine: ''"),
    ],
)
def test_what_is_out_of_shape_is_refused_at_its_place_and_never_written(
    value: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ResultsError, match=words) as caught:
        results_file.write(tmp_path / "results.json", replace(some_results(), **value))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results.json").exists()


def test_a_name_of_no_run_is_refused(tmp_path: Path) -> None:
    document = plain(results_of_pairs())
    document["pairs"]["pair-1"]["candidate"] = "run-9"
    with pytest.raises(ResultsError, match=r"\$\.runs: 'run-9' is named and is not there"):
        results_file.read(written(document, tmp_path))


def test_what_could_not_be_measured_is_listed_whoever_asked_for_it() -> None:
    assert [(each.nodeid, each.metric) for each in some_results().not_covered] == [
        ("t.py::a", "peak_ram_anonymous"),
        ("t.py::b", "peak_ram"),
    ]


def test_a_missing_key_is_refused(tmp_path: Path) -> None:
    document = plain(some_results())
    del document["runs"]
    with pytest.raises(ResultsError, match="'runs' is a required property"):
        results_file.read(written(document, tmp_path))


@pytest.mark.parametrize("expected", ["", ASKED, COMPILED, ROUNDING])
def test_every_reason_for_a_difference_can_be_written(expected: str, tmp_path: Path) -> None:
    finding = replace(findings()[1], drift=Drift((Difference("greedy_output", [1], [2], expected),)))
    results_file.write(tmp_path / "results.json", results_of([finding], NOW, NOW, MACHINE))
    (test,) = results_file.read(tmp_path / "results.json").tests
    assert test.drift is not None
    assert test.drift.differences[0].expected == expected


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_a_file_that_is_none_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with pytest.raises(ResultsError, match=r"results\.json") as caught:
        results_file.read(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="cannot be read"):
        results_file.read(tmp_path / "results.json")


def test_a_file_from_the_future_says_so(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"version 2.*upgrade pytest-llm-bench"):
        results_file.read(written({**plain(some_results()), "schema_version": 2}, tmp_path))


def test_what_is_said_of_operators_follows_from_their_times() -> None:
    results = results_of(findings()[:1], NOW, NOW, MACHINE, rule_for("normal", FAMILY))
    (test,) = results.tests
    (entry,) = test.operators

    assert [each.operator for each in entry.found if each.differs] == ["MUL_MAT q4_1 576×1536, n=1"]
    assert differences(results) == []
    times = (replace(entry.times[0], candidate=(2e-5, *entry.times[0].candidate[1:])), *entry.times[1:])
    edited = replace(test, operators=(replace(entry, times=times),))
    assert differences(replace(results, tests=(edited,))) == ["t.py::a: operators"]


def test_which_stored_runs_were_left_out_is_told_again() -> None:
    results = results_of(findings()[1:2], NOW, NOW, MACHINE, rule_for("normal", FAMILY))
    baseline = results.tests[0].metrics["generation_tokens_per_second"].baseline
    assert baseline is not None
    assert baseline.left_out == LEFT_OUT
    assert [each.note for each in baseline.runs] == ["", "", "as told", "", ""]
    assert [each for each in differences(results) if "generation" in each] == []


# ── one bad value ─────────────────────────────────────────────────────────────────────────────────────


def with_bad_run(**changes: Any) -> Results:
    """Results of which only the second test's run cannot be stored."""
    good, other = findings()[0], a_run()
    bad = replace(other, **{"sessions": (Session({"load": Series((0.5,))}),), **changes})
    bad = replace(bad, measurements=summarize_all(bad.sessions))
    benchmark = Benchmark("t.py::bad", TestKey("t", "bad"), bad.subject, bad.workload)
    return results_of(
        [good, Finding(benchmark, bad, outcome="passed")], NOW, NOW, MACHINE, rule_for("normal", FAMILY)
    )


def nested(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sessions": (Session({"load": Series((math.inf,))}),)}, "not JSON compliant"),
        ({"sessions": (Session({"load": Series((-1.0,))}),)}, "-1.0 is less than the minimum"),
        ({"invariants": {"greedy": [math.nan]}}, "nan"),
        ({"effective_options": {"deep": nested(5000)}}, ""),
    ],
)
@pytest.mark.parametrize("early", [False, True])
def test_one_bad_value_voids_its_own_test_alone(
    changes: dict[str, Any], reason: str, *, early: bool, tmp_path: Path
) -> None:
    path, results = tmp_path / "results.json", with_bad_run(**changes)
    if early:
        results_file.write_early(path, results)
        if reason.startswith("-1"):  # which is checked when it is read
            return
    else:
        with pytest.raises(ResultsError, match=r"results\.json lacks the results of t\.py::bad: ") as caught:
            results_file.write(path, results)
        assert "\n" not in str(caught.value)
        assert reason in str(caught.value)
    read = results_file.read(path)
    good, bad = read.tests
    assert good == bare(results).tests[0]
    assert (bad.run, bad.metrics, bad.outcome) == (None, {}, "passed")
    assert bad.notes[0].startswith("its results cannot be stored: ")
    assert list(read.runs) == ["run-1"]
    assert differences(read) == []


def test_a_test_that_declares_a_bad_value_is_left_out(tmp_path: Path) -> None:
    path, results = tmp_path / "results.json", with_bad_run()
    good, bad = results.tests
    options = replace(bad.load_options, rope_freq_base=math.inf)
    with pytest.raises(ResultsError, match=r"lacks the results of t\.py::bad: .*inf"):
        results_file.write(path, replace(results, tests=(good, replace(bad, load_options=options))))
    assert results_file.read(path).tests == (good,)


def test_pairs_and_claims_of_the_others_stay(tmp_path: Path) -> None:
    path, results = tmp_path / "results.json", results_of_pairs()
    bad = replace(results.tests[0], key=TestKey("t", "z"), notes=("",))  # a note is not empty
    with pytest.raises(ResultsError, match=r"lacks the results of t\.py::d"):
        results_file.write(path, replace(results, tests=(bad, *results.tests)))
    read = results_file.read(path)
    assert read.tests[1:] == results.tests
    assert read.pairs == results.pairs
    assert differences(read) == differences(results)


def test_a_file_that_no_command_would_read_is_written_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_file, "MAX_BYTES", 100)
    with pytest.raises(ResultsError, match=r"has more than 100 bytes, which no command reads"):
        results_file.write(tmp_path / "results.json", some_results())
    assert json.loads((tmp_path / "results.json").read_text())["finished"]


def test_results_are_composed_and_judged_again_in_linear_time() -> None:
    def seconds(count: int) -> float:
        run = a_run()
        made = [
            Finding(
                Benchmark(f"t.py::{n}", TestKey("t", str(n)), run.subject, run.workload, home=str(n)),
                replace(run, effective_options={"n": n}),
                outcome="passed",
            )
            for n in range(count)
        ]
        started = time.process_time()
        results = results_of(made, NOW, NOW, MACHINE, rule_for("normal", FAMILY))
        assert len(by_home(results)) == count
        return time.process_time() - started

    few = min(seconds(100) for _ in range(3))
    assert seconds(1600) < max(16 * 3 * few, 0.2)  # a square would be 256 times
