"""LM Studio: its models by its own protocol, requests by OpenAI's, after its documentation."""

from __future__ import annotations

import sys
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import openai
import pytest

from pytest_llm.engines import describe, engine_for
from pytest_llm.engines.lmstudio.engine import LMStudio
from pytest_llm.engines.lmstudio.store import holds_other
from pytest_llm.engines.servers.engine import ServerEngine
from pytest_llm.errors import EngineError, LoadRefusedError, RequestFailedError
from pytest_llm.records import Address, LoadOptions, Model, Program, Subject, Workload
from tests.openai_server import Script, answering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_llm.engines.servers.requests import RequestsSubject

WORKLOAD = Workload(prompt_tokens=16, generate_tokens=8)
KEY, BYTES = "smollm2-135m-instruct", 98_362_432
RUNTIME = {"name": "llama.cpp-linux-x86_64-avx2", "version": "1.3.0", "supported_formats": ["gguf"]}


class LMStudioServer:
    """What a stand-in has."""

    def __init__(self, server: Script) -> None:
        self.server = server
        self.models = [self.model(KEY, BYTES)]
        self.instances: list[str] = []
        self.context = 0
        server.routes = {
            ("GET", "/api/v1/models"): lambda _: (200, {"models": self.models}),
            ("POST", "/api/v1/models/load"): self._load,
            ("POST", "/api/v1/models/unload"): self._unload,
            ("POST", "/api/v0/completions"): self._telling,
        }

    @staticmethod
    def model(key: str, size: int) -> dict[str, Any]:
        return {"type": "llm", "publisher": "local", "key": key, "size_bytes": size, "loaded_instances": []}

    def _load(self, body: dict[str, Any]) -> tuple[int, Any]:
        config = {name: each for name, each in body.items() if name not in ("model", "echo_load_config")}
        config["context_length"] = self.context or config["context_length"]
        self.instances.append(f"{body['model']}:2")
        told = {"type": "llm", "instance_id": self.instances[-1], "load_time_seconds": 0.9}
        return 200, {**told, "status": "loaded", "load_config": config}

    def _unload(self, body: dict[str, Any]) -> tuple[int, Any]:
        self.instances.remove(body["instance_id"])
        return 200, body

    def _telling(self, _: dict[str, Any]) -> tuple[int, Any]:
        return 200, {"choices": [], "usage": {}, "stats": {}, "runtime": RUNTIME}


@pytest.fixture
def studio() -> Iterator[LMStudioServer]:
    with answering() as server:
        yield LMStudioServer(server)


@pytest.fixture
def loaded(studio: LMStudioServer, tmp_path: Path) -> Iterator[Callable[..., RequestsSubject]]:
    started: list[RequestsSubject] = []

    def start(**options: Any) -> RequestsSubject:
        path = tmp_path / "local" / KEY / "SmolLM2-135M-Instruct.Q4_1.gguf"
        model = Model(
            f"lmstudio:local/{KEY}", str(path), "0" * 64, BYTES, "llama", "Q4_1", 1, 1, 1, 1, 1, 1, 1
        )
        build = Address("lmstudio", studio.server.url)
        chosen = LoadOptions(**{"n_ctx": 1024, "n_threads": 2, **options})
        found: RequestsSubject = engine_for(build, 5.0).start(Subject(model.name, build, chosen), model)  # type: ignore[assignment]
        started.append(found)
        found.load()
        return found

    yield start
    for each in started:
        each.close()


def test_an_instance_of_its_own_is_loaded_measured_and_unloaded(
    studio: LMStudioServer, loaded: Callable[..., RequestsSubject]
) -> None:
    subject = loaded(flash_attn="off")
    assert subject.build.release == "lmstudio llama.cpp-linux-x86_64-avx2 1.3.0"
    assert subject.effective_options() == {"n_ctx": 1024, "n_batch": 2048, "flash_attn": "off"}
    subject.rehearse(WORKLOAD)
    assert len(subject.request()[1]) == 7
    assert studio.instances == [f"{KEY}:2"]
    streamed = [body for _, _, body in studio.server.asked if body.get("stream")]
    assert {body["model"] for body in streamed} == {f"{KEY}:2"}
    subject.close()
    assert studio.instances == []


def test_the_same_bytes_are_chosen_by_name_and_length(
    studio: LMStudioServer, loaded: Callable[..., RequestsSubject]
) -> None:
    studio.models = [
        studio.model("other", BYTES),
        studio.model(KEY, BYTES),
        studio.model("larger", 2 * BYTES),
    ]
    assert loaded().effective_options()["n_ctx"] == 1024
    studio.models = [studio.model("one", BYTES), studio.model("two", BYTES)]
    with pytest.raises(LoadRefusedError, match=r"several of its models have the 98362432 bytes .*: one, two"):
        loaded()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with LM Studio's store."""
    monkeypatch.setenv("HOME", str(tmp_path))
    store = tmp_path / ".lmstudio" / "models"
    (store / "of-the-user" / "model").mkdir(parents=True)
    return store


@pytest.mark.parametrize("listed_bytes", [BYTES + 1, BYTES], ids=["it is not there", "other content"])
def test_a_file_is_put_into_its_store_and_taken_out_again(
    studio: LMStudioServer, loaded: Callable[..., RequestsSubject], home: Path, listed_bytes: int
) -> None:
    studio.models = [studio.model(KEY, listed_bytes)]
    with (home / "of-the-user" / "model" / "other.gguf").open("wb") as file:
        file.truncate(listed_bytes)
    before = sorted(home.rglob("*"))
    links: list[Path] = []

    def listed(_: dict[str, Any]) -> tuple[int, Any]:
        links[:] = home.glob("pytest-llm/*/*.gguf")
        ours = [studio.model(f"pytest-llm/{each.stem}", BYTES) for each in links]
        return 200, {"models": [*studio.models, *ours]}

    studio.server.routes["GET", "/api/v1/models"] = listed
    subject = loaded()
    (link,) = links
    assert link.is_symlink()
    assert studio.instances == [f"pytest-llm/{link.stem}:2"]
    subject.close()
    assert sorted(home.rglob("*")) == before


def test_files_of_equal_length_are_told_apart_by_their_content(home: Path) -> None:
    model = Model("m", "m.gguf", sha256(b"ours").hexdigest(), 4, "llama", "Q4_1", 1, 1, 1, 1, 1, 1, 1)
    assert not holds_other(model, [home, home / "missing"])
    (home / "longer.gguf").write_bytes(b"longer")
    (home / "broken.gguf").symlink_to(home / "nowhere")
    assert not holds_other(model, [home])
    (home / "other.gguf").write_bytes(b"else")
    assert holds_other(model, [home])
    (home / "of-the-user" / "ours.gguf").write_bytes(b"ours")
    assert not holds_other(model, [home])


def test_a_file_that_it_does_not_list_is_told_and_nothing_stays(
    studio: LMStudioServer,
    loaded: Callable[..., RequestsSubject],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pytest_llm.engines.lmstudio.endpoint._LISTED_SECONDS", 0.2)
    studio.models = [studio.model(KEY, BYTES + 1)]
    with pytest.raises(LoadRefusedError, match=r"does not list the link .*: import the file \(lms import\)"):
        loaded()


def test_without_a_store_the_fix_is_told(
    studio: LMStudioServer,
    loaded: Callable[..., RequestsSubject],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    studio.models = []
    with pytest.raises(LoadRefusedError, match="it has no store on this machine: import the file"):
        loaded()


def test_another_context_than_asked_for_is_an_error(
    studio: LMStudioServer, loaded: Callable[..., RequestsSubject]
) -> None:
    studio.context = 512
    with pytest.raises(LoadRefusedError, match="a context of 512 tokens where n_ctx=1024"):
        loaded()


def test_a_count_may_be_one_too_small_as_in_its_documentation(
    studio: LMStudioServer, loaded: Callable[..., RequestsSubject]
) -> None:
    subject = loaded()
    studio.server.counted = 1
    subject.rehearse(WORKLOAD)
    assert len(subject.request()[1]) == 7
    studio.server.counted = 2
    with pytest.raises(RequestFailedError, match="stopped after 6 of 8 tokens"):
        subject.request()


def test_a_key_that_is_wanted_is_told(studio: LMStudioServer, loaded: Callable[..., RequestsSubject]) -> None:
    studio.server.status["/api/v1/models"] = 401
    with pytest.raises(
        LoadRefusedError, match="answered 401: status 401, listing its models: set PYTEST_LLM_API_KEY"
    ):
        loaded()


def test_another_server_is_no_lm_studio(studio: LMStudioServer) -> None:
    studio.server.routes.clear()
    with pytest.raises(LoadRefusedError, match="lists no models as LM Studio does"):
        describe(Address("lmstudio", studio.server.url), 5.0)


def test_the_official_client_gets_on_with_the_stand_in(studio: LMStudioServer) -> None:
    with openai.OpenAI(base_url=f"{studio.server.url}/v1", api_key="none") as client:
        stream = client.completions.create(model=KEY, prompt="a b", max_tokens=3, stream=True)
        assert "".join(each.choices[0].text for each in stream if each.choices) == " word" * 3


LMS = """#!{python}
import json, os, signal, subprocess, sys
from pathlib import Path

here = Path({here!r})
words = sys.argv[1:]
with (here / "asked").open("a") as file:
    file.write(" ".join(words) + "\\n")
up = here / "up"
if words[:2] == ["daemon", "status"]:
    print(json.dumps({{"status": "running" if up.exists() else "not-running"}}))
elif words[:2] == ["daemon", "up"]:
    up.touch()
    print(json.dumps({{"status": "running", "pid": 1}}))
elif words[:2] == ["daemon", "down"]:
    up.unlink()
elif words[:2] == ["server", "start"]:
    if (here / "broken").exists():
        sys.exit("no llama.cpp runtime is installed")
    server = subprocess.Popen(
        [sys.executable, "-c", {server!r}, words[3]], start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    (here / "pid").write_text(str(server.pid))
elif words[:2] == ["server", "stop"]:
    os.kill(int((here / "pid").read_text()), signal.SIGTERM)
"""
LISTS_NONE = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "14")
        self.end_headers()
        self.wfile.write(b'{"models": []}')

HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def lms(tmp_path: Path) -> Path:
    found = tmp_path / "lms"
    found.write_text(LMS.format(python=sys.executable, here=str(tmp_path), server=LISTS_NONE))
    found.chmod(0o755)
    return found


def asked(lms: Path) -> list[str]:
    return [" ".join(line.split()[:2]) for line in (lms.parent / "asked").read_text().splitlines()]


def test_lms_starts_the_daemon_and_its_server_and_stops_both(lms: Path) -> None:
    engine = LMStudio(Program("lmstudio", str(lms)), 20.0)
    for _ in range(2):
        assert engine.describe().where.startswith("http://127.0.0.1:")
    assert asked(lms) == ["daemon status", "daemon up", "server start"]
    engine.close()
    assert asked(lms)[3:] == ["server stop", "daemon down"]
    assert not (lms.parent / "up").exists()


def test_a_daemon_of_the_user_s_is_left_alone(
    lms: Path, studio: LMStudioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lms.parent / "up").touch()
    monkeypatch.setattr(ServerEngine, "default_url", lambda _: studio.server.url)
    engine = LMStudio(Program("lmstudio", str(lms)), 20.0)
    assert engine.describe().where == studio.server.url
    engine.close()
    assert asked(lms) == ["daemon status"]
    assert (lms.parent / "up").exists()


def test_a_server_that_does_not_start_shows_its_last_lines_and_leaves_nothing(lms: Path) -> None:
    (lms.parent / "broken").touch()
    engine = LMStudio(Program("lmstudio", str(lms)), 20.0)
    with pytest.raises(EngineError, match=r"lms server start .* failed \(exit status 1\)") as caught:
        engine.describe()
    assert "no llama.cpp runtime is installed" in "\n".join(caught.value.log)
    assert asked(lms)[-1] == "daemon down"


def test_what_is_not_lms_is_told(lms: Path) -> None:
    lms.write_text("#!/bin/sh\necho hello\n")
    with pytest.raises(EngineError, match="tells no status: name lms itself"):
        LMStudio(Program("lmstudio", str(lms)), 20.0).describe()
