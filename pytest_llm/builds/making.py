"""Has uv make an environment with one release in it, and tells how far that is."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_llm.builds.identity import Identity

# Seconds between two lines about how far it is.
TELLING_SECONDS = 30.0
ENVIRONMENT = "environment"

_TIED = Path(__file__).with_name("tied.py")
_LAST_LINES = 15
_TAIL_BYTES = 2**16
# What would change what is compiled, and is no part of a build's name; and what would change what uv does.
_DROPPED = re.compile(
    r"CMAKE_(?!BUILD_PARALLEL_LEVEL$).*|SKBUILD_.*|FORCE_CMAKE"
    r"|(C|CXX|CPP|CUDA|HIP|ISPC|LD|AS|OBJC|OBJCXX)FLAGS|CC|CXX|CUDACXX|HIPCXX|CUDAHOSTCXX"
    r"|PYTHON(PATH|HOME)|VIRTUAL_ENV|CONDA_PREFIX"
    r"|UV_(NO_CONFIG|CONFIG_FILE|PYTHON|SYSTEM_PYTHON|PROJECT|PROJECT_ENVIRONMENT)"
)
# "[12/345] Building CXX object": ninja's.
_STEP = re.compile(r"\[\s*(\d+)/(\d+)\]")


def find_uv(environ: Mapping[str, str] = os.environ) -> str:
    """Return the program uv: the one that ``$UV`` names, on the path, or beside this interpreter.

    Raises:
        BuildError: There is none.
    """
    beside = Path(sys.executable).with_name("uv")
    path = environ.get("PATH")
    found = shutil.which(environ.get("UV") or "uv", path=path) or shutil.which("uv", path=path)
    if found is None and os.access(beside, os.X_OK):
        found = str(beside)
    if found is None:
        raise BuildError("a build is made with uv, which is not on the PATH: pip install uv")
    return found


def make_environment(
    identity: Identity,
    folder: Path,
    log: Path,
    lock: int,
    tell: Callable[[str], None],
    telling: float = TELLING_SECONDS,
) -> str:
    """Have uv make the environment, in ``folder / ENVIRONMENT``; return which uv that was.

    Args:
        identity: What to make.
        folder: An empty folder.
        log: The file for all that uv and the compiler write.
        lock: An open file that everything that is started inherits.
        tell: Is given a line now and then.
        telling: Seconds between two of them.

    Raises:
        BuildError: It could not be made.
        OSError: Files cannot be written.
    """
    uv = find_uv()
    config = folder / "uv.toml"
    config.write_text(config_of(identity), encoding="utf-8")
    environment = folder / ENVIRONMENT
    python = environment / "bin" / "python"
    common = ["--config-file", str(config), "--color", "never", "--no-progress"]
    make = [uv, "venv", *common, "--no-project", "--python", sys.executable, str(environment)]
    install = [uv, "pip", "install", *common, "--verbose", "--python", str(python), "--link-mode", "copy"]
    # A wheel that somebody else compiled knows nothing of the settings.
    source = ["--no-binary", identity.engine] if identity.settings else []
    run = _Run(identity, log, lock, tell, telling)
    log.write_bytes(b"")
    for command in (make, [*install, *source, identity.requirement]):
        run(command)
    return _version(uv)


def config_of(identity: Identity) -> str:
    """Return the configuration with which uv makes a build, and no other.

    Variables that are set here, unlike those of the environment, tell wheels in uv's own cache apart. The
    second one leaves out what was compiled by anyone else, under variables that nobody knows.
    """
    variables = {"CMAKE_ARGS": shlex.join(identity.settings), "PYTEST_LLM_BUILD": "1"}
    # Texts of JSON are texts of TOML.
    table = ", ".join(
        f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in variables.items()
    )
    return f'extra-build-variables = {{ "{identity.engine}" = {{ {table} }} }}\n'


def environment_of(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment in which builds are made."""
    return {name: value for name, value in environ.items() if not _DROPPED.fullmatch(name)}


class _Run:
    """Runs commands of uv for one build."""

    def __init__(
        self, identity: Identity, log: Path, lock: int, tell: Callable[[str], None], telling: float
    ) -> None:
        self._identity = identity
        self._log = log
        self._lock = lock
        self._tell = tell
        self._telling = telling
        self._started = time.monotonic()

    def __call__(self, command: list[str]) -> None:
        reading, writing = os.pipe()
        try:
            with self._log.open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(_TIED), str(reading), str(self._lock), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment_of(os.environ),
                    pass_fds=(reading, self._lock),
                    start_new_session=True,
                )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        try:
            code = self._wait(process)
        finally:
            os.close(writing)  # ends what still runs
            process.wait()
        if code:
            raise self._failure(code)

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=self._telling)
            step = _STEP.findall(_tail(self._log))
            done = f", step {step[-1][0]} of {step[-1][1]}" if step else ""
            self._tell(f"building {self._name}: {self._seconds:.0f} s{done}")

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def _name(self) -> str:
        return str(self._identity.reference)

    def _failure(self, code: int) -> BuildError:
        text = _tail(self._log)
        reason = _reason(text, self._identity)
        if reason is not None:
            return BuildError(
                f"{self._name} cannot be made: {reason} (the log: {self._log})", last_lines(text)
            )
        return BuildError(
            f"{self._name} could not be made in {self._seconds:.0f} s (uv's exit status {code}): its last "
            f"lines say why, and all of them are in {self._log}",
            last_lines(text),
        )


def last_lines(log: str) -> tuple[str, ...]:
    """Return the lines at the end of a log that say why a build failed."""
    lines = [line.removeprefix("DEBUG ").rstrip() for line in log.splitlines()]
    told = [line for line in lines if line.strip() and not line.startswith("hint: ")]
    return tuple(told[-_LAST_LINES:])


def _reason(log: str, identity: Identity) -> str | None:
    """Return why uv did not even begin to build, with a fix; None where it did, or says something else."""
    lines = log.splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith(("error: ", "  × "))]
    said = " ".join(lines[starts[-1] :]) if starts else ""
    if not said or "Failed to build" in said:
        return None
    if "network was disabled" in said:
        return "uv may not use the network (UV_OFFLINE), and its cache has not got the release"
    if re.search(r"Failed to fetch|error sending request|dns error|Connection refused", said):
        return "uv cannot reach the package index: look at the network, or name another in UV_DEFAULT_INDEX"
    if re.search(r"no versions? of|not found in", said):
        return (
            f"uv finds no release {identity.version} of {identity.engine} for this Python: look for a "
            "misprint, or name another package index in UV_DEFAULT_INDEX"
        )
    return None


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return file.read().decode(errors="replace")


def _version(uv: str) -> str:
    done = subprocess.run([uv, "--version"], capture_output=True, text=True, check=False)
    return " ".join(done.stdout.split()[:2])
