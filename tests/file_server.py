"""A web server on the loopback interface, with the habits that downloads meet."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class FileServer:
    """Serves files from memory.

    Attributes:
        files: By path, "/b1.tar.gz".
        cut: Of each request in turn, after how many bytes the connection ends; the rest are whole.
        status: Answers each request in turn with a status instead; the rest are answered.
        redirects: Path -> where it is.
        tags: Whether answers have an ETag.
        asked: The path and range of each request.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: list[int] = []
        self.status: list[int] = []
        self.redirects: dict[str, str] = {}
        self.tags = True
        self.asked: list[tuple[str, str]] = []
        self.url = ""


@contextmanager
def serving_files() -> Iterator[FileServer]:
    """Serve until the context ends."""
    files = FileServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            files.asked.append((self.path, self.headers.get("range", "")))
            if files.status:
                self._end(files.status.pop(0))
            elif self.path in files.redirects:
                self._end(302, location=files.redirects[self.path])
            elif self.path not in files.files:
                self._end(404)
            else:
                self._send(files.files[self.path])

        def _send(self, data: bytes) -> None:
            tag = f'"{hashlib.sha256(data).hexdigest()}"'
            wanted = self.headers.get("range", "")
            begin = 0
            if wanted and self.headers.get("if-range") == tag:
                begin = int(wanted.removeprefix("bytes=").rstrip("-"))
            if begin and begin >= len(data):
                self._end(416)
                return
            headers = {"content-length": str(len(data) - begin), **({"etag": tag} if files.tags else {})}
            if begin:
                headers["content-range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
            self.send_response(206 if begin else 200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            rest = data[begin:]
            if files.cut:
                self.wfile.write(rest[: files.cut.pop(0)])
                self.close_connection = True
            else:
                self.wfile.write(rest)

        def _end(self, status: int, **headers: str) -> None:
            self.send_response(status)
            for name, value in {**headers, "content-length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        files.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield files
        finally:
            server.shutdown()
