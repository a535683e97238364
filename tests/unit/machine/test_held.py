"""What a process holds, and how much of a file is its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llm.machine.memory.anonymous import AnonymousMemory, file_shares
from pytest_llm.records.device_memory import HOST_ALONE, WITH_DEVICES

ROLLUP = """00400000-7fff00000000 ---p 00000000 00:00 0    [rollup]
Rss:              200000 kB
Pss:              150000 kB
Anonymous:         65536 kB
Swap:               1024 kB
SwapPss:             512 kB
"""
SMAPS = """7f0000000000-7f0001000000 r--s 00000000 08:01 77   /models/a model.gguf
Rss:               16384 kB
Pss:                8192 kB
Anonymous:             0 kB
7f0001000000-7f0001100000 r--s 01000000 08:01 77   /models/a model.gguf
Rss:                1024 kB
Pss:                 512 kB
7f0002000000-7f0002100000 rw-p 00000000 00:00 0
Rss:                4096 kB
Pss:                4096 kB
7f0003000000-7f0003100000 r--p 00000000 08:01 78   /models/b.gguf
Rss:                2048 kB
Pss:                2048 kB
"""


def proc(tmp_path: Path, **files: str) -> Path:
    (tmp_path / "7").mkdir()
    for name, text in files.items():
        (tmp_path / "7" / name).write_text(text)
    return tmp_path


def test_what_is_held_is_anonymous_swapped_out_or_not(tmp_path: Path) -> None:
    assert AnonymousMemory(proc(tmp_path, smaps_rollup=ROLLUP))(7) == (65 * 2**20, HOST_ALONE)


def test_what_devices_tell_is_added(tmp_path: Path) -> None:
    held = AnonymousMemory(proc(tmp_path, smaps_rollup=ROLLUP), devices=lambda pid: pid * 2.0**20)
    assert held(7) == ((65 + 7) * 2**20, WITH_DEVICES)


def test_devices_that_no_longer_tell_leave_no_reading_behind(tmp_path: Path) -> None:
    told = iter([None, 5.0, None, 5.0])
    held = AnonymousMemory(proc(tmp_path, smaps_rollup=ROLLUP), devices=lambda _: next(told))
    host = 65 * 2**20
    assert [held(7) for _ in range(4)] == [
        (host, HOST_ALONE),
        (host + 5, WITH_DEVICES),
        None,
        (host + 5, WITH_DEVICES),
    ]


def test_without_a_sum_over_pages_the_counters_are_read(tmp_path: Path) -> None:
    status = "VmRSS:\t 9999 kB\nRssAnon:\t 2048 kB\nVmSwap:\t 1024 kB\n"
    assert AnonymousMemory(proc(tmp_path, status=status))(7) == (3 * 2**20, HOST_ALONE)


@pytest.mark.parametrize("files", [{}, {"smaps_rollup": "", "status": "State: Z (zombie)\n"}])
def test_a_process_that_is_gone_holds_nothing_that_could_be_told(
    files: dict[str, str], tmp_path: Path
) -> None:
    assert AnonymousMemory(proc(tmp_path, **files))(7) is None
    assert AnonymousMemory(tmp_path)(8) is None


def test_without_proc_it_is_what_is_the_process_s_own(tmp_path: Path) -> None:
    import os

    held = AnonymousMemory(tmp_path / "nowhere")(os.getpid())
    assert held is not None
    assert held.size > 2**20


def test_a_file_s_pages_are_those_of_all_its_mappings(tmp_path: Path) -> None:
    found = file_shares(7, Path("/models/a model.gguf"), proc(tmp_path, smaps=SMAPS))
    assert found == (17 * 2**20, 8.5 * 2**20)


def test_a_file_that_is_not_mapped_has_none(tmp_path: Path) -> None:
    assert file_shares(7, Path("/models/model.gguf"), proc(tmp_path, smaps=SMAPS)) == (0.0, 0.0)
