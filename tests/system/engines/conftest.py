"""The installed llama-cpp-python with SmolLM2 in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.models import ModelStore, builtin_entries
from pytest_llm.records import Installed, LoadOptions, Model, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.engines.llama_cpp_python.client import LoadedModel
    from pytest_llm.records.generation import GGUFModel

BUILD = Installed("llama-cpp-python")
# Far above what anything here takes: a busy machine must not look like a hanging worker.
PATIENCE = 120.0


class Start(Protocol):
    """Starts a worker with these load options and loads SmolLM2, or another model; closes it in the end."""

    def __call__(
        self, *, load: bool = True, talking: bool = False, model: Model | None = None, **options: Any
    ) -> LoadedModel: ...


@pytest.fixture(scope="session")
def smollm2() -> Model:
    store = ModelStore(Path(os.environ["PYTEST_LLM_CACHE"]), builtin_entries(), Path.cwd())
    return store.resolve("smollm2-135m")


@pytest.fixture
def start(smollm2: Model) -> Iterator[Start]:
    yield from _starting(smollm2)


@pytest.fixture(scope="module")
def loaded(smollm2: Model) -> Iterator[LoadedModel]:
    """One subject for all tests that only measure."""
    for start in _starting(smollm2):
        yield start()


@pytest.fixture(scope="module")
def talker(smollm2: Model) -> Iterator[GGUFModel]:
    """One subject for all tests that only talk."""
    for start in _starting(smollm2):
        yield start(talking=True)


def _starting(smollm2: Model) -> Iterator[Start]:
    started: list[LoadedModel] = []

    def start(
        *, load: bool = True, talking: bool = False, model: Model | None = None, **options: Any
    ) -> LoadedModel:
        # One thread: on a busy machine, two that wait for each other take tens of times as long.
        chosen = LoadOptions(**{"n_ctx": 512, "n_threads": 1, "n_threads_batch": 1, **options})
        engine = LlamaCppPython(BUILD, PATIENCE)
        starter = engine.start_generation if talking else engine.start
        started.append(starter(Subject(smollm2.name, BUILD, chosen), model or smollm2))
        if load:
            started[-1].load()
        return started[-1]

    try:
        yield start
    finally:
        for each in started:
            each.close()
