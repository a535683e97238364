"""Verdicts by stored runs: their words, and what would settle a doubt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llm.baselines import Missing
from pytest_llm.checks.baseline import alike, check_stored_runs, context, next_step, notes, summary
from pytest_llm.records import (
    Build,
    Gate,
    Provenance,
    Run,
    Series,
    Session,
    StoredRun,
    Verdict,
    Workload,
)
from pytest_llm.records.metrics import METRICS
from tests.bare import RUN
from tests.golden import assert_golden

GOLDEN = Path(__file__).parent / "golden"
SPEED = METRICS["generation_tokens_per_second"]
GATE = Gate(SPEED, 0.05)
NODEID = "tests/test_speed.py::test_chat"


def a_run() -> Run:
    session = Session({"generation": Series((0.04,), tokens=4), "first_token": Series((0.5,) * 5)})
    return replace(RUN, workload=Workload(128, 64), sessions=(session,))


def stored(*values: float, build: str = "llama-cpp-python 0.3.35", day: int = 1) -> list[StoredRun]:
    return [
        StoredRun(value, Provenance(build, "4df29be", f"2026-01-{day + index:02}T00:00:00+00:00", "0.1.0"))
        for index, value in enumerate(values)
    ]


def otherwise(*notes: str) -> list[StoredRun]:
    """Stored runs of half the speed, each read in another way."""
    return [replace(each, note=note) for each, note in zip(stored(*[50.0] * len(notes)), notes, strict=True)]


def test_the_words_are_those_of_the_golden_file() -> None:
    run = a_run()  # at 100 tokens a second
    situations = {
        "regressed": stored(120, 121, 119, 120.5, 119.5),
        "improved": stored(80, 81, 79, 80.5, 79.5),
        "pass": stored(100, 100.5, 99.5, 100.2, 99.8),
        "inconclusive": stored(100, 130, 80, 90, 110),
        "too few": stored(100, 100.5),
        "one": stored(100),
    }
    lines = []
    for name, runs in situations.items():
        baseline_check = check_stored_runs(run, GATE, runs, 2)
        lines += [f"{name}: {summary(baseline_check)}", *(f"  {line}" for line in context(baseline_check))]
    missing = check_stored_runs(run, GATE, (), 2, Missing("recorded with n_threads=2, now 4"))
    uncovered = check_stored_runs(run, Gate(METRICS["peak_ram_anonymous"], 0.05), (), 2)
    lines += [f"missing: {summary(missing)}", f"uncovered: {summary(uncovered)}"]
    mixed = [*otherwise("change of the device"), *stored(100, 100.5, 99.5, 100.2, 99.8)]
    some, left_out = alike(mixed, "")
    none, reason = alike(otherwise("change of the device", ""), "per process")
    told = (
        check_stored_runs(run, GATE, some, 2, left_out=left_out),
        check_stored_runs(run, GATE, none, 2, Missing(reason)),
    )
    lines += [f"some left out: {summary(told[0])}", f"all left out: {summary(told[1])}"]
    assert_golden(GOLDEN / "stored.txt", "\n".join(lines) + "\n")


def test_runs_that_were_read_otherwise_move_no_verdict() -> None:
    like = stored(100, 100.5, 99.5, 100.2, 99.8)
    found, left_out = alike([*like, *otherwise("allocated by llama.cpp", "change of the device")], "")
    assert found == like
    assert left_out.startswith("2 more left out")
    assert alike(like, "") == (like, "")
    assert alike([], "per process") == ([], "")


def test_gates_that_miss_the_same_thing_are_told_together() -> None:
    gates = [GATE, Gate(METRICS["first_token_latency"], 0.05)]
    found = [check_stored_runs(a_run(), gate, (), 2, Missing("no baselines")) for gate in gates]
    assert notes(found) == ["generation speed, first-token latency: no baseline, no baselines"]


def test_a_pass_and_a_regression_are_no_notes() -> None:
    found = [
        check_stored_runs(a_run(), GATE, stored(100, 100.5, 99.5, 100.2, 99.8), 1),
        check_stored_runs(a_run(), GATE, stored(120, 121, 119, 120.5, 119.5), 1),
    ]
    assert [each.verdict for each in found] == [Verdict.PASS, Verdict.REGRESSED]
    assert notes(found) == []


def test_a_value_of_0_is_never_compared() -> None:
    run = a_run()
    sessions = tuple(Session({"peak_ram": Series((0.0,))}) for _ in run.sessions)
    gate = Gate(METRICS["peak_ram"], 0.05)
    found = check_stored_runs(replace(run, sessions=sessions), gate, stored(1, 1, 1, 1, 1), 1)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "state a limit instead" in summary(found)


@pytest.mark.parametrize("verdict", [Verdict.REGRESSED, Verdict.INCONCLUSIVE])
def test_a_doubt_is_settled_by_the_newest_other_build(verdict: Verdict) -> None:
    spread = 0.5 if verdict is Verdict.REGRESSED else 30
    runs = [
        *stored(120, 120 + spread, build="llama-cpp-python 0.3.34"),
        *stored(120 - spread, 120, day=3),
        *stored(120, build="llama-cpp-python 0.3.36", day=5),
    ]
    found = check_stored_runs(a_run(), GATE, runs, 1)
    assert found.verdict is verdict
    assert next_step([found], a_run(), NODEID) == (
        f"next: pytest {NODEID} --llm-bench --llm-against llama-cpp-python@0.3.35 settles it"
    )


def test_where_the_build_is_the_same_the_machine_is_asked() -> None:
    run = a_run()
    assert run.build == Build("llama-cpp-python", "0.3.36", "0c1e570", "python")
    found = check_stored_runs(run, GATE, stored(120, 121, 119, 120, 120, build="llama-cpp-python 0.3.36"), 1)
    assert next_step([found], run, NODEID).endswith(f"pytest {NODEID} --llm-bench --llm-aa")


def test_a_program_whose_place_nobody_wrote_down_is_not_asked_for_again() -> None:
    found = check_stored_runs(a_run(), GATE, stored(120, 121, 119, 120, 120, build="llama-bench b6097"), 1)
    assert found.verdict is Verdict.REGRESSED
    assert next_step([found], a_run(), NODEID) == ""


def test_where_nothing_is_in_doubt_there_is_no_next_step() -> None:
    def step(run: Run, *values: float) -> str:
        return next_step([check_stored_runs(run, GATE, stored(*values), 1)], run, NODEID)

    assert step(a_run(), 100, 100.5, 99.5, 100.2, 99.8) == ""
    assert step(a_run(), 100, 130) == ""
