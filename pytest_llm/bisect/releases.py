"""The releases between two, as whoever installs packages here lists them: pip's index, mirrors included."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DISTRIBUTION = "llama-cpp-python"
_SECONDS = 120
_RELEASE = re.compile(rf"(?P<engine>(?:{DISTRIBUTION}@)?)(?P<version>\d+(?:\.\d+)*)(?P<settings>(?:\[.*\])?)")
_PLAIN = re.compile(r"\d+(?:\.\d+)*")
_AVAILABLE = re.compile(r"^Available versions: (.*)$", re.MULTILINE)
# Which index uv installs from, where its environment says so; pip is told the same.
_UV_INDEX = ("UV_DEFAULT_INDEX", "UV_INDEX_URL")
_INSTEAD = "name the builds themselves with --builds"


class Release(NamedTuple):
    """A release as the user wrote it: ``0.3.36[-DGGML_AVX2=OFF]``.

    Attributes:
        engine: "llama-cpp-python@", or "".
        version: "0.3.36".
        settings: "[-DGGML_AVX2=OFF]", or "".
    """

    engine: str
    version: str
    settings: str


def parse(text: str) -> Release | None:
    """Return the release that a build is, or None if it is something else."""
    match = _RELEASE.fullmatch(text)
    return Release(**match.groupdict()) if match else None


def between(good: Release, bad: Release, listed: Sequence[str]) -> list[str]:
    """Return all releases from one to another, oldest first, as builds of the same settings.

    Releases with letters in them, for trial, are left out.

    Args:
        good: The older one.
        bad: The newer one.
        listed: The versions that there are, in any order.

    Raises:
        UsageError: One of the two is not there, the newer one is not newer, or their settings differ.
    """
    if good.settings != bad.settings:
        raise UsageError(
            f"{good.version}{good.settings} and {bad.version}{bad.settings} are built otherwise: give both "
            f"the same settings, or {_INSTEAD}"
        )
    versions = {_order(each): each for each in listed if _PLAIN.fullmatch(each)}
    for end in (good, bad):
        if _order(end.version) not in versions:
            raise UsageError(f"there is no {DISTRIBUTION} {end.version} in the package index; {_INSTEAD}")
    first, last = _order(good.version), _order(bad.version)
    if first >= last:
        raise UsageError(
            f"--good {good.version} is not older than --bad {bad.version}: a bisect goes onwards"
        )
    return [
        f"{good.engine}{versions[each]}{good.settings}" for each in sorted(versions) if first <= each <= last
    ]


def listed(
    environ: Mapping[str, str] = os.environ,
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run,
) -> list[str]:
    """Return every version of llama-cpp-python in the package index that pip is configured for.

    Raises:
        UsageError: There is no pip and no uv, or it cannot tell.
    """
    command = _pip()
    if command is None:
        raise UsageError(f"the releases in between cannot be listed without pip or uv; {_INSTEAD}")
    try:
        done = run(
            [*command, "index", "versions", DISTRIBUTION],
            env=_environment(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"the releases in between cannot be listed: {error}; {_INSTEAD}") from None
    found = _AVAILABLE.search(done.stdout)
    if found is None:
        words = " ".join((done.stderr or done.stdout).split())[-300:] or "it said nothing"
        raise UsageError(f"the releases in between cannot be listed: {words}; {_INSTEAD}")
    return [each.strip() for each in found[1].split(",")]


def _pip() -> list[str] | None:
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    uv = shutil.which(os.environ.get("UV") or "uv") or shutil.which("uv")
    return [uv, "tool", "run", "--quiet", "pip", "--no-input"] if uv is not None else None


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    named = [environ[name] for name in _UV_INDEX if environ.get(name)]
    if not named or environ.get("PIP_INDEX_URL"):
        return dict(environ)
    return {**environ, "PIP_INDEX_URL": named[0]}


def _order(version: str) -> tuple[int, ...]:
    numbers = [int(each) for each in version.split(".")]
    while numbers and not numbers[-1]:  # 0.3 and 0.3.0 are one release
        numbers.pop()
    return tuple(numbers)
