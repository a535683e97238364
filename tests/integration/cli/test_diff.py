"""What ``pytest-llm baselines diff`` says of results, and when it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.records import LoadOptions

from .things import FINGERPRINT, MODULE, SPEED, Test, results_of

if TYPE_CHECKING:
    from .things import Command

STORED = (100.0, 101.0, 99.0, 100.5, 99.5)
NAME = f"{MODULE}::test_chat"


def lines_of(baselines: Command, *tests: Test, **options: Any) -> list[str]:
    return baselines("diff", baselines.file(results_of(*tests, hours=9, **options)))[1].splitlines()


def compared(baselines: Command, *tests: Test, **options: Any) -> tuple[int, list[dict[str, Any]]]:
    """The exit status, and what is said of each test."""
    status, document = baselines.json("diff", baselines.file(results_of(*tests, hours=9, **options)))
    assert document["regressed"] is (status == 1)
    found: list[dict[str, Any]] = document["results"][0]["tests"]
    return status, found


def test_a_gated_metric_that_regressed_fails_the_command(baselines: Command) -> None:
    baselines.accept(*STORED)
    status, (test,) = compared(baselines, Test(speed=80.0))
    metric = test["metrics"][SPEED]
    assert status == 1
    assert (metric["verdict"], metric["gated"], metric["new"], metric["runs"]) == (
        "regressed",
        True,
        False,
        5,
    )
    assert metric["stored"] == pytest.approx(100.0, rel=1e-3)
    assert metric["now"] == pytest.approx(80.0)
    assert metric["change"] == pytest.approx(-0.2, abs=1e-3)
    assert metric["interval"][0] < -0.2 < metric["interval"][1]


def test_metrics_that_nobody_gates_are_judged_and_decide_nothing(baselines: Command) -> None:
    baselines.accept(*STORED)
    slow = Test(speed=80.0, load=0.8, gated=False)
    status, (test,) = compared(baselines, slow)
    assert status == 0
    assert {name: each["verdict"] for name, each in test["metrics"].items()} == {
        SPEED: "regressed",
        "load_time": "regressed",
    }
    assert lines_of(baselines, slow)[-3:] == [
        "no metric is gated",
        f"not gated, regressed: {NAME}, {SPEED}",
        f"not gated, regressed: {NAME}, load_time",
    ]


def test_people_see_a_row_for_each_metric_and_a_conclusion(baselines: Command) -> None:
    baselines.accept(*STORED)
    assert lines_of(baselines, Test(speed=80.0)) == [
        f"results.json of 2026-01-02T12:04:05+00:00, compared with {baselines.baselines}",
        "candidate llama-cpp-python 0.3.36 (llama.cpp 0c1e570)",
        f"machine {FINGERPRINT}: a CPU, 2 cores, 24 GiB, Linux x86_64",
        "rule: as for 1 gate that shares the error rate",
        "",
        NAME,
        "                                      stored          now   change",
        "  generation_tokens_per_second  100.00 tok/s  80.00 tok/s  −20.0 %  regressed (gate, tolerance 5 %)",
        "  load_time                         500.0 ms     500.0 ms   ±0.0 %  pass",
        "  same output; same configuration",
        "",
        "gated metrics: 1 regressed",
    ]


def test_the_tolerance_is_the_gate_s_own(baselines: Command) -> None:
    baselines.accept(*STORED)
    assert compared(baselines, Test(speed=91.0, tolerance=0.05))[0] == 1
    status, (test,) = compared(baselines, Test(speed=91.0, tolerance=0.4))
    assert (status, test["metrics"][SPEED]["verdict"]) == (0, "pass")
    assert test["metrics"][SPEED]["tolerance"] == 0.4
    assert test["metrics"]["load_time"]["tolerance"] == 0.05


def test_what_no_gate_names_is_judged_by_the_metric_s_own_tolerance(baselines: Command) -> None:
    baselines.accept(*STORED, ram=100e6)
    _, (test,) = compared(baselines, Test(ram=100.7e6))
    ram = test["metrics"]["peak_ram_anonymous"]
    assert (ram["tolerance"], ram["gated"], ram["verdict"]) == (0.03, False, "regressed")
    _, (test,) = compared(baselines, Test(ram=100.5e6))
    assert test["metrics"]["peak_ram_anonymous"]["verdict"] == "pass"


def test_the_error_rate_is_shared_as_in_the_file(baselines: Command) -> None:
    baselines.accept(*STORED)
    slow = Test(speed=95.5)
    assert [compared(baselines, slow, family=family)[0] for family in (1, 1000)] == [1, 0]


def test_the_verdict_is_that_of_a_run_on_the_same_machine_only(baselines: Command) -> None:
    baselines.accept(*STORED)
    other = lines_of(baselines, Test(speed=80.0), fingerprint="another")
    assert f" has none of {MODULE} for this machine (another)" in "\n".join(other)
    assert other[-1] == (
        f"none of these tests has baselines of the machine another in {baselines.baselines}: accept them, "
        "or, if they should have some, name their folder with --baselines"
    )


def test_what_cannot_be_compared_names_the_condition(baselines: Command) -> None:
    baselines.accept(*STORED)
    other = Test(speed=80.0, options=LoadOptions(n_threads=4))
    status, (test,) = compared(baselines, other)
    assert status == 0
    assert test["new"] is False
    assert {each["reason"] for each in test["metrics"].values()} == {"recorded with n_threads=1, now 4"}
    assert f"{NAME}: cannot be compared: recorded with n_threads=1, now 4" in lines_of(baselines, other)


CHANGE = "change of the device"


@pytest.mark.parametrize(("read", "told"), [(CHANGE, CHANGE), ("", "nothing noted")])
def test_a_value_that_was_read_otherwise_has_no_baseline(baselines: Command, read: str, told: str) -> None:
    baselines.accept(*STORED, vram=6e9, vram_read=read)
    now = Test(vram=9e9)
    status, (test,) = compared(baselines, now)
    metric = test["metrics"]["peak_vram"]
    assert (status, metric["verdict"], metric["runs"], metric["new"]) == (0, "no baseline", 0, False)
    reason = (
        f"read in another way: {told} when recorded, per process now; record it again with "
        "--llm-update-baselines=append"
    )
    assert metric["reason"] == reason
    assert any(line.endswith(f"no baseline: {reason}") for line in lines_of(baselines, now))
    assert test["metrics"][SPEED]["verdict"] == "pass"


def test_stored_runs_that_were_read_otherwise_are_left_out_and_counted(baselines: Command) -> None:
    baselines.accept(102.0, 103.0, vram=6e9, vram_read=CHANGE)
    baselines.accept(*STORED, vram=9e9)
    now = Test(vram=9e9)
    status, (test,) = compared(baselines, now)
    metric = test["metrics"]["peak_vram"]
    assert (status, metric["verdict"], metric["runs"], metric["stored"]) == (0, "pass", 5, pytest.approx(9e9))
    assert metric["left_out"] == f"2 more left out, read in another way: {CHANGE}"
    assert any(line.endswith(f"pass: {metric['left_out']}") for line in lines_of(baselines, now))
    assert test["metrics"][SPEED]["runs"] == 7


def test_new_tests_and_new_metrics_are_told(baselines: Command) -> None:
    document = results_of(Test())
    del document["tests"][0]["metrics"]["load_time"]
    del document["runs"]["run-1"]["sessions"][0]["series"]["load"]
    baselines("accept", baselines.file(document))
    _, (known, new) = compared(baselines, Test(), Test("test_new"))
    assert [known["new"], new["new"]] == [False, True]
    assert [known["metrics"][name]["new"] for name in (SPEED, "load_time")] == [False, True]
    lines = lines_of(baselines, Test(), Test("test_new"))
    assert [line.split()[-1] for line in lines if line.strip().startswith("load_time")] == ["new"]
    assert f"{MODULE}::test_new: new: this test was never recorded on this machine" in lines
    assert lines[-1] == "1 test new"


def test_a_metric_that_only_the_store_has_is_told(baselines: Command) -> None:
    baselines.accept(*STORED)
    document = results_of(Test(), hours=9)
    del document["tests"][0]["metrics"]["load_time"]
    (run,) = document["runs"].values()
    del run["sessions"][0]["series"]["load"]
    _, found = baselines.json("diff", baselines.file(document))
    metric = found["results"][0]["tests"][0]["metrics"]["load_time"]
    assert (metric["verdict"], metric["now"]) == ("not covered", None)


def test_drift_of_facts_is_told(baselines: Command) -> None:
    baselines.accept(*STORED, invariants={"effective_options": {"flash_attn": "off"}, "greedy_output": "a"})
    now = Test(invariants={"effective_options": {"flash_attn": "on"}, "greedy_output": "b"})
    _, (test,) = compared(baselines, now)
    assert test["drift"]["verdict"] == "drift"
    assert test["drift"]["differences"] == [
        {"name": "flash_attn", "before": "off", "now": "on", "expected": ""},
        {"name": "greedy_output", "before": "a", "now": "b", "expected": ""},
    ]
    assert "  other output; configuration differs: flash_attn off → on" in lines_of(baselines, now)


def test_a_test_that_was_not_measured_says_why(baselines: Command) -> None:
    baselines.accept(*STORED)
    lines = lines_of(baselines, Test(), Test("test_dead", problem="the worker ended"))
    assert f"{MODULE}::test_dead: not measured: the worker ended" in lines


@pytest.mark.parametrize("tests", [(), (Test(problem="the worker ended"),)])
def test_results_without_a_measured_test_say_so(baselines: Command, tests: tuple[Test, ...]) -> None:
    assert lines_of(baselines, *tests)[-1] == "nothing to compare: no test of these results was measured"


def test_an_empty_store_is_no_error(baselines: Command) -> None:
    status, (test,) = compared(baselines, Test())
    assert (status, test["new"]) == (0, True)
    assert not baselines.baselines.exists()


def test_several_files_are_told_oldest_first_and_one_regression_fails(baselines: Command) -> None:
    baselines.accept(*STORED)
    late = baselines.file(results_of(Test(), hours=9), "a.json")
    early = baselines.file(results_of(Test(speed=50.0), hours=8), "b.json")
    status, document = baselines.json("diff", late, early)
    assert status == 1
    assert [each["file"] for each in document["results"]] == ["b.json", "a.json"]


def test_fewer_than_five_runs_are_inconclusive(baselines: Command) -> None:
    baselines.accept(100.0, 101.0)
    status, (test,) = compared(baselines, Test(speed=50.0))
    metric = test["metrics"][SPEED]
    assert (status, metric["verdict"], metric["reason"]) == (0, "inconclusive", "2 of 5 runs")


def test_nothing_is_written(baselines: Command) -> None:
    baselines.accept(*STORED)
    before = baselines.files()
    compared(baselines, Test(speed=50.0))
    assert baselines.files() == before


# ── bad input ────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_results_file_is_one_line(baselines: Command) -> None:
    assert baselines.refused("diff", "no.json") == "no.json cannot be read: No such file or directory"


def test_a_damaged_results_file_is_one_line(baselines: Command) -> None:
    line = baselines.refused("diff", baselines.file('{"schema_version": 1, '))
    assert line.startswith("results.json is not JSON")


def test_results_of_a_later_version_are_one_line(baselines: Command) -> None:
    line = baselines.refused("diff", baselines.file({**results_of(Test()), "schema_version": 2}))
    assert line == "results.json is of version 2, this plugin reads up to 1: upgrade pytest-llm-bench"


def test_a_start_without_its_zone_is_one_line(baselines: Command) -> None:
    line = baselines.refused("diff", baselines.file({**results_of(Test()), "started": "2026-01-02T03:04:05"}))
    assert line == "results.json: started is '2026-01-02T03:04:05', not a time with its zone"


def test_a_fingerprint_that_leads_elsewhere_is_one_line(baselines: Command) -> None:
    line = baselines.refused("diff", baselines.file(results_of(Test(), fingerprint="../../x")))
    assert line == "the fingerprint '../../x' cannot be a folder's name"


def test_a_damaged_store_is_one_line(baselines: Command) -> None:
    baselines.accept(*STORED)
    (path,) = baselines.baselines.glob("machines/*/**/*.json")
    path.write_text(path.read_text().replace("0.3.36", "0.3.37"))
    line = baselines.refused("diff", baselines.file(results_of(Test())))
    assert line.startswith(f"{path} was edited by hand or damaged")
