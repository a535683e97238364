"""Files that the kernel makes anew whenever they are read."""

from __future__ import annotations

import gc
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.machine.noise.counters import moved
from pytest_llm.system.procfs import KernelFile, ProcessorTime, parse_list, parse_stat, read_word

if TYPE_CHECKING:
    from .things import Tree


def test_an_open_file_is_read_as_it_is_now(tree: Tree) -> None:
    tree.write("counter", 1)
    counter = KernelFile(tree.root / "counter")
    assert counter.read() == "1\n"
    tree.write("counter", 2)
    assert counter.read() == "2\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/stat")
def test_the_kernel_s_own_file_is_made_anew_though_it_stays_open() -> None:
    stat = KernelFile(Path("/proc/stat"))
    before = parse_stat(stat.read())
    assert before is not None
    deadline = time.monotonic() + 10
    while (now := parse_stat(stat.read())) == before and time.monotonic() < deadline:
        pass  # keep a processor busy: its ticks are what moves
    assert now is not None
    assert now.wanted > before.wanted


def test_a_file_that_cannot_be_read_any_more_reads_empty() -> None:
    reader, writer = os.pipe()
    try:
        pipe = KernelFile(Path(f"/dev/fd/{reader}"))  # of a pipe, no place can be read
        assert pipe.read() == ""
    finally:
        os.close(reader)
        os.close(writer)


def test_the_file_is_closed_with_its_object(tree: Tree) -> None:
    tree.write("counter", 1)
    counter = KernelFile(tree.root / "counter")
    handle = counter._handle
    del counter
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)


def test_a_missing_file_has_no_word(tree: Tree) -> None:
    tree.write("word", " yes ")
    assert read_word(tree.root / "word") == "yes"
    assert read_word(tree.root / "none") is None


@pytest.mark.parametrize(
    ("before", "now", "answer"),
    [
        (["1", "5"], ["1", "5"], False),
        (["1", "5"], ["1", "6"], True),
        (["1", "5"], ["1", ""], False),
        (["1", ""], ["1", "5"], False),
        ([], [], False),
    ],
)
def test_only_a_counter_that_reads_differently_has_moved(
    before: list[str], now: list[str], answer: bool
) -> None:
    assert moved(before, now) is answer


@pytest.mark.parametrize(
    ("text", "numbers"), [("0-3,8", {0, 1, 2, 3, 8}), ("0", {0}), ("", set()), ("2-2\n", {2})]
)
def test_lists_of_processors_are_read_with_both_ends(text: str, numbers: set[int]) -> None:
    assert parse_list(text) == numbers


def test_guests_and_idling_are_no_use_of_their_own() -> None:
    text = "cpu  1 20 300 4000 50000 600000 7000000 80000000 900 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
    assert parse_stat(text) == ProcessorTime(used=7600321, stolen=80000000)


@pytest.mark.parametrize("text", ["", "cpu 1 2 3 4\n", "cpu 1 2 3 4 5 6 7 x 9\n", "intr 1 2 3 4 5 6 7 8 9\n"])
def test_a_text_without_steal_has_no_times(text: str) -> None:
    assert parse_stat(text) is None
