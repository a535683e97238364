"""Instructions are counted by hardware if it can, else under valgrind, once for a campaign."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.engines.llama_cpp_python.instructions import (
    BY_HARDWARE,
    BY_VALGRIND,
    InstructionCounter,
    Valgrind,
    find_valgrind,
    on_one_thread,
)
from pytest_llm.engines.llama_cpp_python.worker.instructions import Counter, UncountableError
from pytest_llm.errors import WorkerDiedError
from pytest_llm.records import LoadOptions, Series, Workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHAT, DEEP = Workload(128, 32), Workload(128, 32, depth=900)
VALGRIND = Valgrind("/usr/bin/valgrind", Path("/usr/libexec/valgrind/callgrind-amd64-linux"))


@dataclass
class Subject:
    answer: tuple[float | None, str]
    on_gpu: bool = False
    asked: list[tuple[int, int, str]] = field(default_factory=list)
    loaded: int = 0
    closed: int = 0

    def load(self) -> float:
        self.loaded += 1
        return 1.0

    def count_instructions(self, held: int, steps: int, folder: str = "") -> tuple[float | None, str]:
        assert bool(folder) == bool(self.loaded)
        assert not folder or Path(folder).is_dir()
        self.asked.append((held, steps, folder))
        return self.answer

    def close(self) -> None:
        self.closed += 1


NO_HARDWARE = None, "none here"


def counter(under: Subject | None) -> InstructionCounter:
    def start(valgrind: Valgrind, folder: Path) -> Subject:
        assert valgrind is VALGRIND
        assert under is not None
        return under

    def find(environ: Mapping[str, str]) -> Valgrind | None:
        return VALGRIND if under is not None else None

    return InstructionCounter(LoadOptions(n_ctx=2048, n_seq_max=2, kv_unified=False), start, find)


def test_the_hardware_counter_counts_after_the_prompt_once_for_each_workload() -> None:
    loaded, made = Subject((5.5, "")), counter(None)
    for workload in (CHAT, CHAT, DEEP):
        assert made.count(loaded, workload) == Series((5.5,), note=BY_HARDWARE)
    assert [held for held, _, _ in loaded.asked] == [128, 1024 - 9]  # room for the steps stays


def test_without_one_valgrind_counts_once_for_all_workloads_and_ends() -> None:
    loaded, under = Subject(NO_HARDWARE), Subject((7.0, ""))
    made = counter(under)
    for workload in (CHAT, DEEP, CHAT):
        assert made.count(loaded, workload) == Series((7.0,), note=BY_VALGRIND)
    assert [held for held, _, _ in under.asked] == [0]
    assert (under.loaded, under.closed) == (1, 1)


def test_without_either_the_reasons_are_told() -> None:
    found = counter(None).count(Subject(NO_HARDWARE), CHAT)
    assert found == Series((), note="no hardware counter (none here), and no valgrind on PATH")
    found = counter(Subject((None, "callgrind has written no total"))).count(Subject(NO_HARDWARE), CHAT)
    assert found.note.endswith("and valgrind fails: callgrind has written no total")


def test_a_crash_under_valgrind_is_a_reason_and_no_failure() -> None:
    under = Subject((1.0, ""))

    def crash(held: int, steps: int, folder: str = "") -> tuple[float | None, str]:
        raise WorkerDiedError("SIGILL, an instruction this CPU lacks")

    under.count_instructions = crash  # type: ignore[method-assign]
    found = counter(under).count(Subject(NO_HARDWARE), CHAT)
    assert (found.values, under.closed) == ((), 1)
    assert found.note.endswith("valgrind fails: SIGILL, an instruction this CPU lacks")


def test_work_without_a_decoded_token_of_the_processor_is_not_counted() -> None:
    for loaded, workload, reason in (
        (Subject((1.0, "")), Workload(128, 0, embed=True), "texts are embedded"),
        (Subject((1.0, ""), on_gpu=True), CHAT, "a GPU decodes"),
    ):
        found = counter(None).count(loaded, workload)
        assert (found.values, loaded.asked) == ((), [])
        assert found.note.startswith(reason)


def test_valgrind_is_found_with_the_tool_that_counts(tmp_path: Path) -> None:
    program, tool = tmp_path / "bin" / "valgrind", tmp_path / "libexec" / "valgrind"
    for folder in (program.parent, tool):
        folder.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_valgrind({"PATH": str(program.parent)}) is None
    for machine in ("amd64", "arm64"):
        (tool / f"callgrind-{machine}-linux").touch()
    found = find_valgrind({"PATH": str(program.parent)})
    assert found is not None
    assert found.tool.parent == tool
    assert found.environment == {"VALGRIND_LAUNCHER": str(program), "VALGRIND_LIB": str(tool)}
    assert f"--callgrind-out-file={tmp_path}/callgrind" in found.command(tmp_path)
    assert find_valgrind({"PATH": str(tmp_path)}) is None


def test_one_thread_does_all_work_under_valgrind() -> None:
    found = on_one_thread(LoadOptions(n_ctx=99, n_threads=8, n_threads_batch=16))
    assert (found.n_ctx, found.n_threads, found.n_threads_batch) == (99, 1, 1)


@pytest.fixture
def task_clock() -> Iterator[Counter]:
    """A counter in software, which every Linux has."""
    try:
        made = Counter(kind=1, event=1)
    except UncountableError as error:
        pytest.skip(str(error))
    yield made
    made.close()


def test_a_counter_of_the_kernel_counts_this_thread(task_clock: Counter) -> None:
    before = task_clock.read()
    sum(range(100_000))
    assert task_clock.read() > before


@pytest.mark.usefixtures("task_clock")
def test_a_counter_that_the_kernel_does_not_have_is_refused_with_the_reason() -> None:
    with pytest.raises(UncountableError, match=r"no counter of instructions|Invalid argument"):
        Counter(kind=0, event=0xFFFF)


def test_a_shared_counter_is_refused(task_clock: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    half_the_time = struct.pack("=3Q", 1000, 2000, 1000)
    monkeypatch.setattr(os, "read", lambda file, size: half_the_time[:size])
    with pytest.raises(UncountableError, match="other programs use the processor's counters"):
        task_clock.read()
