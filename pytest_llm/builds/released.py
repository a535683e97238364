"""Releases of llama-cpp-python in the package index, and of llama.cpp in a checkout.

Releases are listed as whoever installs packages here lists them: pip's index, mirrors included.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from pytest_llm.builds import git
from pytest_llm.errors import UsageError
from pytest_llm.system.build_environment import listing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

DISTRIBUTION = "llama-cpp-python"
_SECONDS = 120
_AVAILABLE = re.compile(r"^Available versions: (.*)$", re.MULTILINE)
# Variables that name uv's index, which is passed on to pip.
_UV_INDEX = ("UV_DEFAULT_INDEX", "UV_INDEX_URL")
_INSTEAD = "name the builds themselves"
_TAG = re.compile(r"b(\d+)")


def newest_release(versions: Sequence[str]) -> str:
    """Return the newest of the versions, without trial releases; raise ``UsageError`` if there is none."""
    found = [each for each in map(_version, versions) if each is not None and not each.is_prerelease]
    if not found:
        raise UsageError(f"the package index has no release of {DISTRIBUTION}")
    return str(max(found))


def newest_tag(checkout: Path) -> str:
    """Return the release tag of llama.cpp ("b6100") with the highest number; raise ``UsageError`` if none."""
    tags = git.ask(checkout, "tag", "--list", "b[0-9]*").split()
    numbers = [int(found[1]) for found in map(_TAG.fullmatch, tags) if found]
    if not numbers:
        raise UsageError(f"{checkout} has no tag such as b6100: git -C {checkout} fetch --tags")
    return f"b{max(numbers)}"


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def released_versions(
    environ: Mapping[str, str] = os.environ,
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run,
) -> list[str]:
    """Return every version in the package index that pip is configured for, or raise ``UsageError``."""
    command = _pip()
    if command is None:
        raise UsageError(f"the releases of {DISTRIBUTION} cannot be listed without pip or uv; {_INSTEAD}")
    try:
        done = run(
            [*command, "index", "versions", DISTRIBUTION],
            env=pip_environment(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"the releases of {DISTRIBUTION} cannot be listed: {error}; {_INSTEAD}") from None
    found = _AVAILABLE.search(done.stdout)
    if found is None:
        words = " ".join((done.stderr or done.stdout).split())[-300:] or "no output"
        raise UsageError(f"the releases of {DISTRIBUTION} cannot be listed: {words}; {_INSTEAD}")
    return [each.strip() for each in found[1].split(",")]


def _pip() -> list[str] | None:
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    uv = shutil.which(os.environ.get("UV") or "uv") or shutil.which("uv")
    return [uv, "tool", "run", "--quiet", "pip", "--no-input"] if uv is not None else None


def pip_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of pip, which has uv's index unless it has one of its own."""
    passed = listing(environ)
    named = [environ[name] for name in _UV_INDEX if environ.get(name)]
    if not named or environ.get("PIP_INDEX_URL"):
        return passed
    return {**passed, "PIP_INDEX_URL": named[0]}
