"""What the steps of the action share: words for the runner."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

TITLE = "pytest-llm-bench"
MARK = "<!-- pytest-llm-bench -->"
_FENCE = "~" * 12


def given(name: str) -> str:
    """Return what action.yml gives a step."""
    return os.environ.get(name, "").strip()


def words(name: str) -> list[str]:
    """Return the words of an input, quoted as in a shell."""
    return shlex.split(given(name))


def work() -> Path:
    """Return the folder of what this run of the action writes."""
    return Path(os.environ["WORK"])


def output(**values: object) -> None:
    """Give values to the steps that follow."""
    _append("GITHUB_OUTPUT", "".join(f"{name}={value}\n" for name, value in values.items()))


def summary(text: str) -> None:
    """Add Markdown to the summary of the job."""
    _append("GITHUB_STEP_SUMMARY", text)


def say(kind: str, text: str) -> None:
    """Write a notice or an error of one line, as the runner shows it."""
    print(f"::{kind} title={TITLE}::{text.replace('%', '%25')}", flush=True)


def fenced(text: str) -> str:
    """Return lines of a log as a block of Markdown, which nothing in them ends."""
    shown = "".join(each for each in text if each.isprintable() or each == "\n")
    return f"{_FENCE}text\n{shown.replace(_FENCE, '~')}\n{_FENCE}\n"


def _append(variable: str, text: str) -> None:
    with Path(os.environ[variable]).open("a", encoding="utf-8") as file:
        file.write(text)
