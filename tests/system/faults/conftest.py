"""Real workers, healthy and broken on purpose."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.models import ModelStore, builtin_entries
from pytest_llm.records import Installed, LoadOptions, Model, Subject

from .preload import Fault, compile_library

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.engines.llama_cpp_python.client import LoadedModel

# Far above what anything here takes: a busy machine must not look like a hanging worker.
PATIENCE = 120.0


class Start(Protocol):
    """Starts a worker and loads SmolLM2; it is closed after the test."""

    def __call__(
        self, fault: Fault | None = None, *, timeout: float = PATIENCE, load: bool = True, **options: Any
    ) -> LoadedModel: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform.startswith("linux"):
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="preloading, /proc and parent-death signals are Linux's"))


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_library(tmp_path_factory.mktemp("preload"))


@pytest.fixture(scope="session")
def smollm2() -> Model:
    store = ModelStore(Path(os.environ["PYTEST_LLM_CACHE"]), builtin_entries(), Path.cwd())
    return store.resolve("smollm2-135m")


@pytest.fixture(scope="module")
def starter(smollm2: Model, library: Path) -> Iterator[Start]:
    """Like ``start``, for what a whole module shares."""
    yield from _starting(smollm2, library)


@pytest.fixture
def start(smollm2: Model, library: Path) -> Iterator[Start]:
    yield from _starting(smollm2, library)


def _starting(model: Model, library: Path) -> Iterator[Start]:
    started: list[LoadedModel] = []
    build = Installed("llama-cpp-python")

    def start(
        fault: Fault | None = None, *, timeout: float = PATIENCE, load: bool = True, **options: Any
    ) -> LoadedModel:
        # One thread: on a busy machine, two that wait for each other take tens of times as long.
        subject = Subject(model.name, build, LoadOptions(**{"n_ctx": 512, **options}))
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (fault.environment(library) if fault else {}).items():
                patch.setenv(name, value)
            loaded = LlamaCppPython(build, timeout).start(subject, model)
        started.append(loaded)
        if load:
            loaded.load()
        return loaded

    try:
        yield start
    finally:
        for loaded in started:
            loaded.close()
