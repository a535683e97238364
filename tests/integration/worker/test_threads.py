"""Threads that the environment takes away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

TWO_THREADS = """
    @pytest.mark.llm_model(n_threads=2)
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=4)
    @pytest.mark.llm_tokens_per_second(min=0.001)
    def test_threads(llm_bench):
        pass

    @pytest.mark.llm_model(n_threads=2)
    def test_count(gguf_model):
        gguf_model.generate("hello", max_tokens=2)
"""


@pytest.fixture
def two_threads(project: Project) -> Project:
    project.write(TWO_THREADS)
    return project


def test_a_limit_of_openmp_ends_benchmarks_and_generation_by_name(
    two_threads: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
    found = two_threads.failures()
    assert set(found) == {"test_threads", "test_count"}
    for text in found.values():
        assert "1 thread works where n_threads=2 asks for 2: OMP_THREAD_LIMIT=1 is set" in text


def test_a_build_that_leaves_its_second_thread_idle_is_not_measured(
    two_threads: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_STAND_IN_FEATURES", "OPENMP")  # and one thread all the same
    found = two_threads.failures("-k", "test_threads")
    assert "1 thread works where n_threads=2 asks for 2" in found["test_threads"]
