"""Command lines of a server as the user runs it."""

from __future__ import annotations

import os
import shlex
import shutil
from typing import TYPE_CHECKING

from pytest_llm.errors import UsageError
from pytest_llm.system.folders import expanded

if TYPE_CHECKING:
    from pathlib import Path

_RUNS_PROGRAMS = "it lets the model run programs"
# Flag -> why it cannot be there.
_REFUSED = {
    **dict.fromkeys(("--tools", "--tools-runtime", "--agent", "-ag"), _RUNS_PROGRAMS),
    **dict.fromkeys(("--host", "--port"), "this run chooses where the server listens"),
    **dict.fromkeys(
        ("--api-key", "--api-key-file", "-hft", "--hf-token"),
        "the key would stand in reports, and nobody else reaches the server",
    ),
}
_OTHER_MODELS = (
    *("-hf", "-hfr", "--hf-repo", "-mu", "--model-url", "-dr", "--docker-repo"),
    *("--models-dir", "--models-preset"),
)


def read_command(written: str, engine: str, start: Path) -> tuple[str, ...]:
    """Return the words of a command line, with the program's path in full.

    Raises:
        UsageError: It cannot be read, there is no such program, or a flag of it cannot be had.
    """
    try:
        program, *words = shlex.split(written)
    except ValueError as error:
        raise UsageError(
            f"{written!r} cannot be read as a command line: {error}; write cmd:{engine} …"
        ) from None
    for word in words:
        flag = word.partition("=")[0]
        reason = _RUNS_PROGRAMS if flag.startswith("--mcp") else _REFUSED.get(flag)
        if reason is not None:
            raise UsageError(f"{flag} cannot be had, because {reason}: leave it out")
        if flag in _OTHER_MODELS:
            raise UsageError(f"{flag} names a model that is fetched: name a file with --llm-model instead")
    return (_program(program, start), *words)


def _program(name: str, start: Path) -> str:
    path = start / expanded(name)
    if os.sep in name and path.is_file() and os.access(path, os.X_OK):
        return str(path.absolute())
    found = None if os.sep in name else shutil.which(name)
    if found is None:
        where = f"at {path}" if os.sep in name else "on PATH"
        raise UsageError(f"there is no program {name} {where}: name the program that you run")
    return found
