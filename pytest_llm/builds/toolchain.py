"""cmake and ninja: from PATH, or from an environment that uv makes; and uv itself."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.system.program import Running

_NAMES = ("cmake", "ninja")
_ENVIRONMENT = "tools"


def find_uv(environ: Mapping[str, str] = os.environ) -> str:
    """Return uv: the one that ``$UV`` names, on PATH, or beside this interpreter; or raise ``BuildError``."""
    beside = Path(sys.executable).with_name("uv")
    path = environ.get("PATH")
    found = shutil.which(environ.get("UV") or "uv", path=path) or shutil.which("uv", path=path)
    if found is None and os.access(beside, os.X_OK):
        found = str(beside)
    if found is None:
        raise BuildError("a build is made with uv, which is not on the PATH: pip install uv")
    return found


def get_tools(folder: Path, run: Running, environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return cmake and ninja: from PATH if it has both, or from an environment made in the build's folder."""
    found = [shutil.which(each, path=environ.get("PATH")) for each in _NAMES]
    if found[0] is not None and found[1] is not None:
        return found[0], found[1]
    try:
        uv = find_uv(environ)
    except BuildError:
        raise BuildError(
            f"{run.name} is made with cmake and ninja, which are not on the PATH: pip install cmake ninja"
        ) from None
    environment = folder / _ENVIRONMENT
    python = str(environment / "bin" / "python")
    common = ["--no-config", "--color", "never", "--no-progress"]
    make = [uv, "venv", *common, "--no-project", "--python", sys.executable, str(environment)]
    wheels = ["--only-binary", ":all:"]  # so that no build backend runs in a step that fetches
    install = [uv, "pip", "install", *common, *wheels, "--link-mode", "copy", "--python", python, *_NAMES]
    if run(make) or run(install, "fetch"):
        raise BuildError(
            f"{run.name} is made with cmake and ninja, which are not on the PATH, and uv cannot get them: "
            f"pip install cmake ninja (the log: {run.log})"
        )
    cmake, ninja = (str(environment / "bin" / each) for each in _NAMES)
    return cmake, ninja


def find_cmake(folder: Path, environ: Mapping[str, str] = os.environ) -> str:
    """Return the cmake that made a build: the one in its folder, or the one on PATH."""
    own = folder / _ENVIRONMENT / "bin" / "cmake"
    found = str(own) if os.access(own, os.X_OK) else shutil.which("cmake", path=environ.get("PATH"))
    if found is None:
        raise BuildError("cmake is not on the PATH: pip install cmake")
    return found
