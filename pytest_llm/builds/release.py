"""An environment with one release in it, made by uv."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

from pytest_llm.builds.recipe import Made
from pytest_llm.builds.toolchain import find_uv
from pytest_llm.errors import BuildError
from pytest_llm.system.build_environment import building, fetching
from pytest_llm.system.program import last_lines

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.builds.identity import Identity
    from pytest_llm.builds.recipe import Order
    from pytest_llm.system.program import Running

ENVIRONMENT = "environment"
OBJECTS = "objects"
_OFFLINE = "network was disabled"  # what uv says if its cache lacks something


class Environment:
    """The recipe."""

    def program(self, folder: Path) -> Path:
        """Return its interpreter."""
        return folder / ENVIRONMENT / "bin" / "python"

    def is_whole(self, folder: Path) -> bool:  # noqa: ARG002
        return True

    def make(self, order: Order, folder: Path, run: Running) -> Made:
        return Made(make_environment(order.identity, folder, run))


def make_environment(identity: Identity, folder: Path, run: Running) -> str:
    """Make ``folder / ENVIRONMENT`` in an empty folder; return uv's version. ``BuildError`` if it fails.

    CMake's build folder stays in ``folder / OBJECTS``, unless uv had compiled the release before.
    """
    uv = find_uv()
    config = folder / "uv.toml"
    config.write_text(config_of(identity), encoding="utf-8")
    environment = folder / ENVIRONMENT
    python = environment / "bin" / "python"
    common = ["--config-file", str(config), "--color", "never", "--no-progress"]
    make = [uv, "venv", *common, "--no-project", "--python", sys.executable, str(environment)]
    # Locked-in workers cannot write bytecode, and would compile the packages anew each time.
    also = ["--link-mode", "copy", "--compile-bytecode"]
    install = [uv, "pip", "install", *common, "--verbose", "--python", str(python), *also]
    # A published wheel was compiled without the settings.
    source = ["--no-binary", identity.engine] if identity.settings else []
    install += [*source, identity.requirement]
    # Of the build backend, scikit-build-core. No setting of uv, which would be part of the key of its wheels.
    objects = {"SKBUILD_BUILD_DIR": str(folder / OBJECTS)}
    code = run(make) or run([*install, "--offline"], environment={**building(os.environ), **objects})
    if code and _OFFLINE in run.tail() and "UV_OFFLINE" not in os.environ:
        # uv fetches and compiles in one process.
        code = run(install, "open", {**fetching(os.environ), **objects})
    if code:
        raise _failure(run, code, identity)
    return _version(uv)


def config_of(identity: Identity) -> str:
    """Return the only configuration with which uv makes a build.

    These variables, unlike those of the environment, are part of the key of wheels in uv's cache. The second
    one excludes wheels that others compiled under unknown variables.
    """
    variables = {"CMAKE_ARGS": shlex.join(identity.settings), "PYTEST_LLM_BUILD": "1"}
    # JSON strings are TOML strings.
    table = ", ".join(
        f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in variables.items()
    )
    return f'extra-build-variables = {{ "{identity.engine}" = {{ {table} }} }}\n'


def _failure(run: Running, code: int, identity: Identity) -> BuildError:
    text = run.tail()
    reason = _reason(text, identity)
    if reason is not None:
        return BuildError(f"{run.name} cannot be made: {reason} (the log: {run.log})", uv_last_lines(text))
    return BuildError(
        f"{run.name} could not be made in {run.seconds:.0f} s (uv's exit status {code}): see the last "
        f"lines, and {run.log}",
        uv_last_lines(text),
    )


def uv_last_lines(log: str) -> tuple[str, ...]:
    """Return the end of a log without uv's own words."""
    lines = [line.removeprefix("DEBUG ") for line in log.splitlines()]
    return last_lines("\n".join(line for line in lines if not line.startswith("hint: ")))


def _reason(log: str, identity: Identity) -> str | None:
    """Return why uv did not begin to build, with a fix; None if it did, or for another reason."""
    lines = log.splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith(("error: ", "  × "))]
    message = " ".join(lines[starts[-1] :]) if starts else ""
    if not message or "Failed to build" in message:
        return None
    if _OFFLINE in message:
        return "uv may not use the network (UV_OFFLINE), and its cache lacks the release"
    if re.search(r"Failed to fetch|error sending request|dns error|Connection refused", message):
        return (
            "uv cannot reach the package index: check the network, or name another index in UV_DEFAULT_INDEX"
        )
    if re.search(r"no versions? of|not found in", message):
        return (
            f"uv finds no release {identity.version} of {identity.engine} for this Python: correct "
            "it, or name another package index in UV_DEFAULT_INDEX"
        )
    return None


def _version(uv: str) -> str:
    environment = building(os.environ)
    done = subprocess.run([uv, "--version"], env=environment, capture_output=True, text=True, check=False)
    return " ".join(done.stdout.split()[:2])
