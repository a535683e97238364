"""Load modes of the real llama.cpp, as the process has them and not as it logs them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="read from /proc")

TEST = """
import pytest

@pytest.mark.llm_model("smollm2-135m", n_ctx=512, n_threads=2, load_mode={mode!r})
def test_mode(gguf_model):
    print("mode", gguf_model.effective_options()["load_mode"])
    print("layers", gguf_model.effective_options()["layers_offloaded"])
"""
# Root may lock any amount: without this capability, as others, no more than the limit.
UNPRIVILEGED = """
import ctypes, resource, sys, pytest
CAP_IPC_LOCK, PR_CAPBSET_DROP = 14, 24
ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0)
resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
sys.exit(pytest.main(sys.argv[1:]))
"""


def run(tmp_path: Path, mode: str, *options: str) -> str:
    (tmp_path / "test_it.py").write_text(TEST.format(mode=mode), encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    command = [sys.executable, "-c", UNPRIVILEGED, "-s", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    return done.stdout


@pytest.mark.parametrize(("mode", "got"), [("mlock", "none"), ("mmap+mlock", "mmap")])
def test_locks_beyond_the_limit_are_not_in_effect(tmp_path: Path, mode: str, got: str) -> None:
    text = run(tmp_path, mode)
    assert f"load_mode={mode} was asked for, {got} is in effect" in text
    assert "1 error" in text
    assert f"mode {got}" in run(tmp_path, mode, "--llm-drift=warn")


@pytest.mark.parametrize("mode", ["mmap", "none", "direct_io"])
def test_other_modes_are_as_asked(tmp_path: Path, mode: str) -> None:
    text = run(tmp_path, mode)
    assert f"mode {mode}" in text
    assert "1 passed" in text
