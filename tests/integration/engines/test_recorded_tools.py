"""Whole answers of tools, recorded or as their source has them, through the real client: framing and all."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_llm.engines.lmstudio.endpoint import LMStudioEndpoint
from pytest_llm.engines.ollama.endpoint import OllamaEndpoint
from pytest_llm.engines.servers.client import AnswerError
from pytest_llm.engines.textgen.endpoint import TextgenEndpoint
from pytest_llm.errors import EngineError
from tests import STAND_IN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_llm.engines.servers.endpoint import Endpoint


@contextmanager
def replayed(system: str, *names: str) -> Iterator[str]:
    """Answer each connection with the bytes of the next fixture, whatever is asked; yield the URL."""
    answers = []
    for name in names:
        lines = (STAND_IN / system / "said" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[1:]
        answers.append(b"".join(each["recv"].encode() for each in map(json.loads, lines) if "recv" in each))
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for answer in answers:
                connection, _ = listening.accept()
                with connection:
                    read(connection)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(timeout=5)


def read(connection: socket.socket) -> None:
    """Read one request."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        ),
        0,
    )
    while len(body) < length:
        body += connection.recv(65536)


def ollama(url: str) -> OllamaEndpoint:
    return OllamaEndpoint(url, "ollama", 5.0)


def textgen(url: str) -> TextgenEndpoint:
    return TextgenEndpoint(url, "textgen", 5.0)


def studio(url: str) -> LMStudioEndpoint:
    return LMStudioEndpoint(url, "lmstudio", 5.0)


def stream(endpoint: Endpoint) -> object:
    return endpoint.stream("One, two, three, four,", 8, 12)


def count(endpoint: Endpoint) -> object:
    return endpoint.count("One, two, three, four,")


def describe(endpoint: Endpoint) -> object:
    return endpoint.describe()


def inventory(endpoint: Endpoint) -> object:
    return endpoint.inventory()


@pytest.mark.parametrize(
    ("system", "make", "names", "ask", "told"),
    [
        ("ollama", ollama, ["version"], describe, "ollama 0.33.0"),
        ("ollama", ollama, ["tags", "ps_cpu"], inventory, "['smollm2:latest', 'smollm2:latest, loaded']"),
        ("ollama", ollama, ["tags", "ps_empty"], inventory, "['smollm2:latest']"),
        ("ollama", ollama, ["tags", "ps_forever"], inventory, "smollm2:latest, loaded"),
        ("ollama", ollama, ["tags", "ps_gpu_full"], inventory, "smollm2:latest, loaded"),
        ("ollama", ollama, ["generate_json"], count, "8"),
        ("ollama", ollama, ["generate_stream"], stream, "five, six, seven, eight, nine, ten,"),
        ("textgen", textgen, ["token_count"], count, "8"),
        ("textgen", textgen, ["model_info"], inventory, "['SmolLM2-135M-Instruct.Q4_1.gguf, loaded']"),
        ("textgen", textgen, ["unloaded_info"], inventory, "['None, loaded']"),
        ("textgen", textgen, ["completions_stream"], stream, "five, six, seven, eight, nine, ten,"),
        (
            "lmstudio",
            studio,
            ["v1_models"],
            inventory,
            "['smollm2-135m-instruct', 'smollm2-135m-instruct, loaded']",
        ),
        ("lmstudio", studio, ["v1_models_unloaded"], inventory, "['smollm2-135m-instruct']"),
        ("lmstudio", studio, ["v0_completions_json"], count, "8"),
    ],
)
def test_what_they_answer_is_read(
    system: str,
    make: Callable[[str], Endpoint],
    names: list[str],
    ask: Callable[[Endpoint], object],
    told: str,
) -> None:
    with replayed(system, *names) as url:
        endpoint = make(url)
        assert told in str(ask(endpoint))
        endpoint.client.close()


@pytest.mark.parametrize(
    ("system", "make", "name", "ask", "told"),
    [
        ("ollama", ollama, "generate_not_found", count, "answered 404: model 'nope' not found"),
        ("ollama", ollama, "generate_queue_full", count, "raise OLLAMA_MAX_QUEUE"),
        (
            "ollama",
            ollama,
            "generate_load_failed",
            count,
            "answered 500: llama-server process has terminated",
        ),
        ("ollama", ollama, "generate_bad_option", count, "answered 500"),
        ("ollama", ollama, "generate_too_long", stream, "answered 400"),
        ("ollama", ollama, "forbidden_host", count, "answered 403"),
        ("ollama", ollama, "generate_midstream_error", stream, "unexpected EOF"),
        ("ollama", ollama, "generate_cut", stream, "closed the connection"),
        ("textgen", textgen, "unloaded_completion", stream, "closed the connection"),
        ("textgen", textgen, "wrong_type", count, "answered 422"),
        ("lmstudio", studio, "unauthorized", inventory, "answered 401: Unauthorized"),
        ("lmstudio", studio, "openai_stream_error", stream, "greater than the context length"),
        ("lmstudio", studio, "openai_overflow_silent", stream, "stopped"),
    ],
)
def test_what_they_refuse_is_one_line(
    system: str, make: Callable[[str], Endpoint], name: str, ask: Callable[[Endpoint], object], told: str
) -> None:
    with replayed(system, name) as url:
        endpoint = make(url)
        with pytest.raises((EngineError, AnswerError)) as caught:
            ask(endpoint)
        endpoint.client.close()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
