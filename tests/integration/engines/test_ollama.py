"""Ollama: a file imported, measured and removed, by the requests that its source has; and bad neighbours."""

from __future__ import annotations

import hashlib
import json
import shlex
import socket
import sys
from contextlib import closing
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import ollama
import pytest

from pytest_llm.builds.provider import Provider
from pytest_llm.builds.reference import parse_build
from pytest_llm.engines import describe, engine_for
from pytest_llm.engines.ollama.engine import Ollama, url_of
from pytest_llm.errors import (
    EngineError,
    LoadRefusedError,
    NotCoveredError,
    RequestFailedError,
    WorkerDiedError,
)
from pytest_llm.records import Address, LoadOptions, Model, Program, Subject, Workload
from tests import TESTS
from tests.ollama_server import VERSION, Script, answering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_llm.engines.servers.requests import RequestsSubject
    from tests.integration.conftest import Project

WORKLOAD = Workload(prompt_tokens=16, generate_tokens=4)
OPTIONS = LoadOptions(n_ctx=1024, n_threads=2, n_gpu_layers=0)


@pytest.fixture
def server() -> Iterator[Script]:
    with answering() as found:
        yield found


@pytest.fixture
def model(tmp_path: Path) -> Model:
    path = tmp_path / "Tiny.gguf"
    path.write_bytes(b"GGUF and so on")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Model("tiny", str(path), digest, 14, "llama", "Q4_1", 1, 1, 1, 1, 1, 1, 1)


@pytest.fixture
def loaded(server: Script, model: Model) -> Iterator[Callable[..., RequestsSubject]]:
    started: list[RequestsSubject] = []
    build = Address("ollama", server.url)
    engine = Ollama(build, 5.0)

    def start(of: Model = model) -> RequestsSubject:
        started.append(engine.start(Subject(of.name, build, OPTIONS), of))
        started[-1].load()
        return started[-1]

    yield start
    for each in started:
        each.close()
    engine.close()
    assert not any(tag.startswith("pytest-llm") for tag in server.models)


def test_what_one_session_imports_serves_the_next_and_nothing_stays(
    server: Script, loaded: Callable[..., RequestsSubject], model: Model
) -> None:
    for _ in range(3):
        loaded().close()
    assert server.paths().count(("POST", "/api/create")) == 1
    assert server.loaded == {}


def test_what_was_imported_goes_with_its_provider(server: Script, model: Model, tmp_path: Path) -> None:
    build = Address("ollama", server.url)
    with closing(Provider(tmp_path / "cache", 5.0)) as provider:
        for _ in range(2):
            engine = provider.engine(build, lambda _: None)
            with closing(engine.start(Subject(model.name, build, OPTIONS), model)) as subject:
                subject.load()
        assert len(server.models) == 1
    assert server.models == {}


def test_a_file_is_imported_measured_and_removed_again(
    server: Script, loaded: Callable[..., RequestsSubject], model: Model
) -> None:
    server.models["mine:latest"] = "sha256:of-the-user"
    subject = loaded()
    assert str(subject.build) == f"ollama {VERSION}"
    assert subject.effective_options() == {"n_ctx": 1024}
    subject.rehearse(WORKLOAD)
    first, gaps = subject.request()
    assert first > 0
    assert len(gaps) == 3
    subject.close()

    blob = f"/api/blobs/sha256:{model.sha256}"
    paths = server.paths()
    assert paths[:7] == [
        ("GET", "/api/version"),
        ("GET", "/api/ps"),
        ("HEAD", blob),
        ("POST", blob),
        ("POST", "/api/create"),
        ("POST", "/api/generate"),
        ("GET", "/api/ps"),
    ]
    assert paths[-1] == ("POST", "/api/generate")
    assert server.asked[-1][2] == {"model": server.asked[4][2]["model"], "keep_alive": 0}
    assert server.loaded == {}
    streamed = [body for _, _, body in server.asked if body and body.get("stream")]
    prompts = [text for text, _ in groupby(body["prompt"] for body in streamed)]  # a probe is sent twice
    assert len(prompts) >= 3
    assert all(one.split()[0] != other.split()[0] for one, other in pairwise(prompts))
    for body in streamed:
        assert (body["raw"], body["truncate"], body["shift"]) == (True, False, False)
        assert body["options"] == {
            "num_ctx": 1024,
            "num_batch": 512,
            "num_thread": 2,
            "use_mmap": True,
            "num_gpu": 0,
            "num_predict": body["options"]["num_predict"],
            "temperature": 0.0,
            "seed": 1,
        }
    # The very options that are measured have been loaded, and nothing was loaded again.
    (load,) = (
        body
        for _, path, body in server.asked
        if path == "/api/generate" and "prompt" not in body and body["keep_alive"]
    )
    assert load["options"].items() <= streamed[0]["options"].items()


def test_a_model_of_the_user_s_is_asked_for_by_its_tag_and_left_alone(
    server: Script, loaded: Callable[..., RequestsSubject], model: Model
) -> None:
    server.models["llama3.1:8b"] = "sha256:0"
    server.loaded["llama3.1:8b"] = {"num_ctx": 4096}
    subject = loaded(replace(model, name="ollama:llama3.1:8b"))
    subject.rehearse(WORKLOAD)
    subject.request()
    subject.close()
    assert set(server.models) == {"llama3.1:8b"}
    assert set(server.loaded) == {"llama3.1:8b"}  # as before
    assert not any(
        path.startswith(("/api/blobs", "/api/create", "/api/delete")) for _, path in server.paths()
    )


def test_requests_that_do_not_count_are_sent_again(
    server: Script, loaded: Callable[..., RequestsSubject]
) -> None:
    subject = loaded()
    subject.rehearse(WORKLOAD)
    server.loads = 1.4
    with pytest.raises(
        RequestFailedError, match="4 requests in a row were discarded; the last one loaded the"
    ):
        subject.request()
    server.loads = 0.001
    server.reason, server.short = "stop", 1
    with pytest.raises(RequestFailedError, match=r"stopped after 3 of 4 tokens \(stop\)"):
        subject.request()
    server.short, server.reason = 0, "length"
    assert len(subject.request()[1]) == 3
    assert "discarded a request: it loaded the model again, for 1.4 s" in subject.log()


def test_a_text_that_repeats_itself_is_dropped(
    server: Script, loaded: Callable[..., RequestsSubject]
) -> None:
    subject = loaded()
    subject.rehearse(WORKLOAD)
    server.equal = True
    subject.rehearse(WORKLOAD)  # four tokens are no more than 30
    with pytest.raises(RequestFailedError, match="dropped a request after more than 30 equal pieces"):
        subject.rehearse(Workload(16, 64))


def test_a_count_that_is_not_as_sent_is_found(server: Script, loaded: Callable[..., RequestsSubject]) -> None:
    subject = loaded()
    subject.rehearse(WORKLOAD)
    server.more = -4
    with pytest.raises(RequestFailedError, match="read a prompt of 16 tokens as 11"):
        subject.request()


def test_parallel_requests_are_sent_at_once(loaded: Callable[..., RequestsSubject]) -> None:
    subject = loaded()
    parallel = Workload(16, 4, parallel=3)
    assert subject.coverage(parallel).under_load
    subject.rehearse(parallel)
    assert [len(gaps) for _, gaps in subject.requests_at_once()] == [3, 3, 3]


def test_what_it_is_not_asked_for_is_not_covered(loaded: Callable[..., RequestsSubject]) -> None:
    subject = loaded()
    assert subject.coverage(Workload(embed=True, generate_tokens=0)).nothing
    assert "depth 0" in subject.coverage(Workload(depth=8)).reason
    with pytest.raises(NotCoveredError):
        subject.prompt_slice(4)


@pytest.mark.parametrize(
    ("path", "status", "error", "told"),
    [
        (
            "/api/generate",
            503,
            "server busy, please try again.  maximum pending requests exceeded",
            "OLLAMA_MAX_QUEUE",
        ),
        (
            "/api/generate",
            500,
            "llama-server process has terminated: exit status 1: error loading model",
            "loading the model",
        ),
        ("/api/generate", 400, "invalid option", "its message says what to change"),
        ("/api/version", 404, "page not found", "another server is openai@URL"),
        ("/api/create", 400, "unsupported", "importing the file"),
    ],
)
def test_what_it_refuses_is_one_line(
    server: Script, loaded: Callable[..., RequestsSubject], path: str, status: int, error: str, told: str
) -> None:
    server.status[path] = (status, error)
    with pytest.raises(LoadRefusedError) as caught:
        loaded()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert error.split()[0] in str(caught.value)


def test_a_tag_that_is_not_there_is_answered_with_the_way_to_find_it(
    server: Script, loaded: Callable[..., RequestsSubject], model: Model
) -> None:
    with pytest.raises(
        LoadRefusedError, match="model 'nope' not found, loading the model: `ollama list` shows"
    ):
        loaded(replace(model, name="ollama:nope"))


def test_a_split_model_is_not_imported(loaded: Callable[..., RequestsSubject], model: Model) -> None:
    with pytest.raises(LoadRefusedError, match="split into 3 files, which Ollama does not import"):
        loaded(replace(model, parts=3))


def test_a_file_that_changed_meanwhile_is_not_taken(
    server: Script, loaded: Callable[..., RequestsSubject], model: Model
) -> None:
    Path(model.path).write_bytes(b"GGUF and other")
    with pytest.raises(LoadRefusedError, match="digest mismatch"):
        loaded()
    assert server.models == {}


def test_another_context_than_asked_for_is_an_error(
    server: Script, loaded: Callable[..., RequestsSubject]
) -> None:
    server.context = 4096
    with pytest.raises(LoadRefusedError, match="a context of 4096 tokens where n_ctx=1024 was asked for"):
        loaded()


def test_an_error_in_the_midst_of_a_stream_is_one_line(
    server: Script, loaded: Callable[..., RequestsSubject]
) -> None:
    subject = loaded()
    subject.rehearse(WORKLOAD)
    server.error = "an error was encountered while running the model: unexpected EOF"
    with pytest.raises(RequestFailedError, match="answered 200: an error was encountered"):
        subject.request()


def test_where_nothing_listens_is_told_with_the_fix(model: Model) -> None:
    build = Address("ollama", "http://127.0.0.1:9")
    with (
        closing(engine_for(build, 5.0).start(Subject("tiny", build, OPTIONS), model)) as subject,
        pytest.raises((LoadRefusedError, WorkerDiedError), match=r"start it \(ollama serve\)"),
    ):
        subject.load()


def test_it_is_described_by_its_version(server: Script) -> None:
    build = describe(Address("ollama", server.url), 5.0)
    assert (build.engine, build.version) == ("ollama", VERSION)


def test_its_output_is_not_compared(server: Script, model: Model) -> None:
    build = Address("ollama", server.url)
    with pytest.raises(NotCoveredError):
        engine_for(build, 5.0).start_generation(Subject("tiny", build, OPTIONS), model)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("https://box.example", "https://box.example:11434"),
        ("http://box.example:80/", "http://box.example:80"),
    ],
)
def test_the_name_alone_is_where_its_own_variable_says(
    host: str, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert url_of(host) == url
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    with pytest.raises(EngineError, match="ollama: the server cannot be reached"):
        describe(parse_build("ollama", tmp_path), 0.2)


def test_the_official_client_gets_on_with_the_stand_in(server: Script, model: Model) -> None:
    client = ollama.Client(server.url)
    with closing(client._client):  # which it leaves open
        digest = client.create_blob(model.path)
        assert digest == f"sha256:{model.sha256}"
        made = client.create("probe", files={"model.gguf": digest})
        assert made.status == "success"
        assert [each.model for each in client.list().models] == ["probe:latest"]
        options = {"num_predict": 3, "num_ctx": 512}
        parts = [*client.generate("probe", "One two three", raw=True, stream=True, options=options)]
        assert "".join(each.response or "" for each in parts) == " word0 word1 word2"
        assert (parts[-1].done, parts[-1].done_reason) == (True, "length")
        assert (parts[-1].prompt_eval_count, parts[-1].eval_count) == (4, 3)
        whole = client.generate("probe", "One", raw=True, options=options)
        assert (whole.response, whole.eval_count) == (" word0 word1 word2", 3)
        (running,) = client.ps().models
        assert (running.model, running.context_length) == ("probe:latest", 512)
        assert client.delete("probe").status == "success"
        with pytest.raises(ollama.ResponseError, match="not found"):
            client.generate("probe", "One")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The stand-in as a program that is called as Ollama is."""
    found = tmp_path / "ollama"
    found.write_text(
        f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(TESTS.parent))} exec {shlex.quote(sys.executable)} "
        '-m tests.ollama_server "$@"\n'
    )
    found.chmod(0o755)
    return found


def test_one_that_is_installed_is_started_with_a_store_of_its_own_and_ends(
    program: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "0.0.0.0:1")
    monkeypatch.setenv("OLLAMA_MODELS", "/of/the/user")
    build = Program("ollama", str(program))
    engine = Ollama(build, 20.0)
    assert engine.describe().version == VERSION
    urls = set()
    for _ in range(2):
        with closing(engine.start(Subject(model.name, build, OPTIONS), model)) as subject:
            subject.load()
            subject.rehearse(WORKLOAD)
            assert len(subject.request()[1]) == 3
            urls.add(subject.build.where)
            assert listening(subject.build.where)
    (url,) = urls
    assert not listening(url)
    engine.close()


def listening(url: str) -> bool:
    with socket.socket() as found:
        return found.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == 0


def test_one_that_does_not_start_shows_its_last_lines(program: Path, model: Model) -> None:
    program.write_text("#!/bin/sh\necho 'Error: no such thing' >&2\nexit 3\n")
    build = Program("ollama", str(program))
    engine = Ollama(build, 5.0)
    with pytest.raises(EngineError, match="it ended before it was ready") as caught:
        engine.start(Subject(model.name, build, OPTIONS), model)
    engine.close()
    assert "Error: no such thing" in "\n".join(caught.value.log)


def test_one_that_never_answers_is_ended(program: Path, model: Model) -> None:
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    build = Program("ollama", str(program))
    engine = Ollama(build, 1.0)
    with pytest.raises(EngineError, match="was not ready after 1 s"):
        engine.start(Subject(model.name, build, OPTIONS), model)
    engine.close()


SUITE = """
@pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=8)
@pytest.mark.llm_first_token_latency(max="5 s")
@pytest.mark.llm_inter_token_latency(max="5 s")
def test_chat(llm_bench):
    assert llm_bench.total_tokens_per_second.value > 0
"""


def test_tests_measure_it_like_any_other_build(server: Script, project: Project) -> None:
    project.write(SUITE)
    result = project.run(
        "--llm-bench",
        f"--llm-candidate=ollama@{server.url}",
        f"--llm-model={project.model}",
        "--llm-effort=quick",
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [f"candidate ollama {VERSION}*", "*first-token latency*pass", "*inter-token latency*pass"]
    )
    assert server.models == {}
    assert server.paths().count(("POST", "/api/create")) == 1


def test_two_versions_are_compared_as_any_two_builds(program: Path, project: Project, tmp_path: Path) -> None:
    older = tmp_path / "older"
    older.write_text(program.read_text().replace("exec ", "STAND_IN_VERSION=0.32.0 exec "))
    older.chmod(0o755)
    project.write(
        """
@pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=8)
@pytest.mark.llm_no_regression("inter_token_latency_p50", tolerance="90%")
def test_chat(llm_bench):
    pass
"""
    )
    file = tmp_path / "results.json"
    project.run(
        "--llm-bench",
        f"--llm-candidate=ollama@bin:{program}",
        f"--llm-against=ollama@bin:{older}",
        f"--llm-model={project.model}",
        "--llm-effort=quick",
        f"--llm-json={file}",
    )
    document = json.loads(file.read_text())
    # How fast a script is says nothing: that both were measured in the same sessions is what counts.
    assert (document["candidate"]["version"], document["reference"]["version"]) == (VERSION, "0.32.0")
    (pair,) = document["pairs"].values()
    sides = [document["runs"][pair[each]]["sessions"] for each in ("candidate", "reference")]
    assert len(sides[0]) == len(sides[1]) >= 3
    assert all(each["series"]["inter_token"]["values"] for side in sides for each in side)
