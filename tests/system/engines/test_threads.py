"""Threads of the real engine that the environment takes away."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.errors import LoadRefusedError, RequestFailedError
from pytest_llm.records import Workload

if TYPE_CHECKING:
    from .conftest import Start

SMALL = Workload(prompt_tokens=4, generate_tokens=2)
TWO: dict[str, Any] = {"n_threads": 2, "n_threads_batch": 2}
pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")


def test_a_limit_of_one_thread_is_refused_at_the_load(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
    with pytest.raises(LoadRefusedError, match=r"1 thread works where n_threads=2 .* OMP_THREAD_LIMIT=1"):
        start(**TWO)
    start(n_threads=1, n_threads_batch=1).rehearse(SMALL)


def test_a_limit_that_only_one_phase_breaks_is_refused_too(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
    with pytest.raises(LoadRefusedError, match="OMP_THREAD_LIMIT=1"):
        start(n_threads=1, n_threads_batch=2)


def test_two_threads_on_one_processor_are_counted_as_one(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Passive, since threads that spin on one processor hold each other up for minutes.
    monkeypatch.setenv("OMP_PLACES", "{0}")
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    with pytest.raises(RequestFailedError, match=r"1 thread works .* OMP_PLACES=\{0\} is set"):
        start(**TWO).rehearse(SMALL)


@pytest.mark.parametrize("policy", ["active", "passive"])
def test_both_threads_work_however_they_wait(
    policy: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    monkeypatch.setenv("OMP_PROC_BIND", "true")
    loaded = start(**TWO)
    loaded.rehearse(SMALL)
    assert loaded.effective_options()["threads_at_work"] == 2
