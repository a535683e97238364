"""The action on a repository that raises llama-cpp-python from 0.3.16 to 0.3.36: real builds, a real loss.

The default of flash attention changed from off to auto in between, which costs speed late in a conversation.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests import REPOSITORY, github_api
from tests.github_runner import Action

if TYPE_CHECKING:
    from pathlib import Path

# The very example of the tutorial.
SUITE = re.findall(
    r"^```python\n(import pytest\n.*?)^```$",
    (REPOSITORY / "docs" / "tutorial.md").read_text(encoding="utf-8"),
    re.MULTILINE | re.DOTALL,
)[0]
# As the project's own builds are compiled: both are made once and kept.
SETTINGS = "-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF"


def git(folder: Path, *words: str) -> str:
    names = {f"GIT_{who}_{what}": "someone" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        env={**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.timed
def test_a_raised_pin_is_gated_against_the_one_before(tmp_path: Path) -> None:
    checkout, runner = tmp_path / "checkout", tmp_path / "runner"
    for each in (checkout, runner):
        each.mkdir()
    git(checkout, "init", "--quiet")
    (checkout / "test_chat.py").write_text(SUITE, encoding="utf-8")
    for release in ("0.3.16", "0.3.36"):
        (checkout / "requirements.txt").write_text(f"numpy\nllama-cpp-python=={release}\n", encoding="utf-8")
        git(checkout, "add", ".")
        git(checkout, "commit", "--quiet", f"--message=Pin {release}")

    with github_api.serving() as github:
        number = github.open_issue("Raise llama-cpp-python", login="someone")
        event = {"pull_request": {"number": number, "base": {"sha": git(checkout, "rev-parse", "HEAD^")}}}
        action = Action(checkout, runner, **github.environment())
        outcome = action({"effort": "quick", "build-settings": SETTINGS}, event)
        comments = github.bodies()

    print(outcome.log)
    scripts = ["install", "find_builds.py", "measure.py", "report.py", "tell.py", "finish"]
    assert (outcome.status, outcome.ran) == (1, scripts)
    assert (outcome.outputs["old"], outcome.outputs["new"]) == ("0.3.16", "0.3.36")
    assert (outcome.outputs["verdict"], outcome.outputs["failed"]) == ("regressed", "1")
    (comment,) = comments
    assert "## ❌ llm-bench: regressed, 1 of 1 test failed" in comment
    assert "generation speed fell from" in comment
    assert "configuration differs: flash_attn off → on" in comment
    assert "state flash_attn='off' in llm_model" in comment
    assert "builds: `0.3.16` → `0.3.36`" in comment
    kept = {path.name for path in (runner / "pytest-llm-bench").iterdir() if path.is_file()}
    assert {"results.json", "report.html", "results.csv", "comment.md", "junit.xml", "pytest.log"} <= kept
