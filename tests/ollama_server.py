"""An Ollama after its source (0.33.0-rc2): its protocol, in front of a script or of a real llama-server.

As a program it starts a llama-server for the model that it is asked for, as Ollama does::

    python -m tests.ollama_server --port 11434 --program build/bin/llama-server -- -t 1
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = os.environ.get("STAND_IN_VERSION", "0.33.0")
_SECOND = 1_000_000_000


class Script:
    """What the server answers.

    Attributes:
        models: Tag -> digest of its file.
        blobs: Digest -> where the file is.
        loaded: Tag -> the options that it is loaded with.
        status: Path -> a status and an error that it is refused with.
        more: Tokens of a prompt beside one for each word.
        reason: Why an answer ends.
        short: By how many tokens answers are too short.
        equal: All pieces of a text are equal.
        loads: Seconds that each request spends loading, by the server's own account.
        context: The context that is told; 0 is the one that was asked for.
        error: A line with an error in the midst of a stream.
        asked: Method, path and body of each request.
    """

    def __init__(self, inside: Inside | None = None) -> None:
        self.models: dict[str, str] = {}
        self.blobs: dict[str, Path] = {}
        self.loaded: dict[str, dict[str, Any]] = {}
        self.status: dict[str, tuple[int, str]] = {}
        self.more = 1
        self.reason = "length"
        self.short = 0
        self.equal = False
        self.loads = 0.001
        self.context = 0
        self.error = ""
        self.asked: list[tuple[str, str, Any]] = []
        self.url = ""
        self.inside = inside

    def paths(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path, _ in self.asked]

    def generated(self, body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each piece of text, and in the end the counts with no text."""
        options = body.get("options", {})
        count = options.get("num_predict", 128)
        if self.inside is not None:
            yield from self.inside.generated(body["prompt"], count)
            return
        for number in range(count - self.short):
            yield (" word" if self.equal else f" word{number}"), {}
            if self.equal and number == 30:
                return
            if self.error:
                yield "", {"error": self.error}
                return
        told = {
            "prompt_eval_count": len(body["prompt"].split()) + self.more,
            "eval_count": count - self.short,
        }
        yield "", {"done_reason": self.reason, **told}


class Inside:
    """A real llama-server behind the protocol; ``delay`` seconds are added to each token."""

    def __init__(self, program: str, flags: list[str], delay: float = 0.0) -> None:
        self._program = program
        self._flags = flags
        self._delay = delay
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def load(self, model: Path, options: dict[str, Any]) -> None:
        """Start the server anew, with flags as Ollama gives them."""
        self.close()
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self._port = found.getsockname()[1]
        size = str(options.get("num_batch", 512))
        flags = ["-m", str(model), "--port", str(self._port), "--no-webui", "--offline", "-np", "1"]
        flags += ["--log-verbosity", "4", "--no-log-prefix", "--no-log-timestamps"]
        flags += ["-c", str(options.get("num_ctx", 4096)), "-b", size, "-ub", size, "--flash-attn", "auto"]
        flags += ["-t", str(options["num_thread"])] if "num_thread" in options else []
        self._process = subprocess.Popen(
            [self._program, *flags, *self._flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with (
                suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=5),
            ):
                return
            time.sleep(0.05)
        raise RuntimeError("the server inside did not start")

    def generated(self, prompt: str, count: int) -> Iterator[tuple[str, dict[str, Any]]]:
        body = {
            "prompt": prompt,
            "n_predict": count,
            "stream": True,
            "temperature": 0,
            "seed": 1,
            "cache_prompt": True,
            "ignore_eos": True,  # Ollama has no such option: the stand-in stops early by its script alone
        }
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/completion",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        arrived: queue.Queue[tuple[float, dict[str, Any]]] = queue.Queue()

        def read() -> None:
            with urllib.request.urlopen(request, timeout=60) as answer:
                for line in answer:
                    if line.startswith(b"data: "):
                        arrived.put((time.perf_counter(), json.loads(line[6:])))

        threading.Thread(target=read, daemon=True).start()
        for number in itertools.count():
            at, data = arrived.get(timeout=60)
            # Delays add up, so that each token comes so much later after the one before, whatever else this
            # process does meanwhile.
            time.sleep(max(0.0, at + number * self._delay - time.perf_counter()))
            yield _piece(data)
            if data.get("stop"):
                return

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _piece(data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if not data.get("stop"):
        return data["content"], {}
    timings = data["timings"]
    told = {
        "done_reason": "length" if data["stop_type"] == "limit" else "stop",
        "prompt_eval_count": timings["cache_n"] + timings["prompt_n"],
        "eval_count": timings["predicted_n"],
    }
    return data["content"], told


@contextmanager
def answering(inside: Inside | None = None, port: int = 0, kept: Path | None = None) -> Iterator[Script]:
    """Serve until the context ends; with a folder, what was imported is there the next time."""
    script = Script(inside)
    store = kept / "manifests.json" if kept is not None else None
    if store is not None and store.exists():
        script.models = json.loads(store.read_text())
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)  # it goes with the one who started this, which is killed
    folder = tempfile.TemporaryDirectory(prefix="ollama-", dir=kept)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._note(None)
            if self._refused():
                return
            listed = [self._listed(tag) for tag in script.models]
            answers: dict[str, Any] = {
                "/api/version": {"version": VERSION},
                "/api/tags": {"models": listed},
                "/api/ps": {"models": [self._running(tag) for tag in script.loaded]},
            }
            if self.path in answers:
                self._json(200, answers[self.path])
            else:
                self._json(404, {"error": "page not found"})

        def do_HEAD(self) -> None:
            self._note(None)
            self._empty(200 if self.path.rpartition("/")[2] in script.blobs else 404)

        def do_DELETE(self) -> None:
            body = self._body()
            if script.models.pop(_tag(body["model"]), None) is None:
                self._json(404, {"error": f"model '{body['model']}' not found"})
            else:
                self._empty(200)

        def do_POST(self) -> None:
            if self.path.startswith("/api/blobs/"):
                self._take_blob(self.path.rpartition("/")[2])
                return
            body = self._body()
            if self._refused():
                return
            answer = {"/api/create": self._create, "/api/generate": self._generate, "/api/show": self._show}
            if self.path in answer:
                answer[self.path](body)
            else:
                self._json(404, {"error": "page not found"})

        def _take_blob(self, digest: str) -> None:
            target = Path(folder.name) / digest.replace(":", "-")
            left, found = int(self.headers["content-length"]), hashlib.sha256()
            with target.open("wb") as file:
                while left:
                    data = self.rfile.read(min(left, 2**20))
                    left -= len(data)
                    found.update(data)
                    file.write(data)
            script.asked.append(("POST", self.path, None))
            if f"sha256:{found.hexdigest()}" != digest:
                told = f'digest mismatch, expected "{digest}", got "sha256:{found.hexdigest()}"'
                self._json(400, {"error": told})
                return
            script.blobs[digest] = target
            self._empty(201)

        def _create(self, body: dict[str, Any]) -> None:
            (digest,) = body["files"].values()
            if digest not in script.blobs:
                self._lines([{"error": f"{digest} is not there"}])
                return
            script.models[_tag(body["model"])] = digest
            if store is not None:
                store.write_text(json.dumps(script.models))
            if body.get("stream") is False:
                self._json(200, {"status": "success"})
                return
            using = f"using existing layer {digest}"
            self._lines([{"status": each} for each in ("parsing GGUF", using, "writing manifest", "success")])

        def _show(self, body: dict[str, Any]) -> None:
            self._json(200, {"details": _DETAILS, "model_info": {"general.architecture": "llama"}, **body})

        def _generate(self, body: dict[str, Any]) -> None:
            tag = _tag(body["model"])
            if tag not in script.models:
                self._json(404, {"error": f"model '{body['model']}' not found"})
                return
            if body.get("keep_alive") == 0 and not body.get("prompt"):
                script.loaded.pop(tag, None)
                self._json(
                    200, {"model": body["model"], "response": "", "done": True, "done_reason": "unload"}
                )
                return
            self._load(tag, body.get("options", {}))
            head = {"model": body["model"], "created_at": "2026-11-28T08:00:00.045000000Z"}
            if not body.get("prompt"):
                self._json(200, {**head, "response": "", "done": True, "done_reason": "load"})
            elif body.get("stream", True):
                self._lines(self._answer(head, body))
            else:
                texts: list[str] = []
                last: dict[str, Any] = {}
                for text, told in script.generated(body):
                    texts.append(text)
                    last = told or last
                if "error" in last:
                    self._json(500, last)
                    return
                self._json(200, {**head, "response": "".join(texts), **self._done(last)})

        def _answer(self, head: dict[str, Any], body: dict[str, Any]) -> Iterator[dict[str, Any]]:
            for text, told in script.generated(body):
                if "error" in told:
                    yield told
                elif told:
                    yield {**head, "response": text, **self._done(told)}
                else:
                    yield {**head, "response": text, "done": False}

        @staticmethod
        def _done(told: dict[str, Any]) -> dict[str, Any]:
            load = int(script.loads * _SECOND)
            return {
                "done": True,
                "total_duration": load + 2,
                "load_duration": load,
                "prompt_eval_duration": 1,
                "eval_duration": 1,
                **told,
            }

        def _load(self, tag: str, options: dict[str, Any]) -> None:
            chosen = {
                name: each
                for name, each in options.items()
                if name not in ("num_predict", "temperature", "seed")
            }
            if script.loaded.get(tag) != chosen:
                if script.inside is not None:
                    script.inside.load(script.blobs[script.models[tag]], chosen)
                    script.loaded.clear()
                script.loaded[tag] = chosen

        def _listed(self, tag: str) -> dict[str, Any]:
            digest = hashlib.sha256(tag.encode()).hexdigest()
            size = (
                script.blobs[script.models[tag]].stat().st_size if script.models[tag] in script.blobs else 0
            )
            when = "2026-11-28T07:59:00.123456789Z"
            return {
                "name": tag,
                "model": tag,
                "modified_at": when,
                "size": size,
                "digest": digest,
                "details": _DETAILS,
            }

        def _running(self, tag: str) -> dict[str, Any]:
            context = script.context or script.loaded[tag].get("num_ctx", 4096)
            found = {**self._listed(tag), "size_vram": 0, "context_length": context}
            found.pop("modified_at")
            return {**found, "expires_at": "2026-11-28T08:05:00.123456789Z"}

        def _body(self) -> dict[str, Any]:
            body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self._note(body)
            return body

        def _note(self, body: Any) -> None:
            script.asked.append((self.command, self.path, body))

        def _refused(self) -> bool:
            status, error = script.status.get(self.path, (0, ""))
            if status:
                self._json(status, {"error": error})
            return bool(status)

        def _json(self, status: int, answer: dict[str, Any]) -> None:
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _empty(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _lines(self, lines: Any) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/x-ndjson")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for each in lines:
                data = json.dumps(each).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with folder, Server(("127.0.0.1", port), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield script
        finally:
            server.shutdown()
            if inside is not None:
                inside.close()


_DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "134.52M",
    "quantization_level": "Q4_1",
}


def _tag(model: str) -> str:
    return model if ":" in model else f"{model}:latest"


def main() -> None:
    if sys.argv[1:] == ["serve"]:  # as Ollama's own program, with a script inside
        host, _, port = os.environ["OLLAMA_HOST"].rpartition(":")
        assert host == "127.0.0.1"
        print(f"Listening on {host}:{port} (version {VERSION})", file=sys.stderr, flush=True)
        with answering(port=int(port), kept=Path(os.environ["OLLAMA_MODELS"])):
            threading.Event().wait()
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--program", required=True)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("flags", nargs="*")
    asked = parser.parse_args()
    with answering(Inside(asked.program, asked.flags, asked.delay), asked.port):
        sys.stdin.read()  # until the one who started it closes the pipe, or ends


if __name__ == "__main__":
    main()
