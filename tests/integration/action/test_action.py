"""The composite action, from the event to the comment, with a fake engine and a stand-in of GitHub."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.github_api import GitHub
    from tests.github_runner import Outcome
    from tests.integration.action.conftest import UsingRepository

BUILDS = {"candidate": "fake", "against": "fake@venv:{folder}"}


def pull_request(number: int, base: str = "") -> dict[str, Any]:
    return {"pull_request": {"number": number, "base": {"sha": base}}}


@pytest.mark.slow
def test_a_loss_is_in_the_comment_the_summary_the_annotations_and_the_outputs(
    using: UsingRepository, github: GitHub
) -> None:
    number = github.open_issue("Raise llama.cpp", login="someone")
    using.set_reference(1 / 160)
    outcome = using.run(pull_request(number), **BUILDS)
    assert outcome.status == 1
    assert outcome.ran == ["find_builds.py", "measure.py", "report.py", "tell.py", "finish"]
    (comment,) = github.bodies()
    assert comment.startswith("<!-- pytest-llm-bench -->\n\n## ❌ llm-bench: regressed, 1 of 1 test failed\n")
    assert "generation speed fell from 160.0 tok/s to 128.0 tok/s, −20.0 %" in comment
    assert outcome.summary == comment
    errors = [line for line in outcome.log.splitlines() if line.startswith("::error ")]
    assert [line.split("::")[1].partition(",title")[0] for line in errors] == [
        "error file=test_speed.py,line=4"
    ]
    assert "Forbidden" not in outcome.log  # that a job's token cannot ask who it is
    assert {name: outcome.outputs[name] for name in ("verdict", "tests", "failed", "regressed")} == {
        "verdict": "regressed",
        "tests": "1",
        "failed": "1",
        "regressed": "1",
    }
    assert 0 < float(outcome.outputs["detectable-loss"]) < 0.05


@pytest.mark.slow
def test_the_comment_of_an_earlier_run_is_renewed_even_on_another_page(
    using: UsingRepository, github: GitHub
) -> None:
    number = github.open_issue("Raise llama.cpp", login="someone")
    for _ in range(70):
        github.comment(number, "What do you think?", login="someone")
    github.comment(number, "<!-- pytest-llm-bench -->\n\nnot from here", login="a-stranger")
    for verdict in ("✅", "❌"):
        slower = 1 / 128 if verdict == "✅" else 1 / 160
        using.set_reference(slower)
        outcome = using.run(pull_request(number), **BUILDS)
        assert outcome.status == (verdict == "❌"), outcome.log
        assert github.bodies()[71:] == [outcome.summary]
        assert f"## {verdict} llm-bench" in outcome.summary
    named = using.run(pull_request(number), name="two threads", **BUILDS)
    assert named.status == 1
    assert [each.split("\n")[0] for each in github.bodies()[71:]] == [
        "<!-- pytest-llm-bench -->",
        "<!-- pytest-llm-bench two threads -->",
    ]


@pytest.mark.slow
def test_a_fork_s_token_may_not_write_and_the_verdict_stays(using: UsingRepository, github: GitHub) -> None:
    number = github.open_issue("Raise llama.cpp", login="someone")
    github.reads_only = True
    outcome = using.run(pull_request(number), **BUILDS)
    assert outcome.status == 0, outcome.log
    assert "::notice title=pytest-llm-bench::this token may not write here (HTTP 403)" in outcome.log
    assert "## ✅ llm-bench" in outcome.summary
    assert github.bodies() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "status", "words"),
    [
        ({"candidate": "fake@venv:/no/such"}, 4, "there is no folder /no/such"),
        ({"suite": "no_such.py"}, 4, "file or directory not found: no_such.py"),
        ({"arguments": "--llm-no-such-option"}, 4, "unrecognized arguments: --llm-no-such-option"),
    ],
)
def test_what_measures_nothing_is_red_and_says_why(
    inputs: dict[str, str], status: int, words: str, using: UsingRepository, github: GitHub
) -> None:
    number = github.open_issue("Raise llama.cpp", login="someone")
    outcome = using.run(pull_request(number), **{**BUILDS, **inputs})
    assert outcome.status == status, outcome.log
    (comment,) = github.bodies()
    assert "## ❌ llm-bench: nothing was measured" in comment
    assert words in comment
    assert (
        "::error title=pytest-llm-bench::nothing was measured: pytest ended with exit status" in outcome.log
    )


@pytest.mark.slow
def test_a_run_that_only_shows_its_plan_is_no_pass_and_closes_no_issue(
    using: UsingRepository, github: GitHub
) -> None:
    title = "The newest build loses"
    github.open_issue("<!-- pytest-llm-bench issue -->", title=title)
    plan = "-p tests.fake_engine -p no:cacheprovider --collect-only"
    outcome = using.run({}, arguments=plan, issue=title, **BUILDS)
    assert outcome.status == 1, outcome.log
    assert "nothing was measured: pytest ended with exit status" in github.issues[1]["body"]
    assert github.issues[1]["state"] == "open"


@pytest.mark.slow
def test_another_test_that_fails_is_no_pass(using: UsingRepository) -> None:
    using.write("test_other.py", "def test_other(): assert False\n")
    outcome = using.run({}, **BUILDS)
    assert outcome.status == 1
    assert "❌ pytest ended with exit status 1, although no benchmark failed: see the log." in outcome.summary


def test_nothing_in_a_log_ends_its_block() -> None:
    fenced = runpy.run_path(str(REPOSITORY / ".github" / "action" / "workflow.py"))["fenced"]
    lines = fenced(f"{'~' * 40}\n# not a heading\x1b[31m").splitlines()
    assert [line for line in lines if line.startswith("~~~~~~~~~~~~")] == ["~~~~~~~~~~~~text", "~~~~~~~~~~~~"]
    assert lines[-2] == "# not a heading[31m"


@pytest.mark.slow
def test_an_issue_is_opened_renewed_and_closed(using: UsingRepository, github: GitHub) -> None:
    title = "The newest build loses"
    github.open_issue("<!-- pytest-llm-bench issue -->", title=title, login="a-stranger")
    using.set_reference(1 / 160)
    for _ in range(2):
        assert using.run({}, issue=title, **BUILDS).status == 1
        assert [each["state"] for each in github.issues.values()] == ["open", "open"]
        assert "generation speed fell from 160.0 tok/s to 128.0 tok/s" in github.issues[2]["body"]
    using.set_reference(1 / 128)
    outcome = using.run({}, issue=title, **BUILDS)
    assert outcome.status == 0, outcome.log
    assert [each["state"] for each in github.issues.values()] == ["open", "closed"]
    assert github.bodies() == ["The newest build passes: closed by the run that showed it."]


# ── which builds ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def finding(using: UsingRepository) -> Callable[..., Outcome]:
    """Run the step that finds the builds, and none that measures."""

    def find(base: str = "", **inputs: str) -> Outcome:
        using.write("conftest.py", "raise RuntimeError('nothing is measured here')\n")
        return using.run(pull_request(1, base) if base else {}, comment="false", **inputs)

    return find


def builds(outcome: Outcome) -> tuple[str, str, str]:
    return outcome.outputs["old"], outcome.outputs["new"], outcome.outputs["changed"]


@pytest.mark.slow
def test_the_pin_of_the_base_is_the_reference(
    using: UsingRepository, finding: Callable[..., Outcome]
) -> None:
    base = using.commit(requirements="llama-cpp-python==0.3.16\n", other="llama-cpp-python==0.3.1\n")
    using.commit(requirements="llama-cpp-python==0.3.36\n")
    assert builds(finding(base)) == ("0.3.16", "0.3.36", "true")
    assert builds(finding(base, pin="requirements.txt")) == ("0.3.16", "0.3.36", "true")
    assert builds(finding(base, pin="other.txt")) == ("0.3.1", "0.3.1", "false")
    assert builds(finding(base="HEAD^")) == ("0.3.16", "0.3.36", "true")
    assert builds(finding(pin="requirements.txt", candidate="0.3.40")) == ("0.3.36", "0.3.40", "true")
    assert builds(finding(candidate="venv:a", against="venv:b")) == ("venv:b", "venv:a", "true")


def test_where_no_pin_changed_nothing_is_measured_and_that_is_said(
    using: UsingRepository, finding: Callable[..., Outcome]
) -> None:
    base = using.commit(requirements="llama-cpp-python==0.3.16\n")
    using.commit(readme="hello\n")
    for inputs, words in (
        ({}, "no file that changed pins another build of llama.cpp: nothing was measured"),
        ({"pin": "requirements.txt"}, "0.3.16 is pinned as before: nothing was measured"),
    ):
        outcome = finding(base, **inputs)
        assert (outcome.status, outcome.ran) == (0, ["find_builds.py"])
        assert f"::notice title=pytest-llm-bench::{words}" in outcome.log
        assert "## llm-bench: nothing was measured" in outcome.summary


def test_a_pin_that_can_no_longer_be_read_is_told(
    using: UsingRepository, finding: Callable[..., Outcome]
) -> None:
    base = using.commit(a="llama-cpp-python==0.3.1\n", b="numpy\n")
    using.commit(a="llama-cpp-python>=0.3.2\n", b="llama-cpp-python==0.3.2\n")
    log = finding(base).log
    assert "::warning title=pytest-llm-bench::a.txt pinned 0.3.1 and pins none that can be read" in log
    assert "::warning title=pytest-llm-bench::b.txt pins 0.3.2 and pinned none before that can be read" in log


def test_two_pins_that_changed_are_refused(using: UsingRepository, finding: Callable[..., Outcome]) -> None:
    base = using.commit(a="llama-cpp-python==0.3.1\n", b="llama-cpp-python==0.3.1\n")
    using.commit(a="llama-cpp-python==0.3.2\n", b="llama-cpp-python==0.3.3\n")
    outcome = finding(base)
    assert outcome.status == 1
    assert (
        "::error title=pytest-llm-bench::the files that changed pin several builds: name one" in outcome.log
    )


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "this event has no base to compare with: give 'base', or 'candidate' and 'against'"),
        ({"candidate": "0.3.36"}, "the inputs 'candidate' and 'against' go together, unless 'pin' names"),
        ({"pin": "absent.txt"}, "this event has no base to compare with"),
        ({"pin": "absent.txt", "base": "HEAD"}, "absent.txt"),
        ({"base": "no-such-commit"}, "the base no-such-commit cannot be fetched (fatal: "),
    ],
)
def test_what_names_no_two_builds_is_one_line(
    inputs: dict[str, str], words: str, using: UsingRepository, finding: Callable[..., Outcome]
) -> None:
    using.commit()
    outcome = finding(**inputs)
    assert (outcome.status, outcome.ran) == (1, ["find_builds.py"])
    assert f"::error title=pytest-llm-bench::{words}" in outcome.log
    assert "Traceback" not in outcome.log


@pytest.mark.slow
def test_a_base_that_a_shallow_checkout_lacks_is_fetched(
    using: UsingRepository, finding: Callable[..., Outcome], tmp_path: Path
) -> None:
    base = using.commit(requirements="llama-cpp-python==0.3.16\n")
    using.commit(requirements="llama-cpp-python==0.3.36\n")
    origin = tmp_path / "origin"
    shutil.move(using.path, origin)
    subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{origin}", str(using.path)], check=True)
    assert builds(finding(base)) == ("0.3.16", "0.3.36", "true")


# ── the files that workflows are made of ─────────────────────────────────────────────────────────


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in (REPOSITORY / "action.yml", *sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        jobs = [document["runs"]] if path.name == "action.yml" else document["jobs"].values()
        for job in jobs:
            for step in job["steps"]:
                yield path.name, step


def test_every_shell_step_is_a_script_of_the_repository_or_the_readme_s_test_command() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    commands = {step["run"] for _, step in steps() if "run" in step}
    for command in commands:
        if command in readme:
            continue
        (name,) = re.findall(r"\.(?:ci|github)/[\w./-]+", command)
        assert "\n" not in command
        assert (REPOSITORY / name).is_file(), command
        assert "${{" not in command  # what others write would be a program


def test_every_action_is_pinned_to_a_commit_with_its_version() -> None:
    used = {step["uses"] for _, step in steps() if "uses" in step} - {"./"}
    assert used
    for each in used:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", each), each
    for path in (REPOSITORY / "action.yml", *(REPOSITORY / ".github" / "workflows").glob("*.yml")):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert "uses: " not in line or "./" in line or re.search(r"@[0-9a-f]{40} # v[\d.]+$", line), line


def test_the_script_of_the_device_job_installs_a_driver_and_runs_its_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real one compiles for Vulkan for half an hour; here its programs write down what they are asked."""
    for name in ("apt-get", "sudo", "uv"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    done = subprocess.run(
        [str(REPOSITORY / ".ci" / "lavapipe")], stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    lines = [line.removeprefix("sudo ") for line in done.stdout.splitlines()]
    assert lines[0] == "apt-get update"
    assert lines[1].startswith("apt-get install --yes mesa-vulkan-drivers ")
    assert lines[2] == "uv run --no-sync pytest -rs tests/system/engines/test_memory.py -k device"
