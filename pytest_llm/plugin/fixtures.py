"""The fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.plugin.state import BENCHMARK, FINDING, FUNCTIONAL, bench_of

if TYPE_CHECKING:
    from pytest_llm.machine.memory.fixture import MemoryWatch
    from pytest_llm.plugin.declared import Choice
    from pytest_llm.records import Run
    from pytest_llm.records.generation import GGUFModel


@pytest.fixture
def _llm_choice(request: pytest.FixtureRequest) -> Choice:
    """Which combination of the lists in its markers a test runs on."""
    choice: Choice = request.param.choice
    return choice


@pytest.fixture
def llm_bench(request: pytest.FixtureRequest) -> Run:
    """The run record of this benchmark: every metric an attribute with a value, a unit and samples."""
    run = request.node.stash[FINDING].run
    assert run is not None
    return run  # type: ignore[no-any-return]


@pytest.fixture
def llm_memory() -> MemoryWatch:
    """The memory of this process or any other: peaks by kind, what is held now, what leaks by the token."""
    from pytest_llm.machine.memory.fixture import MemoryWatch

    return MemoryWatch()


@pytest.fixture
def gguf_model(request: pytest.FixtureRequest) -> GGUFModel:
    """The loaded model that the llm_model marker names: generate, stream, tokenize, top_logprobs and more."""
    from pytest_llm.errors import LLMBenchError
    from pytest_llm.plugin.messages import message
    from pytest_llm.plugin.progress import progress_of

    stash = request.node.stash
    subject = stash[FUNCTIONAL] if FUNCTIONAL in stash else stash[BENCHMARK].subject
    try:
        return bench_of(request.config).loaded.get(subject, progress_of(request.config))
    except LLMBenchError as error:
        # `pytest.fail` would report two exceptions.
        raise pytest.fail.Exception(message(error), pytrace=False) from None
