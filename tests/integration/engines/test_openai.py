"""Servers by URL that misbehave: each is told in one line, and none makes a wrong number."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from typing import TYPE_CHECKING

import openai
import pytest

from pytest_llm.builds.reference import parse_build
from pytest_llm.engines import API_KEY, describe, engine_for
from pytest_llm.engines.servers.requests import RequestsSubject
from pytest_llm.errors import (
    EngineError,
    LoadRefusedError,
    NotCoveredError,
    RequestFailedError,
    UsageError,
)
from pytest_llm.records import Address, LoadOptions, Model, Subject, Workload
from tests.openai_server import Script, answering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WORKLOAD = Workload(prompt_tokens=16, generate_tokens=4)
HUSH = "sk-hush-hush"


@pytest.fixture
def server() -> Iterator[Script]:
    with answering() as found:
        yield found


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model("tiny", str(tmp_path / "Tiny.Q4.gguf"), "0" * 64, 4, "llama", "Q4_1", 1, 1, 1, 1, 1, 1, 1)


@pytest.fixture
def loaded(server: Script, model: Model) -> Iterator[Callable[..., RequestsSubject]]:
    started: list[RequestsSubject] = []

    def start(path: str = "", *, load: bool = True) -> RequestsSubject:
        build = Address("openai", f"{server.url}{path}")
        found = engine_for(build, 5.0).start(Subject(model.name, build, LoadOptions()), model)
        assert isinstance(found, RequestsSubject)
        started.append(found)
        if load:
            found.load()
        return found

    yield start
    for each in started:
        each.close()


def test_requests_are_timed_and_each_has_a_fresh_prompt(
    server: Script, loaded: Callable[..., RequestsSubject]
) -> None:
    subject = loaded()
    subject.rehearse(WORKLOAD)
    first, gaps = subject.request()
    assert first > 0
    assert len(gaps) == 3
    streamed = [body for _, _, body in server.asked if body.get("stream")]
    prompts = [body["prompt"] for body in streamed]
    assert len(set(prompts)) == len(prompts)
    assert all(a.split()[0] != b.split()[0] for a, b in pairwise(prompts))
    assert {len(each.split()) for each in prompts} == {15}  # and one special token
    assert all(body["max_tokens"] == 4 and body["temperature"] == 0 for body in streamed)
    assert subject.invariants() == {"greedy_text": " Paris"}
    assert subject.log() == ""


def test_parallel_requests_are_sent_at_once(loaded: Callable[..., RequestsSubject]) -> None:
    subject = loaded()
    parallel = Workload(16, 4, parallel=3)
    assert subject.coverage(parallel).under_load
    subject.rehearse(parallel)
    assert [len(gaps) for _, gaps in subject.requests_at_once()] == [3, 3, 3]


@pytest.mark.parametrize("path", ["", "/v1", "/"])
def test_the_url_may_end_with_the_version(
    path: str, server: Script, loaded: Callable[..., RequestsSubject]
) -> None:
    loaded(path.rstrip("/"))
    assert server.asked[0][0] == "/v1/models"


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(
    server: Script, loaded: Callable[..., RequestsSubject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY, HUSH)
    subject = loaded()
    assert server.asked[0][1]["authorization"] == f"Bearer {HUSH}"
    assert HUSH not in repr(vars(subject.build))
    server.status["/v1/completions"] = 401
    with pytest.raises(RequestFailedError) as caught:
        subject.rehearse(WORKLOAD)
    assert f"set {API_KEY} to its key" in str(caught.value)
    assert HUSH not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, "answered 404: status 404, listing its models: name the URL up to /v1"),
        (307, "it redirects to http://elsewhere.example/v1/models"),
        (500, "answered 500: status 500"),
    ],
)
def test_a_server_that_lists_no_models_is_refused(
    status: int, reason: str, server: Script, loaded: Callable[..., RequestsSubject]
) -> None:
    server.status["/v1/models"] = status
    with pytest.raises(LoadRefusedError) as caught:
        loaded()
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_of_several_models_the_one_that_is_called_alike_is_asked(
    server: Script, loaded: Callable[..., RequestsSubject]
) -> None:
    server.models = ["other", "org/tiny.q4.gguf"]
    subject = loaded()
    subject.rehearse(WORKLOAD)
    assert {body["model"] for _, _, body in server.asked if body} == {"org/tiny.q4.gguf"}
    server.models = ["one", "two"]
    with pytest.raises(LoadRefusedError, match="its models are one, two, and tiny is not one of them"):
        loaded()
    server.models = []
    with pytest.raises(LoadRefusedError, match="lists no model"):
        loaded()


def test_answers_that_end_early_are_discarded_and_counted(
    server: Script, loaded: Callable[..., RequestsSubject]
) -> None:
    subject = loaded()
    subject.rehearse(WORKLOAD)
    server.reason, server.short = "stop", 2
    with pytest.raises(
        RequestFailedError, match="4 requests in a row were discarded; the last one stopped after"
    ):
        subject.request()
    assert subject.log().count("discarded a request: it stopped after 2 of 4 tokens (stop)\n") == 4


def test_a_prompt_that_was_cached_is_no_fresh_one(
    server: Script, loaded: Callable[..., RequestsSubject]
) -> None:
    server.cached = 12
    with pytest.raises(RequestFailedError, match="had 12 of 16 tokens of a fresh prompt cached"):
        loaded().rehearse(WORKLOAD)


def test_where_nothing_tells_what_is_cached_one_prompt_is_sent_twice(
    server: Script, loaded: Callable[..., RequestsSubject]
) -> None:
    server.cached = None
    subject = loaded()
    subject.rehearse(WORKLOAD)
    assert "a prompt sent twice took " in subject.log()
    twice = [body["prompt"] for _, _, body in server.asked if body.get("stream")][-2:]
    assert twice[0] == twice[1]


def test_a_stream_without_usage_counts_by_its_reason(
    server: Script, loaded: Callable[..., RequestsSubject]
) -> None:
    server.usage = False
    subject = loaded()
    subject.rehearse(WORKLOAD)
    assert len(subject.request()[1]) == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cut": True}, "without saying why (finish_reason)"),
        ({"error": "slot is gone"}, "slot is gone"),
        ({"more": 3}, "requests in a row were discarded; the last one read a prompt of 16 tokens as 18"),
    ],
    ids=["cut", "error", "counted otherwise"],
)
def test_a_stream_that_is_no_answer_is_an_error(
    change: dict[str, object], reason: str, server: Script, loaded: Callable[..., RequestsSubject]
) -> None:
    subject = loaded()
    subject.rehearse(WORKLOAD)
    vars(server).update(change)
    with pytest.raises(RequestFailedError) as caught:
        subject.request()
    assert reason in str(caught.value)


def test_a_text_of_no_exact_length_is_told(server: Script, loaded: Callable[..., RequestsSubject]) -> None:
    server.prompt_tokens = lambda text: 2 * len(text.split()) + 1  # type: ignore[method-assign]
    with pytest.raises(RequestFailedError, match="no text of words has exactly 16 tokens"):
        loaded().rehearse(WORKLOAD)


def test_what_is_not_covered_is_said(loaded: Callable[..., RequestsSubject]) -> None:
    subject = loaded()
    assert subject.coverage(Workload(16, 4, depth=8)).nothing
    assert subject.coverage(Workload(16, 0, embed=True)).nothing
    with pytest.raises(NotCoveredError):
        subject.prompt_slice(1)
    with pytest.raises(NotCoveredError):
        subject.inject_slowdown(0.1)


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(EngineError, match=r"cannot be reached \(.*\).*: start it, or correct the URL"):
        describe(Address("openai", "http://127.0.0.1:9"), 2.0)


def test_a_certificate_that_nobody_vouches_for_is_an_error(tmp_path: Path) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("there is no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    subprocess.run([program, *made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as listening:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(EngineError, match=r"cannot be reached \(.*certificate verify failed"):
            describe(Address("openai", f"https://127.0.0.1:{listening.server_port}"), 5.0)
        listening.shutdown()


def test_the_official_client_reads_what_the_script_says(server: Script) -> None:
    with closing(openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)) as client:
        (found,) = client.models.list().data
        chunks = list(
            client.completions.create(
                model=found.id,
                prompt="one two",
                max_tokens=3,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    assert "".join(each.choices[0].text for each in chunks if each.choices) == " word word word"
    (usage,) = [each.usage for each in chunks if each.usage is not None]
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("openai", "openai has to be told where it is; write openai@http://HOST:PORT"),
        ("openai@0.3.36", "'0.3.36' is not a place of openai"),
        ("openai@ftp://host", "write http://HOST:PORT"),
        (f"openai@http://me:{HUSH}@host", f"set {API_KEY} in the environment"),
        (f"openai@http://host/v1?key={HUSH}", f"set {API_KEY} in the environment"),
        ("http://host:8000", "a server that runs is openai@http://host:8000"),
        ("llama-server@http://host", "is not a place of llama-server"),
        ("b11434", "llama-server@b11434 for its prebuilt server"),
    ],
)
def test_a_url_in_the_wrong_place_is_answered_with_the_right_one(
    text: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_build(text, tmp_path)
    assert reason in str(caught.value)
    assert HUSH not in str(caught.value)
    assert "\n" not in str(caught.value)
