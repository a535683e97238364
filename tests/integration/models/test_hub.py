"""The real huggingface_hub against a stand-in of its server: fetched, cached, pinned, offline."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests import TESTS, tiny_models

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("huggingface_hub")

COMMIT = "a" * 40
SOURCE = "hf:owner/tiny-GGUF/tiny.gguf"


class Hub:
    """Answers as the file server of Hugging Face does: the commit and the ETag in headers.

    Attributes:
        files: By path in the repository "owner/tiny-GGUF".
        cut: Of each GET in turn, after how many bytes the connection ends.
        asked: The method, path and range of each request.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: list[int] = []
        self.asked: list[tuple[str, str, str]] = []
        self.url = ""


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            asked = self.headers.get("range", "")
            hub.asked.append((self.command, self.path, asked))
            *_, repository, resolve, _, path = ["", "", "", "", *self.path.split("/")]
            data = hub.files.get(path) if resolve == "resolve" and repository == "tiny-GGUF" else None
            if data is None:
                self.send_response(404)
                self.send_header("x-error-code", "EntryNotFound")
                self.send_header("content-length", "0")
                self.end_headers()
                return
            begin = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("content-range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
            self.send_header("etag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("x-repo-commit", COMMIT)
            self.send_header("content-length", str(len(data) - begin))
            self.end_headers()
            if with_body:
                rest = data[begin:]
                if hub.cut:
                    rest = rest[: hub.cut.pop(0)]
                    self.close_connection = True
                self.wfile.write(rest)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield hub
        finally:
            server.shutdown()


def models(folder: Path, hub: Hub, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``pytest-llm models``, with a cache of huggingface_hub in the folder."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(TESTS.parent),
        "PYTEST_LLM_CACHE": str(folder / "cache"),
        "HF_HOME": str(folder / "hub"),
        "HF_ENDPOINT": hub.url,
        "NO_PROXY": "127.0.0.1",
        **more,
    }
    command = [sys.executable, "-m", "pytest_llm.cli", "models", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return tiny_models.llama(tmp_path / "made.gguf").read_bytes()


def test_a_file_is_pinned_at_its_commit_fetched_once_and_used_offline(tmp_path: Path, content: bytes) -> None:
    with serving() as hub:
        hub.files["tiny.gguf"] = content
        done = models(tmp_path, hub, "pin", "tiny", SOURCE)
        assert done.returncode == 0, done.stderr
        written = (tmp_path / "pyproject.toml").read_text()
        assert f'source = "{SOURCE}@{COMMIT}"' in written
        assert f'sha256 = "{hashlib.sha256(content).hexdigest()}"' in written
        assert {path.partition("/resolve/")[0] for _, path, _ in hub.asked} == {"/owner/tiny-GGUF"}
        fetched = sum(method == "GET" for method, *_ in hub.asked)
        assert fetched == 1
        done = models(tmp_path, hub, "fetch", "tiny", "--json", HF_HUB_OFFLINE="1")
        assert done.returncode == 0, done.stderr
        (model,) = json.loads(done.stdout)["models"]
        assert model["bytes"] == len(content)
        assert sum(method == "GET" for method, *_ in hub.asked) == fetched
        done = models(tmp_path, hub, "verify", f"{SOURCE}@{COMMIT}", HF_HUB_OFFLINE="1")
        assert done.returncode == 0, done.stdout  # it is in the cache, so it needs no pin


def test_a_pinned_file_that_is_interrupted_is_gone_on_with(tmp_path: Path, content: bytes) -> None:
    chunk = 10 * 2**20  # of huggingface_hub
    with serving() as hub:
        hub.files["tiny.gguf"] = content + bytes(2 * chunk)
        assert models(tmp_path, hub, "pin", "tiny", SOURCE).returncode == 0
        for each in ("cache", "hub"):
            shutil.rmtree(tmp_path / each)
        hub.cut = [chunk + 1000]
        hub.asked.clear()
        done = models(tmp_path, hub, "fetch", "tiny")
        if done.returncode:  # huggingface_hub may leave the rest to the next call
            done = models(tmp_path, hub, "fetch", "tiny")
        assert done.returncode == 0, done.stdout
        ranges = [asked for method, _, asked in hub.asked if method == "GET"]
        assert any(each.startswith(f"bytes={chunk}-") for each in ranges), ranges


def test_another_file_than_is_pinned_is_refused(tmp_path: Path, content: bytes) -> None:
    with serving() as hub:
        hub.files["tiny.gguf"] = content
        assert models(tmp_path, hub, "pin", "tiny", SOURCE).returncode == 0
        for each in ("cache", "hub"):
            shutil.rmtree(tmp_path / each)
        hub.files["tiny.gguf"] = content[:-4] + b"last"
        done = models(tmp_path, hub, "fetch", "tiny")
        assert done.returncode == 1
        assert "is pinned: nothing was kept" in done.stdout


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("hf:owner/tiny-GGUF/none.gguf", "cannot be fetched: "),
        ("hf:owner/tiny-GGUF", "is not of the form hf:OWNER/REPOSITORY/FILE.gguf@REVISION"),
        ("hf:owner/tiny-GGUF/../x.gguf", "does not end in the path of a file"),
    ],
)
def test_what_cannot_be_had_is_one_line(tmp_path: Path, source: str, told: str) -> None:
    with serving() as hub:
        done = models(tmp_path, hub, "pin", "tiny", source)
    assert done.returncode in (1, 2)
    said = (done.stdout or done.stderr).strip()
    assert told in said
    assert "\n" not in said
    assert not (tmp_path / "pyproject.toml").exists()
