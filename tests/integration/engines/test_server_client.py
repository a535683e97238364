"""The client of servers against real connections: recorded answers, and neighbours that misbehave."""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.engines.llama_server.api import Api
from pytest_llm.engines.llama_server.completion import read_completion
from pytest_llm.engines.servers.client import (
    Client,
    ClosedError,
    MalformedError,
    RefusedError,
    SilentError,
    UnfitError,
)
from pytest_llm.engines.servers.events import read_events
from pytest_llm.errors import RequestFailedError
from tests.recordings import pieces, raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Answer = Callable[[socket.socket], None]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
PATIENCE = 0.3


def sends(*parts: bytes) -> Answer:
    def answer(connection: socket.socket) -> None:
        for each in parts:
            connection.sendall(each)

    return answer


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def answers(body: bytes, status: str = "200 OK", *headers: str) -> Answer:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return sends("\r\n".join(lines).encode() + body)


def whole_request(connection: socket.socket) -> bytes:
    data = b""
    while True:
        head, end, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if end and len(body) >= int(length[1] if length else 0):
            return data
        more = connection.recv(2**16)
        if not more:
            return data
        data += more


@contextmanager
def serving(path: Path, answer: Answer) -> Iterator[list[bytes]]:
    """Serve each connection with an answer, then close it; yield the requests."""
    requests: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:  # closed
                    return
                with connection, suppress(OSError):
                    requests.append(whole_request(connection))
                    answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield requests
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s") / "server.sock"


@pytest.fixture
def client(path: Path) -> Iterator[Client]:
    made = Client("http://localhost", PATIENCE, str(path), {"Authorization": "Bearer hush"})
    yield made
    made.close()


def test_a_recorded_stream_is_read_piece_by_piece(client: Client, path: Path) -> None:
    with serving(path, sends(*raw("completion_stream"))) as requests:
        found = client.stream("/completion", {"prompt": [1, 2]}, 12)
    assert b"".join(each.data for each in found) == b"".join(
        each.data for each in pieces("completion_stream")
    )
    answer = read_completion(read_events(found), 12)
    assert (len(answer.arrivals), answer.ids[:2], answer.cached) == (12, (2531, 28), 0)
    assert list(answer.arrivals) == sorted(answer.arrivals)
    assert answer.arrivals[0] > 0
    assert b'{"prompt": [1, 2]}' in requests[0]
    assert b"authorization: bearer hush" in requests[0].lower()


def test_each_request_has_a_connection_of_its_own(client: Client, path: Path) -> None:
    with serving(path, sends(*raw("health"))) as requests:
        assert client.get("/health") == client.get("/health") == {"status": "ok"}
    assert len(requests) == 2


@pytest.mark.parametrize(
    ("recording", "status", "told"),
    [
        ("loading_health_503", 503, "answered 503: Loading model"),
        ("overflow_400", 400, "request (2042 tokens) exceeds the available context size (1024 tokens)"),
        ("auth_missing", 401, "answered 401: Invalid API Key"),
    ],
)
def test_a_refusal_is_told_in_the_server_s_words(
    client: Client, path: Path, recording: str, status: int, told: str
) -> None:
    with serving(path, sends(*raw(recording))):
        with pytest.raises(RefusedError) as found:
            client.post("/completion", {})
        assert (found.value.status, told in str(found.value)) == (status, True)
        with pytest.raises(RefusedError) as found:
            client.stream("/completion", {}, 1)
        assert (found.value.status, told in str(found.value)) == (status, True)


@pytest.mark.parametrize(
    "body", [b"<h1>no</h1>\x1b[31m", b"", b'{"detail": "no"}', b'{"error": "no"}', b'"no"']
)
def test_a_refusal_in_another_form_is_told_as_it_is(client: Client, path: Path, body: bytes) -> None:
    with serving(path, answers(body, "404 Not Found")), pytest.raises(RefusedError) as found:
        client.get("/props")
    assert str(found.value).startswith("answered 404")
    assert ("no" in str(found.value)) == bool(body)
    assert "\x1b" not in str(found.value)


def test_no_redirect_is_followed(client: Client, path: Path) -> None:
    elsewhere = answers(b"", "302 Found", "Location: http://elsewhere.example/")
    with (
        serving(path, elsewhere) as requests,
        pytest.raises(RefusedError, match="redirects to http://elsewhere"),
    ):
        client.get("/health")
    assert len(requests) == 1


def test_a_server_that_is_not_there_is_closed(client: Client) -> None:
    with pytest.raises(ClosedError, match="cannot be reached"):
        client.get("/health")


def test_a_server_that_dies_in_mid_stream_is_closed(client: Client, path: Path) -> None:
    with serving(path, sends(*raw("killed"))), pytest.raises(ClosedError, match="closed the connection"):
        client.stream("/completion", {}, 300)


def test_half_a_chunk_is_no_answer(client: Client, path: Path) -> None:
    half = chunk(b'data: {"tokens_predicted": 1}\n\n')[:-9]
    with serving(path, sends(HEAD, half)), pytest.raises(ClosedError, match="closed the connection"):
        client.stream("/completion", {}, 1)


def test_a_server_that_does_not_answer_is_silent(client: Client, path: Path) -> None:
    hold = threading.Event()

    def wait(_: socket.socket) -> None:
        hold.wait(5)

    with serving(path, wait):
        started = time.monotonic()
        with pytest.raises(SilentError, match=r"no answer for 0\.3 s"):
            client.get("/health")
        assert time.monotonic() - started < 3
        hold.set()


def test_comments_do_not_keep_a_stream_alive(client: Client, path: Path) -> None:
    def keep_warm(connection: socket.socket) -> None:
        connection.sendall(HEAD + chunk(b'data: {"tokens_predicted": 1}\n\n'))
        for _ in range(100):
            connection.sendall(chunk(b":\n\n"))
            time.sleep(0.05)

    with serving(path, keep_warm), pytest.raises(SilentError, match=r"no token for 0\.3 s"):
        client.stream("/completion", {}, 2)


def test_a_server_with_another_model_is_not_the_one_that_was_started(client: Client, path: Path) -> None:
    process: Any = SimpleNamespace(name="it", written=lambda: 0, last_lines=lambda _: ())
    with serving(path, answers(b'{"model_path": "/other.gguf", "total_slots": 1}')):
        assert Api(client, process).properties("/other.gguf")["total_slots"] == 1
        with pytest.raises(RequestFailedError, match=r"it: the server has /other\.gguf loaded"):
            Api(client, process).properties("/mine.gguf")


def test_a_slow_trickle_is_an_answer_as_long_as_tokens_come(client: Client, path: Path) -> None:
    def trickle(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        for number in range(1, 5):
            time.sleep(0.15)
            connection.sendall(chunk(b'data: {"tokens_predicted": %d}\n\n' % number))
        connection.sendall(b"0\r\n\r\n")

    with serving(path, trickle):
        found = client.stream("/completion", {}, 4)
    assert found[-1].at > 2 * PATIENCE


def test_a_server_that_never_stops_is_stopped(client: Client, path: Path) -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        data = chunk(b"data: {}\n\n" * 50_000)
        while True:
            connection.sendall(data)

    with serving(path, flood), pytest.raises(UnfitError, match="bytes for 1 tokens"):
        client.stream("/completion", {}, 1)


@pytest.mark.parametrize("data", [b"{", b"", b'{"a": NaN}', b"\xff"])
def test_what_is_no_json_is_no_answer(client: Client, path: Path, data: bytes) -> None:
    with serving(path, answers(data)), pytest.raises(MalformedError, match="/props"):
        client.get("/props")


def test_what_is_no_http_is_no_answer(client: Client, path: Path) -> None:
    with serving(path, sends(b"SSH-2.0-OpenSSH_9.2\r\n")), pytest.raises((ClosedError, MalformedError)):
        client.get("/health")


def test_the_key_is_in_no_message(client: Client, path: Path) -> None:
    refuses = answers(b'{"error": {"message": "bad key"}}', "401 Unauthorized")
    with serving(path, refuses), pytest.raises(RefusedError) as found:
        client.get("/props")
    assert "hush" not in f"{found.value!r} {found.value.__cause__} {found.value.__context__}"
