"""Programs of llama-bench are locked in as workers are, and become nothing but themselves."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from pytest_llm.engines.llama_bench.engine import LlamaBench
from pytest_llm.errors import EngineError, EngineMissingError
from pytest_llm.records import Program
from pytest_llm.system.sandbox import Policy
from pytest_llm.system.sandbox.kernel import support

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.system.sandbox import SandboxMode

pytestmark = [
    pytest.mark.quick,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux locks processes in"),
    pytest.mark.skipif(bool(support().lacking), reason=f"not covered: this kernel has {support().lacking}"),
]

TRYING = """
import os, socket, subprocess, sys
def fork():
    if os.fork() == 0:
        os._exit(0)
for name, power in {
    "write": lambda: open("TARGET", "w"),
    "read": lambda: open("HOME/key").read(),
    "socket": lambda: socket.socket(),
    "fork": fork,
    "run": lambda: subprocess.run(["/bin/true"]),
    "parent": lambda: open(f"/proc/{os.getppid()}/environ").read(),
}.items():
    try:
        power()
        print(name, file=sys.stderr)
    except OSError:
        pass
try:
    os.execv("/bin/sh", ["sh", "-c", "echo another >&2; exit 3"])
except OSError:
    sys.exit(3)
"""


def _program(folder: Path, text: str | bytes) -> str:
    path = folder / "llama-bench"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("mode", "can"),
    [("off", ("write", "read", "socket", "fork", "run", "parent", "another")), ("strict", ())],
)
def test_a_program_cannot_what_a_worker_cannot(
    mode: SandboxMode, can: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "key").touch()
    monkeypatch.setenv("HOME", str(home))  # the program is in a folder above it
    trying = TRYING.replace("TARGET", str(home / "touched")).replace("HOME", str(home))
    program = _program(tmp_path, f"#!{sys.executable} -IS\n{trying}")
    with pytest.raises(EngineError, match="is not llama-bench") as caught:
        LlamaBench(Program("llama-bench", program), 60.0, "", Policy(mode)).describe()
    assert caught.value.log == can


@pytest.mark.parametrize("mode", ["strict", "off"])
@pytest.mark.parametrize(
    ("content", "reason"), [(b"\x7fELF nonsense", "Exec format error"), (None, "No such file or directory")]
)
def test_a_program_that_cannot_be_started_is_named(
    mode: SandboxMode, content: bytes | None, reason: str, tmp_path: Path
) -> None:
    program = _program(tmp_path, content) if content else str(tmp_path / "llama-bench")
    with pytest.raises(EngineMissingError) as caught:
        LlamaBench(Program("llama-bench", program), 60.0, "", Policy(mode)).describe()
    assert str(caught.value) == (
        f"llama-bench@bin:{program}: {program} cannot be started ({reason}): name a program of this machine"
    )


def test_a_program_that_may_not_be_run_is_named(tmp_path: Path) -> None:
    program = tmp_path / "llama-bench"
    program.write_bytes(b"#!/bin/sh\n")
    with pytest.raises(EngineMissingError, match="Permission denied"):
        LlamaBench(Program("llama-bench", str(program)), 60.0).describe()
