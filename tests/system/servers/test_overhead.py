"""What a tool costs: a stand-in of Ollama in front of a real llama-server adds a delay, or another flag."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.cli import main
from tests import TESTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Overhead = Callable[..., dict[str, Any]]

DELAY = 0.002  # seconds a token


@contextmanager
def tool(program: Path, *words: str) -> Iterator[str]:
    """Run the stand-in as a process that starts llama-servers, as Ollama does; yield its URL."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "tests.ollama_server", f"--port={port}", f"--program={program}", *words]
    with subprocess.Popen(command, cwd=TESTS.parent, stdin=subprocess.PIPE) as process:
        url = f"http://127.0.0.1:{port}"
        for _ in range(200):
            with suppress(OSError), urllib.request.urlopen(f"{url}/api/version", timeout=5):
                break
            time.sleep(0.05)
        try:
            yield url
        finally:
            process.communicate(timeout=30)  # closes its input, which ends it


@pytest.fixture
def overhead(server_program: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Overhead:
    def run(prompt: int, generated: int, *words: str) -> dict[str, Any]:
        with tool(server_program, *words) as url:
            status = main(
                [
                    *("overhead", f"ollama@{url}", "smollm2-135m", "--json", "--effort=quick"),
                    *("--against", f"llama-server@bin:{server_program}"),
                    *("--load", "n_threads=1", "--load", "n_ctx=512", "--load", "n_batch=512"),
                    *("--prompt", str(prompt), "--generate", str(generated)),
                ]
            )
            out, err = capsys.readouterr()
            assert status == 0, err
            found: dict[str, Any] = json.loads(out)
            print(json.dumps(found, indent=1))
            return found

    return run


def holds(found: dict[str, Any], seconds: float) -> bool:
    low, high = found["interval"]
    return bool(low <= seconds <= high)


@pytest.mark.timed
def test_a_delay_of_each_token_is_named_and_is_the_wrapper_s(overhead: Overhead) -> None:
    found = overhead(32, 32, f"--delay={DELAY}")
    token = found["costs"][0]
    assert holds(token["total"], DELAY), token
    assert holds(token["wrapper"], DELAY), token
    assert abs(token["settings"]["seconds"]) < DELAY / 2 < token["wrapper"]["seconds"], token
    assert found["settings"] == []
    assert "-ub" in found["flags"]


@pytest.mark.timed
def test_another_flag_is_the_settings(overhead: Overhead) -> None:
    found = overhead(128, 4, "--", "-ub", "16")
    first = found["costs"][1]
    assert first["settings"]["interval"][0] > 0, first
    assert first["settings"]["seconds"] > 2 * abs(first["wrapper"]["seconds"]), first
    assert found["settings"] == ["n_ubatch 512 → 16"]
