"""Runs the steps of ``action.yml`` as GitHub's runner does; the actions that it uses are left out."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping

_EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")
_FILES = ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_PATH")


@dataclass
class Outcome:
    """What a run of the action left."""

    status: int = 0
    log: str = ""
    summary: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)  # the scripts, in order


class Action:
    """The action, in the checkout of a repository that uses it."""

    def __init__(self, checkout: Path, folder: Path, **environment: str) -> None:
        """Read action.yml.

        Args:
            checkout: Where the steps run.
            folder: Of the runner's own files.
            environment: Variables of the job.
        """
        self._yaml: dict[str, Any] = yaml.safe_load((REPOSITORY / "action.yml").read_text(encoding="utf-8"))
        self._checkout = checkout
        self._folder = folder
        self._environment = environment

    def __call__(
        self,
        inputs: Mapping[str, str],
        event: Mapping[str, Any],
        known: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Outcome:
        """Run it.

        Args:
            inputs: What a workflow gives it.
            event: The document of the event.
            known: Outputs of steps that are not run.
        """
        github = {"event": event, "token": "a-token-of-a-job", "run_id": "1"}
        given = {name: each.get("default", "") for name, each in self._yaml["inputs"].items()} | dict(inputs)
        assert given.keys() == self._yaml["inputs"].keys(), "an input that the action does not have"
        steps: dict[str, Any] = {name: {"outputs": dict(each)} for name, each in (known or {}).items()}
        contexts = {"github": github, "steps": steps, "runner": {"os": "Linux", "arch": "X64"}}
        contexts["inputs"] = {name: _text(str(value), contexts) for name, value in given.items()}
        outcome = Outcome()
        for step in self._yaml["runs"]["steps"]:
            if "run" not in step or step.get("id") in (known or {}):
                continue
            if "if" in step and not _truth(_value(step["if"], contexts)):
                continue
            variables = {name: _text(str(value), contexts) for name, value in step.get("env", {}).items()}
            outputs = self._step(step["run"], variables, outcome)
            steps[step.get("id", "")] = {"outputs": outputs}
            if outcome.status:
                break
        for name, each in self._yaml["outputs"].items():
            outcome.outputs[name] = _text(each["value"], contexts)
        return outcome

    def _step(self, command: str, variables: dict[str, str], outcome: Outcome) -> dict[str, str]:
        files = {name: self._folder / name.lower() for name in _FILES}
        for path in files.values():
            path.write_text("", encoding="utf-8")
        # Of the tests' own process, which measures nothing here.
        left_out = ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER", "COVERAGE_PROCESS_START")
        inherited = {name: value for name, value in os.environ.items() if name not in left_out}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", command],
            cwd=self._checkout,
            env={
                **inherited,
                "CI": "true",
                "RUNNER_TEMP": str(self._folder),
                "GITHUB_ACTION_PATH": str(REPOSITORY),
                **{name: str(path) for name, path in files.items()},
                **self._environment,
                **variables,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        outcome.ran.append(
            Path(command.split('"')[-2] if ".py" not in command else command.split('"')[3]).name
        )
        outcome.status = done.returncode
        outcome.log += done.stdout
        outcome.summary += files["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8")
        written = files["GITHUB_OUTPUT"].read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in written)


def _text(text: str, contexts: Mapping[str, Any]) -> str:
    return _EXPRESSION.sub(lambda found: _shown(_value(found[1], contexts)), text)


def _value(expression: str, contexts: Mapping[str, Any]) -> Any:
    """Return the value of an expression of names, texts, ``==``, ``!=``, ``&&`` and ``||``."""
    value: Any = ""
    for alternative in expression.split("||"):
        for part in alternative.split("&&"):
            value = _comparison(part.strip(), contexts)
            if not _truth(value):
                break
        if _truth(value):
            return value
    return value


def _comparison(text: str, contexts: Mapping[str, Any]) -> Any:
    for sign in ("==", "!="):
        if sign in text:
            left, right = (_operand(each.strip(), contexts) for each in text.split(sign))
            return (_shown(left) == _shown(right)) == (sign == "==")
    return _operand(text, contexts)


def _operand(text: str, contexts: Mapping[str, Any]) -> Any:
    if text.startswith("'"):
        return text[1:-1]
    assert re.fullmatch(r"[a-z][\w.-]*", text), f"this runner does not read {text!r}"
    value: Any = contexts
    for name in text.split("."):
        value = value.get(name, "") if isinstance(value, dict) else ""
    return value


def _truth(value: Any) -> bool:
    return value not in ("", False, None, 0)


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
