"""Texts on tests and updates."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from pytest_llm.baselines.module_files import name_of

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.baselines.records import Refusal, Updated
    from pytest_llm.records import TestKey


def full_name(key: TestKey) -> str:
    """Return the name of a test in its home, as pytest prints it there: ``module::name[parameters]``."""
    return f"{key.module}::{name_of(key)}"


def move_command(old: TestKey, new: TestKey, options: str = "") -> str:
    """Return the command that moves the baselines of a test, as a shell takes it."""
    return f"pytest-llm baselines move {shlex.quote(full_name(old))} {shlex.quote(full_name(new))}{options}"


def update_lines(updated: Updated, folder: Path) -> list[str]:
    """Return a line on what was written, and one for each thing that was not."""
    tests = len({key for key, _ in updated.written})
    written = f"baselines of {tests} test{'s' if tests != 1 else ''} written to {folder}"
    return [written, *(_refusal(each) for each in updated.refused)]


def _refusal(refusal: Refusal) -> str:
    what = f", {refusal.name}" if refusal.name else ""
    return f"not stored: {full_name(refusal.key)}{what}: {refusal.reason}"
