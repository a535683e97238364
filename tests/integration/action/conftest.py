"""A repository that uses the action, on a runner."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests import REPOSITORY, github_api
from tests.github_runner import Action, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.github_api import GitHub

CONFTEST = """
from pytest_llm.machine import control, environment
from tests.fake_engine import CURRENT

control.measure_control = lambda threads: None
environment.watch_others = lambda _: lambda _: 0.0
CURRENT.fake.set_reference(token_seconds={reference}, version="2.0")
"""
BENCHMARK = """
import pytest

@pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=9)
@pytest.mark.llm_no_regression("generation_tokens_per_second")
def test_speed(): ...
"""


class UsingRepository:
    """The checkout; its tests measure a fake engine."""

    def __init__(self, folder: Path, github: GitHub, model: Path) -> None:
        self.path = folder / "checkout"
        self.runner = folder / "runner"
        self._model = model
        self._github = github
        for each in (self.path, self.runner):
            each.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.set_reference(1 / 128)
        self.write("test_speed.py", BENCHMARK)

    def set_reference(self, token_seconds: float) -> None:
        """Set how fast the reference is; the candidate takes 1/128 s for a token."""
        self.write("conftest.py", CONFTEST.format(reference=token_seconds))

    def git(self, *words: str) -> str:
        names = {
            f"GIT_{who}_{what}": "someone" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        done = subprocess.run(
            ["git", "-C", str(self.path), *words],
            env={**os.environ, **names, **own},
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        return done.stdout.strip()

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text, encoding="utf-8")

    def commit(self, **files: str) -> str:
        """Write text files, named without their suffix, and commit all."""
        for name, text in files.items():
            self.write(f"{name}.txt", text)
        self.git("add", ".")
        self.git("commit", "--quiet", "--allow-empty", "--message=Change")
        return self.git("rev-parse", "HEAD")

    def run(self, event: Mapping[str, Any], **inputs: str) -> Outcome:
        """Run the action; its environment is that of the tests."""
        work = self.runner / "pytest-llm-bench"
        work.mkdir(exist_ok=True)
        action = Action(self.path, self.runner, PYTHONPATH=str(REPOSITORY), **self._github.environment())
        plain = " ".join(f"-p no:{name}" for name in ("cacheprovider", "hypothesispytest", "codspeed"))
        given = {
            "arguments": f"-p tests.fake_engine {plain} --llm-model={self._model}",
            "effort": "quick",
            "build-settings": "",
            **{name: value.format(folder=self.runner) for name, value in inputs.items()},
        }
        installed = {"python": sys.executable, "work": str(work), "cache": str(self.runner / "cache")}
        return action(
            {name.replace("_", "-"): value for name, value in given.items()}, event, {"install": installed}
        )


@pytest.fixture
def github() -> Iterator[GitHub]:
    with github_api.serving() as found:
        yield found


@pytest.fixture
def using(tmp_path: Path, github: GitHub, model_file: Path) -> UsingRepository:
    return UsingRepository(tmp_path, github, model_file)
