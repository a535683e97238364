"""``--llm-anchor``: gated workloads beside a pinned build, whose ratios to it are stored and judged."""

from __future__ import annotations

import json
import math
import os
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.cli import main
from pytest_llm.machine import fingerprint

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fake_engine import Fake
    from tests.integration.conftest import Ini, Project

NORMAL = 1 / 128
SPREAD = (1.0, 1.006, 0.994, 1.008, 0.992)
TESTS = """
    @pytest.mark.llm_model(n_ctx=512)
    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=8)
    @pytest.mark.llm_no_regression()
    def test_speed(llm_bench):
        pass
"""
LIMITED = """
    @pytest.mark.llm_model(n_ctx=512)
    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=4)
    @pytest.mark.llm_tokens_per_second(min=1)
    def test_limit(llm_bench):
        pass
"""


@pytest.fixture(autouse=True)
def _gated(project: Project) -> None:
    project.write(TESTS)


def record(project: Project, fake: Fake, anchor: str, spread: tuple[float, ...] = SPREAD) -> None:
    """Record ratios; the machine itself is another one each time, and twice as slow in the end."""
    for place, factor in enumerate(spread):
        machine = NORMAL * (1 + place / 4)
        fake.set(token_seconds=machine * factor)
        fake.set_reference(token_seconds=machine)
        result = project.measure(f"--llm-anchor={anchor}", "--llm-update-baselines=append")
        result.assert_outcomes(passed=1)
    fake.set(token_seconds=NORMAL)
    fake.set_reference(token_seconds=NORMAL)


def verdicts(project: Project, *arguments: str) -> set[str]:
    (test,) = project.results(*arguments)["tests"]
    return {metric["baseline"]["verdict"] for metric in test["metrics"].values() if metric["baseline"]}


def file_of(project: Project) -> Path:
    (found,) = (project.path / "baselines" / "anchored").glob("*/test_it.py.json")
    return found


def stored(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file_of(project).read_text(encoding="utf-8"))
    return found


def test_a_loss_of_five_percent_is_called_whatever_the_machine_does(
    project: Project, fake: Fake, reference: str
) -> None:
    record(project, fake, reference)
    anchor = f"--llm-anchor={reference}"
    assert verdicts(project, anchor) == {"pass"}

    fake.set(token_seconds=3 * 1.05 * NORMAL)
    fake.set_reference(token_seconds=3 * NORMAL)
    text = project.failures(anchor)["test_speed"].splitlines()

    assert text[0].startswith(
        "prompt speed fell from 1.000 to 0.952 times the anchor's, −4.8 % (99 % interval "
    )
    assert "5 stored ratios, calls losses from " in text[0]
    assert text[3].startswith("  anchor fake 1.0 ")
    assert text[4].startswith("  baseline fake 1.0 ")


def test_what_is_stored_is_the_ratio_with_its_verdict_and_the_anchor(
    project: Project, fake: Fake, reference: str
) -> None:
    record(project, fake, reference, (1.1, 1.12))
    found = stored(project)
    assert found["machine"].keys() == {"instruction_sets", "devices", "system"}
    test = found["tests"]["test_speed"]
    assert test["conditions"]["anchor"]["build"].startswith("fake 1.0 ")
    assert test["metrics"].keys() == {"prompt_tokens_per_second", "generation_tokens_per_second"}
    series = test["metrics"]["generation_tokens_per_second"]
    assert series["unit"] == "log ratio"
    assert [each["verdict"] for each in series["runs"]] == ["no baseline", "inconclusive"]
    for name in ("value", "whole"):
        assert [each[name] for each in series["runs"]] == pytest.approx([0.0953, 0.1133], abs=1e-4)
    # What the candidate does by itself stays as information.
    assert (project.path / "baselines" / "machines" / fingerprint.fingerprint() / "test_it.py.json").is_file()


@pytest.mark.slow
def test_another_machine_of_the_class_has_the_same_baseline(
    project: Project, fake: Fake, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(project, fake, reference)
    parts = fingerprint.parts()
    monkeypatch.setattr(fingerprint, "fingerprint", lambda: "0123456789ab")
    monkeypatch.setattr(fingerprint, "parts", lambda: {**parts, "cpu": "another", "cores": 64})

    assert verdicts(project, f"--llm-anchor={reference}") == {"pass"}

    monkeypatch.setattr(fingerprint, "parts", lambda: {**parts, "instruction_sets": "others"})
    assert verdicts(project, f"--llm-anchor={reference}") == {"no baseline"}


def test_another_anchor_is_no_baseline_and_is_named(project: Project, fake: Fake, reference: str) -> None:
    record(project, fake, reference, (1.0,))
    fake.set_reference(commit="another")

    result = project.measure(f"--llm-anchor={reference}")

    result.stdout.fnmatch_lines(
        [
            "*: no baseline, recorded with the anchor fake 1.0 (llama.cpp 57a9d1234), now fake 1.0 "
            "(llama.cpp another): change it with pytest-llm baselines migrate"
        ]
    )


def test_only_gated_workloads_are_measured_beside_it_in_five_sessions(
    project: Project, fake: Fake, reference: str
) -> None:
    project.write(LIMITED, "test_limit.py")

    results = project.results(f"--llm-anchor={reference}")

    limited, gated = sorted(results["tests"], key=lambda each: "generation" not in each["nodeid"])[:2]
    found = {test["nodeid"]: results["runs"][test["run"]] for test in (limited, gated)}
    sessions = {nodeid.partition("::")[2]: len(run["sessions"]) for nodeid, run in found.items()}
    assert sessions == {"test_speed": 5, "test_limit": 3}
    (pair,) = results["pairs"].values()
    assert pair["candidate"] == next(
        each["run"] for each in results["tests"] if "test_speed" in each["nodeid"]
    )


def test_the_plan_names_it_and_its_five_sessions(project: Project, reference: str) -> None:
    (line,) = (
        each for each in project.plan(*project.measuring(), f"--llm-anchor={reference}") if "n_ctx" in each
    )
    assert f" on fake beside the anchor {reference}, n_ctx=512, " in line
    assert ": 5 sessions of " in line


def test_a_reference_comes_before_it(project: Project, ini: Ini, reference: str) -> None:
    ini.write(llm_anchor=reference)

    (test,) = project.results("--llm-aa")["tests"]

    assert all(metric["baseline"] is None for metric in test["metrics"].values())
    assert any(metric["comparison"] for metric in test["metrics"].values())


def test_a_damaged_file_of_ratios_is_told_before_anything_is_loaded(
    project: Project, fake: Fake, reference: str
) -> None:
    record(project, fake, reference, (1.0,))
    file_of(project).write_bytes(file_of(project).read_bytes()[:-20])
    started = len(fake.started)

    (text,) = project.failures(f"--llm-anchor={reference}").values()

    assert len(fake.started) == started
    assert text.startswith(f"{file_of(project)} is not JSON")


def test_an_ini_file_pins_it(project: Project, ini: Ini, reference: str) -> None:
    ini.write(llm_anchor=reference)

    (test,) = project.results()["tests"]

    found = test["metrics"]["generation_tokens_per_second"]["baseline"]["anchored"]
    assert found["pair"] == "pair-1"
    assert abs(found["ratio"]) < 1e-9


def test_another_engine_and_a_build_that_is_not_there_are_one_line(project: Project) -> None:
    assert "there is no folder" in project.usage_error("--llm-bench", "--llm-anchor=fake@venv:nowhere")
    told = project.usage_error(*project.measuring(), "--llm-anchor=0.3.30")
    assert told.startswith(
        "ERROR: --llm-anchor llama-cpp-python@0.3.30: llama-cpp-python does not time what fake"
    )


@pytest.mark.slow
def test_every_command_on_baselines_knows_ratios(
    project: Project,
    fake: Fake,
    reference: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def command(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        return main(["baselines", *words]), capsys.readouterr().out

    record(project, fake, reference, SPREAD[:4])
    monkeypatch.chdir(project.path)
    name = file_of(project).parent.name

    status, shown = command("show", "test_speed")
    assert status == 0
    assert f"anchored {name}: " in shown
    assert "test_it.py::test_speed, ratios to fake 1.0 (llama.cpp 57a9d1234)" in shown
    assert "0.998 times the anchor's" in shown

    fake.set(token_seconds=1.5 * NORMAL)
    project.results(f"--llm-anchor={reference}")
    status, compared = command("diff", "results.json")
    assert status == 1
    assert re.search(r"0\.998 × anchor +0\.667 × anchor +−33\.2 % +regressed \(gate", compared)

    assert "machine " in command("move", "test_it.py::test_speed", "test_it.py::test_new")[1]
    assert list(stored(project)["tests"]) == ["test_new"]

    other = project.path / "other.json"
    other.write_bytes(file_of(project).read_bytes())
    assert command("merge", str(file_of(project)), str(other))[0] == 0

    status, listed = command("prune")
    assert status == 1
    assert f"anchored {name}" in listed


@pytest.mark.slow
def test_migrate_changes_the_anchor_by_measuring_both(
    project: Project,
    fake: Fake,
    reference: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record(project, fake, reference)
    monkeypatch.chdir(project.path)
    # The new anchor is a build that is twice as fast.
    fake.set(token_seconds=NORMAL / 2, commit="new")
    fake.set_reference(commit="57a9d1234")
    options = [each for each in project.measuring() if not each.startswith("--llm-candidate")]

    def pytest_here(words: list[str], _: Path) -> Any:
        result = project.run(*words[3:], *options)
        return SimpleNamespace(returncode=result.ret, stdout="", stderr="")

    monkeypatch.setattr("pytest_llm.cli.baselines.migrate.run_to_our_end", pytest_here)
    words = ["baselines", "migrate", "--anchor", project.candidate, "--from", reference, "--runs", "2"]
    capsys.readouterr()

    assert main(words) == 0
    assert "the ratios of 1 test" in capsys.readouterr().out

    test = stored(project)["tests"]["test_speed"]
    assert test["conditions"]["anchor"]["build"] == "fake 1.0 (llama.cpp new)"
    series = test["metrics"]["generation_tokens_per_second"]["runs"]
    expected = [math.log(2 * each) for each in SPREAD]
    assert [each["value"] for each in series] == pytest.approx(expected)
    assert [each["whole"] for each in series] == pytest.approx(expected)
    assert {each["migrated"] for each in series} == {0.5}

    # Beside the new anchor, a build as before passes, and one that is 8 % slower does not.
    fake.set(token_seconds=NORMAL, commit="57a9d1234")
    fake.set_reference(token_seconds=NORMAL / 2, commit="new")
    assert verdicts(project, f"--llm-anchor={reference}") == {"pass"}
    fake.set(token_seconds=1.08 * NORMAL)
    assert verdicts(project, f"--llm-anchor={reference}") == {"regressed"}


def test_migrate_without_an_old_anchor_or_ratios_is_one_line(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.path)
    for words, told in (
        ([], "the old anchor is not known"),
        (["--from", "fake"], "no ratios to an anchor are"),
    ):
        assert main(["baselines", "migrate", "--anchor", "fake", *words]) == 2
        assert told in capsys.readouterr().err


@pytest.mark.slow
def test_results_of_ci_are_accepted_with_their_ratios(
    project: Project, fake: Fake, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(project, fake, reference, (1.05,))
    file_of(project).unlink()
    project.results(f"--llm-anchor={reference}")
    monkeypatch.chdir(project.path)

    status = main(["baselines", "accept", os.fspath(next(project.path.glob("*.json")))])

    assert status == 0
    assert len(stored(project)["tests"]["test_speed"]["metrics"]["prompt_tokens_per_second"]["runs"]) == 1
