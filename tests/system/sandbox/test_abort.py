"""A failed assertion starts no debugger, writes no core dump, and is told."""

from __future__ import annotations

import resource
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.errors import WorkerDiedError
from pytest_llm.records import Venv
from pytest_llm.system.sandbox import Policy
from pytest_llm.system.sandbox.kernel import support

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.system.sandbox import SandboxMode

pytestmark = [
    pytest.mark.quick,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux locks processes in"),
]

# As a release that knows no GGML_NO_BACKTRACE, and looks the debugger up.
ABORTING = """
import os, subprocess, sys
print("/src/ggml.c:12: GGML_ASSERT(rows > 0) failed", file=sys.stderr, flush=True)
try:
    subprocess.run(["gdb", "--batch", "-p", str(os.getpid())])
except OSError as error:
    print("warning: no debugger:", error, file=sys.stderr, flush=True)
os.abort()
"""


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Venv:
    """A build whose library aborts, in a project with a debugger on PATH and core dumps on."""
    environment, project, programs = (tmp_path / name for name in ("environment", "project", "programs"))
    venv.create(environment, with_pip=False, symlinks=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "llama_cpp.py").write_text(ABORTING)
    for folder in (project, programs):
        folder.mkdir()
    debugger = programs / "gdb"
    debugger.write_text(f"#!/bin/sh\ntouch {project}/debugged\n")
    debugger.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.chdir(project)
    return Venv("llama-cpp-python", str(environment))


@pytest.fixture(autouse=True)
def _core_dumps() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    if before[1] == 0:
        pytest.skip("not covered: core dumps are off here")
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


@pytest.mark.parametrize("mode", ["strict", "off"])
def test_an_assertion_that_fails_leaves_nothing_in_the_project_and_is_told(
    mode: SandboxMode, build: Venv
) -> None:
    if mode == "strict" and support().lacking:
        pytest.skip(f"not covered: this kernel has {support().lacking}")
    with pytest.raises(WorkerDiedError) as caught:
        LlamaCppPython(build, 60.0, "", Policy(mode)).describe()
    assert str(caught.value).endswith(
        "while importing llama_cpp: SIGABRT, llama.cpp gave up: GGML_ASSERT(rows > 0) failed (ggml.c:12)"
    )
    assert list(Path.cwd().iterdir()) == ([Path.cwd() / "debugged"] if mode == "off" else [])
