"""The llama-server that another process has started, found by the port of that one."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_llm.engines.servers.inside import server_inside_of

if TYPE_CHECKING:
    from pathlib import Path

TOOL = """
import socket, subprocess, sys
listening = socket.socket()
listening.bind(("127.0.0.1", 0))
listening.listen()
child = subprocess.Popen(
    [sys.argv[2], "-m", sys.argv[3], "-c", "1024"], executable=sys.argv[1], cwd=sys.argv[4]
)
print(listening.getsockname()[1], flush=True)
sys.stdin.read()
child.kill()
child.wait()
"""


@pytest.mark.parametrize(("name", "file"), [("{program}", "/m.gguf"), ("llama-server", "models/m.gguf")])
def test_the_server_inside_of_what_listens_is_found_by_its_command_line(
    tmp_path: Path, name: str, file: str
) -> None:
    program = tmp_path / "llama-server"
    compiled = [os.environ.get("CC") or "cc", "-x", "c", "-o", str(program), "-"]
    subprocess.run(compiled, input=b"int pause(void); int main(void) { return pause(); }", check=True)
    words = [str(program), name.format(program=program), file, str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-c", TOOL, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as tool:
        assert tool.stdout is not None
        url = f"http://127.0.0.1:{int(tool.stdout.readline())}"
        found, other = server_inside_of(url, "m.gguf"), server_inside_of(url, "other.gguf")
        tool.communicate()
    assert other is None
    assert found is not None
    assert (found.program, found.flags, found.commit) == (str(program), ("-c", "1024"), "")
    assert (found.options, found.model) == ({"n_ctx": 1024}, str(tmp_path / file))
