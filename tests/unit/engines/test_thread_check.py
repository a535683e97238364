"""Threads that a load option asks for and that do not work."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from pytest_llm.engines import thread_check
from pytest_llm.engines.environment import (
    NEEDED,
    PASS,
    SPEED,
    not_passed,
    passed,
    recorded,
)
from pytest_llm.engines.llama_cpp_python.worker.threads import count_working
from pytest_llm.engines.thread_check import ThreadCheck
from pytest_llm.errors import LoadRefusedError, RequestFailedError
from pytest_llm.records import Build, LoadOptions

TWO = ThreadCheck(LoadOptions(n_threads=2, n_threads_batch=2))


def build(**environment: str) -> Build:
    return Build("fake", "1", "", "python", "CPU : OPENMP = 1", environment)


@pytest.mark.parametrize("limit", ["2", "8", "", "0", "nonsense"])
def test_a_limit_that_leaves_enough_threads_is_none(limit: str) -> None:
    TWO.check_environment(build(OMP_THREAD_LIMIT=limit))


@pytest.mark.parametrize("options", [LoadOptions(n_threads=4), LoadOptions(n_threads_batch=4)])
def test_a_limit_below_either_number_of_threads_refuses_the_load(options: LoadOptions) -> None:
    with pytest.raises(LoadRefusedError) as caught:
        ThreadCheck(options).check_environment(build(OMP_THREAD_LIMIT=" 3"))
    assert str(caught.value) == (
        "fake 1: 3 threads work where n_threads=4 asks for 4: OMP_THREAD_LIMIT= 3 is set in the environment; "
        "unset it, or ask for n_threads=3"
    )


def test_fewer_threads_at_work_than_asked_for_name_the_variables_that_may_do_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    TWO.check_counted(build(OMP_DYNAMIC="true"), 2, threads=2, processors=2)
    TWO.check_counted(build(), 2, threads=5, processors=2)  # others of the process are busy as well
    with pytest.raises(RequestFailedError, match=r"1 thread works .*: OMP_DYNAMIC=true is set"):
        TWO.check_counted(build(OMP_DYNAMIC="true", OMP_WAIT_POLICY="active"), 2, threads=1, processors=2)
    with pytest.raises(RequestFailedError, match=r"OMP_PLACES=\{0\} is set"):
        TWO.check_counted(build(OMP_PLACES="{0}"), 2, threads=2, processors=1)
    with pytest.raises(RequestFailedError, match=r"was not given more; ask for n_threads=1"):
        TWO.check_counted(build(), 2, threads=1, processors=2)


def test_an_affinity_that_the_whole_run_has_is_no_error_and_shows_in_what_works_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7}, raising=False)
    monkeypatch.setattr(thread_check, "cpu_groups", lambda _: ())
    TWO.check_counted(build(), 2, threads=2, processors=1)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert TWO.at_once() == 1
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # the machine has no more
    assert TWO.at_once() == 2


@pytest.mark.parametrize(("quota", "at_once"), [(None, 2), (0.5, 0.5), (1.5, 1.5), (8.0, 2)])
def test_a_quota_bounds_what_works_at_once(
    quota: float | None, at_once: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(thread_check, "quota_processors", lambda _: quota)
    assert TWO.at_once() == at_once


def test_a_system_that_tells_no_affinity_allows_every_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(thread_check, "quota_processors", lambda _: None)
    assert TWO.at_once() == 2


def _busy(until: float) -> None:
    while time.thread_time() < until:
        pass


def test_threads_that_work_are_counted_and_those_that_wait_are_not() -> None:
    go, stop = threading.Event(), threading.Event()

    def work_once() -> None:
        go.wait()
        _busy(time.thread_time() + 0.05)
        stop.wait()

    others = [threading.Thread(target=work_once), threading.Thread(target=stop.wait)]
    for each in others:
        each.start()

    def work() -> None:
        go.set()
        _busy(time.thread_time() + 0.05)

    found = count_working(work)
    stop.set()
    for each in others:
        each.join()
    assert found is not None
    assert found["threads"] == 2
    assert 1 <= found["processors"] <= len(os.sched_getaffinity(0))


def test_threads_that_end_with_their_work_cannot_be_counted() -> None:
    def work() -> None:
        once = threading.Thread(target=lambda: _busy(0.05))
        once.start()
        once.join()
        while Path(f"/proc/self/task/{once.native_id}").exists():  # Python ends it before the kernel does
            pass

    assert count_working(work) is None


def test_each_variable_stands_in_the_list_once_and_only_those_that_change_speed_are_recorded() -> None:
    assert not NEEDED.keys() & SPEED.keys()
    assert all(NEEDED.values())
    assert all(SPEED.values())
    environment = {"PATH": "/bin", "OMP_WAIT_POLICY": "active", "GGML_X": "1", "GLIBC_TUNABLES": "x"}
    assert recorded(environment) == {"GGML_X": "1", "GLIBC_TUNABLES": "x", "OMP_WAIT_POLICY": "active"}


def test_variables_of_other_builds_are_passed_if_they_are_named_and_told_if_not() -> None:
    environment = {
        "GGML_FORK_A": "1",
        "GGML_FORK_B": "1",
        "OMP_CANCELLATION": "4M",
        "PATH": "/bin",
        "HF_TOKEN": "x",
    }
    assert passed(environment) == ["PATH"]
    assert not_passed(environment) == ["GGML_FORK_A", "GGML_FORK_B", "OMP_CANCELLATION"]
    asked = {**environment, PASS: "GGML_FORK_* OMP_CANCELLATION"}
    assert passed(asked) == ["GGML_FORK_A", "GGML_FORK_B", "OMP_CANCELLATION", "PATH"]
    assert not_passed(asked) == []
