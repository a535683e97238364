"""text-generation-webui: its own routes beside OpenAI's, after what a real one answered."""

from __future__ import annotations

import json
import sys
import urllib.request
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import openai
import pytest

from pytest_llm.builds.reference import parse_build
from pytest_llm.engines import describe, engine_for
from pytest_llm.engines.textgen import endpoint
from pytest_llm.engines.textgen import engine as textgen_engine
from pytest_llm.errors import LoadRefusedError, RequestFailedError
from pytest_llm.records import Address, LoadOptions, Model, Subject, Workload
from pytest_llm.records.inside import ServerInside
from tests.openai_server import Script, answering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_llm.engines.servers.requests import RequestsSubject

WORKLOAD = Workload(prompt_tokens=16, generate_tokens=8)
FILE = "Tiny.Q4.gguf"


class Textgen:
    """What a stand-in has loaded."""

    def __init__(self, server: Script) -> None:
        self.server = server
        self.model = FILE
        self.loader = "llama.cpp"
        server.routes = {
            ("GET", "/v1/internal/model/info"): self._info,
            ("POST", "/v1/internal/model/load"): self._load,
            ("POST", "/v1/internal/model/unload"): self._unload,
            ("POST", "/v1/internal/token-count"): lambda body: (
                200,
                {"length": server.prompt_tokens(body["text"])},
            ),
        }

    def _info(self, _: dict[str, Any]) -> tuple[int, Any]:
        return 200, {"model_name": self.model, "lora_names": [], "loader": self.loader}

    def _load(self, body: dict[str, Any]) -> tuple[int, Any]:
        if body["model_name"] != FILE:
            return 400, {"detail": "Failed to load the model."}
        self.model = body["model_name"]
        return 200, "OK"

    def _unload(self, _: dict[str, Any]) -> tuple[int, Any]:
        self.model = "None"
        return 200, "OK"


@pytest.fixture
def textgen() -> Iterator[Textgen]:
    with answering() as server:
        yield Textgen(server)


@pytest.fixture
def loaded(textgen: Textgen, tmp_path: Path) -> Iterator[Callable[..., RequestsSubject]]:
    started: list[RequestsSubject] = []

    def start(file: str = FILE) -> RequestsSubject:
        path = str(tmp_path / file)
        model = Model("tiny", path, "0" * 64, 4, "llama", "Q4_1", 1, 1, 1, 1, 1, 1, 1)
        build = Address("textgen", textgen.server.url)
        options = LoadOptions(n_ctx=1024, n_threads=2, n_gpu_layers=0)
        found: RequestsSubject = engine_for(build, 5.0).start(Subject("tiny", build, options), model)  # type: ignore[assignment]
        started.append(found)
        found.load()
        return found

    yield start
    for each in started:
        each.close()


def test_what_is_loaded_is_measured_and_stays(
    textgen: Textgen, loaded: Callable[..., RequestsSubject]
) -> None:
    subject = loaded()
    subject.rehearse(WORKLOAD)
    assert len(subject.request()[1]) == 7
    subject.close()
    assert textgen.model == FILE
    streamed = [body for _, _, body in textgen.server.asked if body.get("stream")]
    assert all(body["ban_eos_token"] is True and body["model"] == FILE for body in streamed)
    assert not any("/load" in path or "/unload" in path for path, _, _ in textgen.server.asked)


def test_another_file_of_the_same_name_is_found(
    loaded: Callable[..., RequestsSubject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other" / FILE
    other.parent.mkdir()
    other.write_bytes(b"other")
    inside = ServerInside("llama-server", (), model=str(other))
    monkeypatch.setattr(endpoint, "server_inside_of", lambda url, model: inside)
    with pytest.raises(LoadRefusedError, match=rf"other/{FILE} has other content than .*{FILE}: give both"):
        loaded()


def test_nothing_loaded_is_loaded_with_what_was_asked_for_and_unloaded(
    textgen: Textgen, loaded: Callable[..., RequestsSubject]
) -> None:
    textgen.model = "None"
    subject = loaded()
    (body,) = (body for path, _, body in textgen.server.asked if path.endswith("/model/load"))
    assert body["args"] == {
        "ctx_size": 1024,
        "threads": 2,
        "threads_batch": 1,
        "batch_size": 2048,
        "ubatch_size": 512,
        "gpu_layers": 0,
    }
    subject.close()
    assert textgen.model == "None"


def test_another_model_is_the_user_s_and_is_not_replaced(
    textgen: Textgen, loaded: Callable[..., RequestsSubject]
) -> None:
    textgen.model = "Other.gguf"
    with pytest.raises(LoadRefusedError, match=r"it has Other\.gguf loaded, and the model is Tiny\.Q4\.gguf"):
        loaded()
    assert textgen.model == "Other.gguf"


def test_another_loader_is_not_compared_with_llama_cpp(
    textgen: Textgen, loaded: Callable[..., RequestsSubject]
) -> None:
    textgen.loader = "ExLlamav3"
    with pytest.raises(LoadRefusedError, match="has its model loaded by ExLlamav3"):
        loaded()


def test_a_file_that_is_not_in_its_folder_is_told(
    textgen: Textgen, loaded: Callable[..., RequestsSubject]
) -> None:
    textgen.model = "None"
    with pytest.raises(LoadRefusedError, match=r"Failed to load the model\., loading the model"):
        loaded("Elsewhere.gguf")


def test_its_count_may_be_a_few_tokens_off_and_no_more(
    textgen: Textgen, loaded: Callable[..., RequestsSubject]
) -> None:
    subject = loaded()
    textgen.server.counted = 1
    subject.rehearse(WORKLOAD)
    assert len(subject.request()[1]) == 7
    textgen.server.counted = 5
    with pytest.raises(RequestFailedError, match="stopped after 3 of 8 tokens"):
        subject.request()


def test_another_server_is_no_textgen(textgen: Textgen) -> None:
    textgen.server.routes.clear()
    with pytest.raises(LoadRefusedError, match="tells no model_name"):
        describe(Address("textgen", textgen.server.url), 5.0)


def test_the_official_client_gets_on_with_the_stand_in(textgen: Textgen) -> None:
    with openai.OpenAI(base_url=f"{textgen.server.url}/v1", api_key="none") as client:
        stream = client.completions.create(model=FILE, prompt="a b", max_tokens=3, stream=True)
        assert "".join(each.choices[0].text for each in stream if each.choices) == " word" * 3


SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

words = sys.argv[1:]
told = dict(zip(words, words[1:]))
assert {"--api", "--nowebui", "--portable"} <= {*words} and told["--loader"] == "llama.cpp"
print("Starting", told["--model"], file=sys.stderr, flush=True)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        data = json.dumps({"model_name": told["--model"], "loader": "llama.cpp", "words": words}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


HTTPServer(("127.0.0.1", int(told["--api-port"])), Handler).serve_forever()
"""


def test_a_command_line_is_started_headless_with_the_model_and_ends(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    build = parse_build(f"textgen@cmd:{sys.executable} {script} --no-mmap", tmp_path)
    model = Model("tiny", str(tmp_path / FILE), "0" * 64, 4, "llama", "Q4_1", 1, 1, 1, 1, 1, 1, 1)
    options = LoadOptions(n_ctx=1024, n_threads=2, n_gpu_layers=0)
    engine = textgen_engine.Textgen(build, 20.0)
    subject = engine.start(Subject("tiny", build, options), model)
    with closing(subject):
        subject.load()
        url = subject.build.where
        with urllib.request.urlopen(f"{url}/v1/internal/model/info", timeout=5) as answer:
            words = json.loads(answer.read())["words"]
    assert words[0] == "--no-mmap"
    told = dict(pairwise(words))
    assert (told["--ctx-size"], told["--threads"], told["--gpu-layers"]) == ("1024", "2", "0")
    assert (told["--model-dir"], told["--model"]) == (str(tmp_path), FILE)
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=5)
    assert engine.describe().where.endswith("server.py --no-mmap")
    engine.close()
