"""The fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.plugin import late, options
from pytest_llm.plugin.state import FINDING, bench_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.machine.memory.fixture import MemoryWatch
    from pytest_llm.plugin.loaded import ModelLoader
    from pytest_llm.records import Run
    from pytest_llm.records.generation import GGUFModel


@pytest.fixture
def _llm_choice(request: pytest.FixtureRequest) -> str:
    """Which combination of the lists in its markers a test runs on."""
    label: str = request.param
    return label


@pytest.fixture
def llm_bench(request: pytest.FixtureRequest) -> Run:
    """The run record of this benchmark: every metric an attribute with a value, a unit and samples."""
    flag = options.showing(request.config)
    if flag:
        pytest.skip(f"{flag} measures nothing")
    if FINDING not in request.node.stash:
        late.measure(request.node)
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
    from pytest_llm.checks import unmet
    from pytest_llm.errors import LLMBenchError
    from pytest_llm.plugin.collect import wants_device
    from pytest_llm.plugin.messages import message
    from pytest_llm.plugin.progress import progress_of

    bench = bench_of(request.config)
    try:
        loaded = bench.loaded.get(late.subject_of(request.node), progress_of(request.config))
        missing = unmet.missing_device(loaded.effective_options())
        if missing and wants_device(request.node, bench):
            request.node.warn(pytest.PytestWarning(unmet.sentence(missing)))
    except LLMBenchError as error:
        # `pytest.fail` would report two exceptions.
        raise pytest.fail.Exception(message(error), pytrace=False) from None
    return loaded


@pytest.fixture(scope="session")
def llm_load(request: pytest.FixtureRequest) -> ModelLoader:
    """Load a model for a module or the whole run: ``llm_load("NAME", n_ctx=2048)``, as often as you like."""
    from pytest_llm.plugin.collect import subject_of
    from pytest_llm.plugin.loaded import ModelLoader
    from pytest_llm.plugin.progress import progress_of

    bench = bench_of(request.config)
    files = {item.path: None for item in request.session.items}

    def load(model: str, load_options: Mapping[str, object]) -> GGUFModel:
        subject = subject_of(model, load_options, bench.homes.knowing(model, files), bench, "llm_load")
        return bench.loaded.get(subject, progress_of(request.config))

    return ModelLoader(load, bench.settings.models)
