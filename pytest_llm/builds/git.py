"""Questions to git about a checkout of llama.cpp; nothing in it is changed."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from pytest_llm.errors import UsageError
from pytest_llm.system.build_environment import building

if TYPE_CHECKING:
    from pathlib import Path

# A checkout's own settings name programs that git starts.
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")


class GitError(UsageError):
    """Git refuses, or is not installed."""


def ask(folder: Path, *words: str) -> str:
    """Return git's output about the repository of this very folder, not of one around it.

    Raises:
        GitError: Its message is git's first line.
    """
    own = {"GIT_CEILING_DIRECTORIES": str(folder.resolve().parent), "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            [*_GIT, "-C", str(folder), *words],
            env={**building(os.environ), **own},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise GitError(f"git cannot be started ({error.strerror}): install it") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise GitError((lines or [f"git {words[0]} ended with {done.returncode}"])[0])
    return done.stdout


def commit_of(folder: Path, ref: str) -> str:
    """Return the commit that a ref means now, in full; ``UsageError`` if there is none."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    if ref.startswith("-"):
        raise UsageError(f"{ref!r} is no ref: refs do not begin with a dash")
    try:
        ask(folder, "rev-parse", "--git-dir")
    except GitError as error:
        raise UsageError(f"{folder} is no git repository that can be read: {error}") from None
    try:
        return ask(folder, "rev-parse", "--quiet", "--verify", f"{ref}^{{commit}}").strip()
    except GitError:
        raise UsageError(
            f"{folder} has no commit {ref!r}: correct it, or fetch it with git -C {folder} fetch"
        ) from None
