"""A real llama-server, built once from a release's own source archive and kept in the cache."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from pytest_llm.builds.provider import build_store
from pytest_llm.builds.reference import parse_build
from pytest_llm.engines.llama_server.engine import LlamaServer
from pytest_llm.models import ModelStore, builtin_entries
from pytest_llm.records import DraftModel, LoadOptions, Model, Subject
from pytest_llm.system.sandbox import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.engines.llama_server.loaded import LoadedServer
    from pytest_llm.records import BuildReference
    from pytest_llm.system.sandbox import SandboxMode

# As the installed llama-cpp-python is compiled: see [tool.uv.extra-build-variables] of pyproject.toml.
BUILD = "llama-server@0.3.36[-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF]"
PATIENCE = 120.0


class Start(Protocol):
    """Starts a server with SmolLM2; it is closed after the test."""

    def __call__(
        self,
        *,
        on_port: bool = False,
        mode: SandboxMode = "on",
        load: bool = True,
        draft: str = "",
        **options: Any,
    ) -> LoadedServer: ...


@pytest.fixture(scope="session")
def server_build() -> BuildReference:
    return parse_build(BUILD, Path.cwd())


@pytest.fixture(scope="session")
def server_program(server_build: BuildReference) -> Iterator[Path]:
    def tell(line: str) -> None:
        print(line, file=sys.stderr)

    with closing(build_store(Path(os.environ["PYTEST_LLM_CACHE"]))) as store:
        yield Path(store.ready(server_build, tell))


@pytest.fixture(scope="session")
def smollm2() -> Model:
    store = ModelStore(Path(os.environ["PYTEST_LLM_CACHE"]), builtin_entries(), Path.cwd())
    return store.resolve("smollm2-135m")


@pytest.fixture
def start(smollm2: Model, server_build: BuildReference, server_program: Path) -> Iterator[Start]:
    started: list[LoadedServer] = []

    def begin(
        *,
        on_port: bool = False,
        mode: SandboxMode = "on",
        load: bool = True,
        draft: str = "",
        **options: Any,
    ) -> LoadedServer:
        options = {"n_ctx": 512, "n_threads": 1, "n_threads_batch": 1, "draft_model": draft, **options}
        chosen = LoadOptions(**options)
        own = DraftModel(draft, smollm2.path, smollm2.sha256, smollm2.opened) if draft else None
        model = replace(smollm2, draft=own)
        engine = LlamaServer(server_build, PATIENCE, str(server_program), Policy(mode))
        engine.on_port = on_port
        started.append(engine.start(Subject(smollm2.name, server_build, chosen), model))
        if load:
            started[-1].load()
        return started[-1]

    yield begin
    for each in started:
        each.close()
