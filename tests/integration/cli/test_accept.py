"""What ``pytest-llm baselines accept`` stores, what it refuses, and what it says."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from pytest_llm.records import LoadOptions

from .things import FINGERPRINT, MODULE, SPEED, Test, results_of

if TYPE_CHECKING:
    from pathlib import Path

    from .things import Command

NAME = f"{MODULE}::test_chat"


def speeds(baselines: Command, name: str = "test_chat") -> list[float]:
    """The stored runs of a test's generation speed, oldest first."""
    _, document = baselines.json("show", f"{MODULE}::{name}")
    tests = [test for machine in document["machines"] for test in machine["tests"]]
    return [round(run["value"], 6) for test in tests for run in test["metrics"][SPEED]["runs"]]


def test_a_run_and_its_facts_are_stored_and_told(baselines: Command) -> None:
    status, out = baselines("accept", baselines.file(results_of(Test())))
    assert (status, out.splitlines()) == (
        0,
        [
            f"baselines of 1 test written to {baselines.baselines}, machine {FINGERPRINT}",
            f"  {NAME}",
        ],
    )
    assert list(baselines.files()) == [f"machines/{FINGERPRINT}/{MODULE}.json", f"portable/{MODULE}.json"]


def test_json_names_everything_that_was_written_and_refused(baselines: Command) -> None:
    file = baselines.file(results_of(Test(), Test("test_slow", outcome="failed", gated=False)))
    status, document = baselines.json("accept", file)
    assert status == 1
    (machine,) = document["machines"]
    assert [each["name"] for each in machine["written"]] == [
        SPEED,
        "load_time",
        "greedy_output",
        "weights_bytes",
    ]
    (refused,) = machine["refused"]
    assert refused["key"]["name"] == "test_slow"
    assert refused["reason"] == (
        "the test itself failed, not by a verdict: replace its baseline if this is as it should be"
    )


def test_append_adds_a_run(baselines: Command) -> None:
    baselines.accept(100.0, 101.0)
    assert speeds(baselines) == [100.0, 101.0]


def test_several_files_are_several_runs_the_oldest_first(baselines: Command) -> None:
    late = baselines.file(results_of(Test(speed=102.0), hours=2), "a.json")
    early = baselines.file(results_of(Test(speed=101.0), hours=1), "b.json")
    assert baselines("accept", late, early)[0] == 0
    assert speeds(baselines) == [101.0, 102.0]


def test_the_same_results_do_not_count_twice(baselines: Command) -> None:
    file = baselines.file(results_of(Test(), Test("test_b")))
    baselines("accept", file)
    before = baselines.files()
    status, out = baselines("accept", file)
    assert (status, out.splitlines()) == (
        1,
        [
            f"nothing written to {baselines.baselines}, machine {FINGERPRINT}",
            f"not stored: {NAME}: already stored: it is the run of 2026-01-02T03:04:05+00:00",
            f"not stored: {MODULE}::test_b: already stored: it is the run of 2026-01-02T03:04:05+00:00",
        ],
    )
    assert baselines.files() == before


def test_the_same_file_named_twice_counts_once(baselines: Command) -> None:
    file = baselines.file(results_of(Test()))
    assert baselines("accept", file, file)[0] == 1
    assert len(speeds(baselines)) == 1


def test_replace_drops_what_is_there_also_for_the_same_run(baselines: Command) -> None:
    baselines.accept(100.0, 101.0)
    file = baselines.file(results_of(Test(speed=101.0), hours=1))
    for _ in range(2):
        assert baselines("accept", "--mode=replace", file)[0] == 0
        assert speeds(baselines) == [101.0]


def test_replace_by_several_files_keeps_all_of_them(baselines: Command) -> None:
    baselines.accept(50.0)
    files = [baselines.file(results_of(Test(speed=100.0 + n), hours=n), f"{n}.json") for n in (1, 2)]
    baselines("accept", "--mode=replace", *files)
    assert speeds(baselines) == [101.0, 102.0]


def test_replace_takes_failed_tests(baselines: Command) -> None:
    file = baselines.file(results_of(Test(outcome="failed", gated=False)))
    assert baselines("accept", file)[0] == 1
    assert baselines("accept", "--mode=replace", file)[0] == 0


def test_a_test_that_regressed_is_stored_with_its_verdict(baselines: Command) -> None:
    baselines.accept(*[100.0 + n for n in range(5)])
    regressed = Test(speed=50.0, outcome="failed", failed_by_verdict=True, stored=(100.0, 101, 102, 103, 104))
    assert baselines("accept", baselines.file(results_of(regressed, hours=9)))[0] == 0
    _, document = baselines.json("show", NAME)
    (test,) = document["machines"][0]["tests"]
    assert [each["verdict"] for each in test["metrics"][SPEED]["runs"]][-1] == "regressed"


def test_new_stores_what_has_no_run_and_passes_over_the_rest(baselines: Command) -> None:
    baselines.accept(100.0)
    file = baselines.file(results_of(Test(speed=101.0), Test("test_new"), hours=1))
    status, out = baselines("accept", "--mode=new", file)
    assert (status, out.splitlines()[1:]) == (0, [f"  {MODULE}::test_new", "stored before: 2 metrics"])
    assert speeds(baselines) == [100.0]


@pytest.mark.parametrize("mode", ["new", "append"])
def test_other_conditions_are_refused_by_name(baselines: Command, mode: str) -> None:
    baselines.accept(100.0)
    file = baselines.file(results_of(Test(options=LoadOptions(n_threads=4)), hours=1))
    status, out = baselines("accept", f"--mode={mode}", file)
    assert status == 1
    assert f"not stored: {NAME}: recorded with n_threads=1, now 4: replace it" in out


@pytest.mark.parametrize("mode", ["new", "append"])
def test_another_fact_is_refused_and_the_run_is_stored_where_it_can_be(baselines: Command, mode: str) -> None:
    baselines.accept(100.0)
    file = baselines.file(results_of(Test(invariants={"weights_bytes": 1}), hours=1))
    status, out = baselines("accept", f"--mode={mode}", file)
    assert status == 1
    assert f"not stored: {NAME}, weights_bytes: another value is stored: replace it" in out


@pytest.mark.parametrize("by_verdict", [True, False], ids=["by the drift", "by its own assertion"])
def test_a_test_that_drifted_is_stored_but_for_what_drifted_if_nothing_else_failed_it(
    baselines: Command, by_verdict: bool
) -> None:
    before, now = ({"effective_options": {"flash_attn": each}} for each in ("off", "on"))
    baselines.accept(100.0, invariants=before, gated=False)
    drifted = Test(
        speed=101.0,
        gated=False,
        outcome="failed",
        failed_by_verdict=by_verdict,
        invariants=now,
        stored_facts=before,
    )
    status, out = baselines("accept", baselines.file(results_of(drifted, hours=1)))
    assert status == 1
    told = f"not stored: {NAME}, effective_options: another value is stored: replace it" in out
    assert told == by_verdict
    assert speeds(baselines) == ([100.0, 101.0] if by_verdict else [100.0])


def test_only_tests_that_are_named_are_taken(baselines: Command) -> None:
    file = baselines.file(results_of(Test("test_a"), Test("test_b[x]"), Test("test_c")))
    assert baselines("accept", "--test=b[x]", "--test", f"{MODULE}::test_c", file)[0] == 0
    assert [len(speeds(baselines, name)) for name in ("test_a", "test_b", "test_c")] == [0, 1, 1]


def test_a_test_that_is_in_no_file_is_one_line(baselines: Command) -> None:
    line = baselines.refused("accept", "--test=test_x", baselines.file(results_of(Test())))
    assert line == "no test of test_x in results.json: see them with pytest-llm baselines diff"
    assert not baselines.baselines.exists()


def test_machines_are_kept_apart(baselines: Command) -> None:
    files = [
        baselines.file(results_of(Test(), hours=hours, fingerprint=name), f"{hours}.json")
        for hours, name in enumerate(["bbb", "aaa", "bbb"])
    ]
    baselines("accept", *files)
    _, document = baselines.json("show")
    runs = {
        machine["fingerprint"]: len(machine["tests"][0]["metrics"][SPEED]["runs"])
        for machine in document["machines"]
    }
    assert runs == {"aaa": 1, "bbb": 2}


def test_what_is_accepted_is_what_the_plugin_compares_with(baselines: Command) -> None:
    baselines.accept(100.0, 101.0, 99.0, 100.5, 99.5)
    assert baselines("diff", baselines.file(results_of(Test(speed=80.0), hours=9)))[0] == 1


# ── bad input ────────────────────────────────────────────────────────────────────────────────────


def test_ci_never_writes(baselines: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    file = baselines.file(results_of(Test()))
    monkeypatch.setenv("CI", "true")
    assert baselines.refused("accept", file) == (
        "accept: CI never writes a baseline (CI=true is set in the environment): keep the results files, and "
        "run it outside CI"
    )
    assert not baselines.files()


@pytest.mark.parametrize("value", ["false", "False", "0", "no", "off", ""])
def test_ci_that_says_no_is_no_ci(baselines: Command, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CI", value)
    assert baselines("accept", baselines.file(results_of(Test())))[0] == 0
    assert baselines.files()


def test_nothing_is_stored_where_one_file_is_bad(baselines: Command) -> None:
    good = baselines.file(results_of(Test()), "good.json")
    assert baselines.refused("accept", good, baselines.file("{", "bad.json")).startswith(
        "bad.json is not JSON"
    )
    assert not baselines.baselines.exists()


def test_results_without_tests_are_one_line(baselines: Command) -> None:
    line = baselines.refused("accept", baselines.file(results_of()))
    assert line == "no test in results.json: see them with pytest-llm baselines diff"


@pytest.mark.parametrize("kind", ["machines", "portable"])
def test_a_damaged_store_is_one_line_and_nothing_is_written(baselines: Command, kind: str) -> None:
    baselines.accept(100.0)
    (path,) = baselines.baselines.glob(f"{kind}/**/*.json")
    path.write_bytes(path.read_bytes()[:100])
    before = baselines.files()
    line = baselines.refused("accept", baselines.file(results_of(Test(), hours=1)))
    assert line.startswith(f"{path} is not JSON")
    assert baselines.files() == before


def test_a_read_only_folder_is_one_line(baselines: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    baselines.accept(100.0)
    before, real = baselines.files(), os.open

    def read_only(path: Path, flags: int, mode: int = 0o777) -> int:
        if ".write-" in str(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", read_only)
    line = baselines.refused("accept", baselines.file(results_of(Test(), hours=1)))
    assert "cannot be written: Read-only file system; make its folder writable" in line
    assert baselines.files() == before


def test_an_unknown_mode_is_one_line(baselines: Command) -> None:
    line = baselines.refused("accept", "--mode=add", baselines.file(results_of(Test())))
    assert line.startswith("argument --mode: invalid choice: 'add' (choose from ")
    assert line.endswith("; see pytest-llm baselines accept --help")
