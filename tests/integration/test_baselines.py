"""Runs judged by stored ones, as a user lives through it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.machine import fingerprint
from pytest_llm.records import Series

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

GATED = """
    @pytest.mark.llm_model(n_ctx={n_ctx})
    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens={generate})
    @pytest.mark.llm_no_regression({arguments})
    def test_speed(llm_bench):
        pass
"""
# 128 tokens a second, each one percent apart: the spread of a quiet machine.
NORMAL = 1 / 128
SPREAD = (1.0, 1.01, 0.99, 1.02, 0.98)


def _write(project: Project, arguments: str = "", *, n_ctx: int = 512, generate: int = 8) -> None:
    project.write(GATED.format(arguments=arguments, n_ctx=n_ctx, generate=generate))


def _record(project: Project, fake: Fake, runs: int = 5, normal: float = NORMAL) -> None:
    for factor in SPREAD[:runs]:
        fake.set(token_seconds=normal * factor)
        project.measure("--llm-update-baselines=append").assert_outcomes(passed=1)
    fake.set(token_seconds=NORMAL)


def _verdicts(project: Project, *arguments: str) -> dict[str, str]:
    (test,) = project.results(*arguments)["tests"]
    return {
        name: metric["baseline"]["verdict"] for name, metric in test["metrics"].items() if metric["baseline"]
    }


def _stored(project: Project) -> dict[str, Any]:
    path = _file(project)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["tests"]
    return found


def _file(project: Project) -> Path:
    return project.path / "baselines" / "machines" / fingerprint.fingerprint() / "test_it.py.json"


def test_five_runs_then_the_same_again_pass(project: Project, fake: Fake) -> None:
    _write(project)
    _record(project, fake)

    assert _verdicts(project) == {
        "prompt_tokens_per_second": "pass",
        "generation_tokens_per_second": "pass",
    }


def test_a_build_four_times_slower_has_regressed_and_says_by_how_much(project: Project, fake: Fake) -> None:
    _write(project)
    _record(project, fake)
    fake.set(token_seconds=4 * NORMAL)

    text = project.failures()["test_speed"]

    lines = text.splitlines()
    assert lines[0] == (
        "prompt speed fell from 128.0 tok/s to 32.00 tok/s, −75.0 % "
        "(99 % interval −76.9 … −72.9 %, 5 stored runs, calls losses from 9.4 % on)"
    )
    assert lines[1].startswith("generation speed fell from 128.0 tok/s to 32.00 tok/s, −75.0 %")
    assert lines[2].startswith("  candidate fake 1.0 ")
    assert lines[3].startswith("  baseline fake 1.0 ")
    assert lines[-3] == "  same output; same configuration"
    assert lines[-2].startswith(
        "  regressed by stored runs: not confirmed in pairs, because they are of no other "
    )
    assert lines[-1].endswith("pytest test_it.py::test_speed --llm-bench --llm-aa")
    assert set(_verdicts(project).values()) == {"regressed"}


def test_a_faster_build_is_told_since_its_baseline_hides_losses(project: Project, fake: Fake) -> None:
    _write(project)
    _record(project, fake)
    fake.set(token_seconds=NORMAL / 2)

    result = project.measure()

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "  prompt speed *  improved",
            "  generation speed *  improved",
            "*::test_speed: prompt speed rose from 128.0 tok/s to 256.0 tok/s*goes unnoticed",
            "*::test_speed: generation speed rose*",
        ]
    )


def test_fewer_than_five_runs_say_how_many_there_are(project: Project, fake: Fake) -> None:
    _write(project)
    _record(project, fake, runs=4)

    result = project.measure()

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["*::test_speed: generation speed rose from 127.4 tok/s *: inconclusive, 4 of 5 runs"]
    )


def test_another_load_option_is_no_baseline_and_is_named(project: Project, fake: Fake) -> None:
    _write(project)
    _record(project, fake)
    _write(project, n_ctx=1024)

    result = project.measure()

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["*::test_speed: prompt speed, generation speed: no baseline, recorded with n_ctx=512, now 1024"]
    )


def test_another_workload_is_no_baseline_and_is_named(project: Project, fake: Fake) -> None:
    _write(project)
    _record(project, fake, runs=1)
    _write(project, generate=4)

    project.measure().stdout.fnmatch_lines(["*: no baseline, recorded with generate_tokens=8, now 4"])


def test_another_machine_has_no_baseline_and_the_one_that_has_is_told(
    project: Project, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = fingerprint.fingerprint()
    _write(project)
    _record(project, fake)
    monkeypatch.setattr(fingerprint, "fingerprint", lambda: "0123456789ab")

    result = project.measure()

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"*: no baseline, *for this machine (0123456789ab), only for {here}; *"])


def test_metrics_and_tolerance_are_the_tests_own(project: Project, fake: Fake) -> None:
    _write(project, '"first_token_latency", tolerance="80%"')
    _record(project, fake)
    fake.set(token_seconds=1.3 * NORMAL)

    assert _verdicts(project) == {"first_token_latency": "regressed"}

    fake.set(token_seconds=1.1 * NORMAL)
    assert _verdicts(project) == {"first_token_latency": "pass"}


def test_every_metric_of_a_benchmark_is_stored_whoever_asks(project: Project, fake: Fake) -> None:
    _write(project, '"load_time"')
    _record(project, fake, runs=2)

    metrics = _stored(project)["test_speed"]["metrics"]

    assert {"prompt_tokens_per_second", "first_token_latency", "load_time", "peak_ram"} <= metrics.keys()
    assert {len(metric["runs"]) for metric in metrics.values()} == {2}


def test_a_test_that_regressed_fails_and_is_appended_with_its_verdict(project: Project, fake: Fake) -> None:
    _write(project)
    _record(project, fake)
    fake.set(token_seconds=4 * NORMAL)

    project.measure("--llm-update-baselines=append").assert_outcomes(failed=1)

    metrics = _stored(project)["test_speed"]["metrics"]
    runs = metrics["generation_tokens_per_second"]["runs"]
    assert [each["verdict"] for each in runs] == ["no baseline", *["inconclusive"] * 4, "regressed"]
    assert {each["verdict"] for each in metrics["load_time"]["runs"]} == {None}


@pytest.mark.slow
def test_a_test_that_failed_by_itself_is_not_appended(project: Project, fake: Fake) -> None:
    _write(project)
    _record(project, fake)
    before = _file(project).read_bytes()
    fake.set(token_seconds=4 * NORMAL)
    project.write(GATED.format(arguments="", n_ctx=512, generate=8).replace("pass", "assert False"))

    result = project.measure("--llm-update-baselines=append")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["not stored: test_it.py::test_speed: the test itself failed, not by a ver*"])
    assert _file(project).read_bytes() == before


@pytest.mark.slow
def test_replace_is_how_another_speed_is_accepted(project: Project, fake: Fake) -> None:
    _write(project)
    _record(project, fake)
    fake.set(token_seconds=4 * NORMAL)

    project.measure("--llm-update-baselines=replace").assert_outcomes(passed=1)

    (run,) = _stored(project)["test_speed"]["metrics"]["generation_tokens_per_second"]["runs"]
    assert run["value"] == 32


def test_new_leaves_what_is_there(project: Project, fake: Fake) -> None:
    _write(project)
    project.measure("--llm-update-baselines=new").assert_outcomes(passed=1)
    before = _file(project).read_bytes()

    result = project.measure("--llm-update-baselines=new")

    assert _file(project).read_bytes() == before
    result.stdout.fnmatch_lines(["not stored: *generation_tokens_per_second: has 1 of them already: *"])


@pytest.mark.slow
def test_a_changed_configuration_is_told_beside_the_speed(project: Project, fake: Fake) -> None:
    _write(project)
    _record(project, fake)
    fake.set(token_seconds=4 * NORMAL, flash_attention="on")

    text = project.failures()["test_speed"]

    assert text.startswith("prompt speed fell")
    assert "  same output; configuration differs: flash_attn off → on" in text.splitlines()


def test_a_file_of_baselines_is_read_before_anything_is_loaded(project: Project, fake: Fake) -> None:
    _write(project)
    _record(project, fake, runs=1)
    _file(project).write_bytes(_file(project).read_bytes()[:-20])
    project.write(
        "@pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)\ndef test_b(): pass", "test_b.py"
    )
    started = len(fake.started)

    result = project.measure()

    result.assert_outcomes(passed=1, errors=1)
    assert len(fake.started) == started + 3  # of the other test alone
    (text,) = project.texts(result).values()
    assert text.startswith(f"{_file(project)} is not JSON")
    assert len(text.splitlines()) == 1


def test_functional_runs_read_no_baselines(project: Project) -> None:
    _write(project)
    _file(project).parent.mkdir(parents=True)
    _file(project).write_text("nonsense")

    project.run().assert_outcomes(skipped=1)


def test_junit_gets_the_verdicts(project: Project, fake: Fake) -> None:
    _write(project)
    _record(project, fake)

    project.measure("--junitxml=junit.xml")

    assert "llm_baseline_verdicts" in (project.path / "junit.xml").read_text(encoding="utf-8")


class DriverMemory:
    """A probe of a driver that may begin to tell by process."""

    note = "change of the device"

    @contextmanager
    def watch(self, pid: int) -> Iterator[Mapping[str, Series]]:
        yield {"peak_vram": Series((6e9,), note=self.note)}


@pytest.mark.slow
def test_a_driver_that_begins_to_tell_by_process_is_compared_with_its_own_word_only(
    project: Project, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llm.machine.environment.all_probes", DriverMemory)
    _write(project, '"peak_vram"')
    _record(project, fake)
    assert _verdicts(project) == {"peak_vram": "pass"}

    monkeypatch.setattr(DriverMemory, "note", "per process")
    assert _verdicts(project) == {"peak_vram": "no baseline"}
    project.measure("-rA").stdout.fnmatch_lines(
        [
            "*peak VRAM: no baseline, read in another way: change of the device when recorded, "
            "per process now; "
            "record it again with --llm-update-baselines=append*"
        ]
    )
    # Equal values within the same second would be the same run again.
    _record(project, fake, normal=NORMAL * 1.001)
    (test,) = project.results()["tests"]
    baseline = test["metrics"]["peak_vram"]["baseline"]
    assert (baseline["verdict"], [each["note"] for each in baseline["runs"]]) == ("pass", ["per process"] * 5)
    assert baseline["left_out"] == "5 more left out, read in another way: change of the device"
