"""A server that speaks OpenAI's protocol by a script, on the loopback interface."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Script:
    """What the server answers.

    Attributes:
        models: The ids that it lists.
        status: Path -> a status that it is refused with.
        more: Tokens of a prompt beside one for each word.
        reason: Why an answer ends.
        short: By how many tokens answers are too short.
        usage: Whether a stream has a usage.
        cached: Tokens of each prompt that it says were cached; None if it does not say.
        cut: A stream ends without its last events.
        error: An error event in the midst of a stream.
        routes: Method and path -> what answers a body: a status, and JSON.
        asked: The path, headers and body of each request.
    """

    def __init__(self) -> None:
        self.models = ["some/model"]
        self.status: dict[str, int] = {}
        self.more = 1
        self.reason = "length"
        self.short = 0
        self.usage = True
        self.cached: int | None = 0
        self.cut = False
        self.error = ""
        self.counted = 0  # by how many tokens a usage is too small
        self.routes: dict[tuple[str, str], Callable[[dict[str, Any]], tuple[int, Any]]] = {}
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.url = ""

    def prompt_tokens(self, text: str) -> int:
        return len(text.split()) + self.more

    def events(self, body: dict[str, Any]) -> Iterator[str]:
        count = body["max_tokens"] - self.short
        for _ in range(count):
            yield json.dumps({"choices": [{"text": " word", "index": 0, "finish_reason": None}]})
            if self.error:
                yield json.dumps({"error": {"message": self.error}})
                return
        if self.cut:
            return
        yield json.dumps({"choices": [{"text": "", "index": 0, "finish_reason": self.reason}]})
        if self.usage:
            told: dict[str, Any] = {
                "prompt_tokens": self.prompt_tokens(body["prompt"]),
                "completion_tokens": count - self.counted,
            }
            if self.cached is not None:
                told["prompt_tokens_details"] = {"cached_tokens": self.cached}
            yield json.dumps({"choices": [], "usage": told})
        yield "[DONE]"


@contextmanager
def answering() -> Iterator[Script]:
    """Serve until the context ends."""
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._note({})
            if not self._refused() and not self._routed({}):
                self._json({"object": "list", "data": [{"id": each} for each in script.models]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self._note(body)
            if self._refused() or self._routed(body):
                return
            if body.get("stream"):
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.end_headers()
                for each in script.events(body):
                    self.wfile.write(f"data: {each}\n\n".encode())
                    self.wfile.flush()
                return
            usage = {"prompt_tokens": script.prompt_tokens(body["prompt"]), "completion_tokens": 1}
            self._json({"choices": [{"text": " Paris", "finish_reason": "length"}], "usage": usage})

        def _note(self, body: dict[str, Any]) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.asked.append((self.path, headers, body))

        def _refused(self) -> bool:
            status = script.status.get(self.path)
            if status is None:
                return False
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", "http://elsewhere.example/v1/models")
            self.end_headers()
            self.wfile.write(json.dumps({"error": {"message": f"status {status}"}}).encode())
            return True

        def _routed(self, body: dict[str, Any]) -> bool:
            route = script.routes.get((self.command, self.path))
            if route is not None:
                status, answer = route(body)
                self._json(answer, status)
            return route is not None

        def _json(self, answer: Any, status: int = 200) -> None:
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield script
        finally:
            server.shutdown()
