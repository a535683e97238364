"""The build that a suite tests."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_llm import engines, plugin
from pytest_llm.builds.provider import Provider
from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.plugin.progress import progress_of
from pytest_llm.plugin.state import bench_of
from pytest_llm.suite.contract.candidate import Candidate, not_covered, told

if TYPE_CHECKING:
    from collections.abc import Iterator

_MODEL = "smollm2-135m"


def need_the_plugin(config: pytest.Config, suite: str) -> None:
    """Refuse to run without the plugin, whose options say what is tested."""
    if not config.pluginmanager.is_registered(plugin):
        raise pytest.UsageError(
            f"pytest_llm.suite.{suite} needs the plugin of pytest-llm-bench: leave out -p no:llm_bench"
        )


@contextmanager
def candidate_of(config: pytest.Config, suite: str) -> Iterator[Candidate]:
    """Have the build under test, made first if need be."""
    bench = bench_of(config)
    reference = bench.settings.candidate
    if reference.engine != engines.DEFAULT:
        not_covered(f"the {suite} is one of {engines.DEFAULT}, the candidate is {reference}")
    model = (*bench.settings.models, _MODEL)[0]
    with closing(Provider(bench.settings.cache, bench.settings.timeout)) as provider:
        with told():
            engine = provider.engine(reference, progress_of(config).preparing)
        if not isinstance(engine, LlamaCppPython):
            not_covered(
                f"the {suite} is one of {engines.DEFAULT}, which cannot load the library of {reference}"
            )
        yield Candidate(engine, reference, bench.models, model)
