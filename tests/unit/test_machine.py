"""What machine this is, and what a process holds of its memory."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from pytest_llm.probes import machine, process_memory
from pytest_llm.probes.process_memory import ProcessMemory, parse_status

if TYPE_CHECKING:
    from pathlib import Path

STATUS = """Name:\tpython
VmPeak:\t  999999 kB
VmHWM:\t  204800 kB
VmRSS:\t  180000 kB
RssAnon:\t   65536 kB
RssFile:\t  118784 kB
"""


def test_the_peak_and_the_anonymous_part_are_read_in_bytes() -> None:
    assert parse_status(STATUS) == {
        "peak_ram": 200 * 2**20,
        "peak_ram_anonymous": 64 * 2**20,
        "peak_ram_file": 116 * 2**20,
    }


def test_a_process_that_just_ended_has_no_memory() -> None:
    assert parse_status("Name:\tpython\nState:\tZ (zombie)\n") == {}


def status_of(folder: Path, peak_kib: int, anonymous_kib: int) -> None:
    (folder / "7").mkdir(exist_ok=True)
    (folder / "7" / "status").write_text(f"VmHWM:\t{peak_kib} kB\nRssAnon:\t{anonymous_kib} kB\n")


def test_a_peak_between_two_looks_is_kept_though_it_went(tmp_path: Path) -> None:
    status_of(tmp_path, 100, 10)
    probe = ProcessMemory(tmp_path, interval=0.001)
    with probe.watch(7) as seen:
        status_of(tmp_path, 300, 90)
        wait_for_a_look()
        status_of(tmp_path, 300, 20)
        wait_for_a_look()
    assert seen["peak_ram"].values == (300 * 1024,)
    assert seen["peak_ram_anonymous"].values == (90 * 1024,)


def wait_for_a_look() -> None:
    time.sleep(0.05)


def test_the_kernel_s_own_peak_is_reset_first(tmp_path: Path) -> None:
    status_of(tmp_path, 100, 10)
    with ProcessMemory(tmp_path, interval=10).watch(7):
        assert (tmp_path / "7" / "clear_refs").read_text() == "5"


def test_a_real_allocation_is_seen_as_anonymous() -> None:
    size = 32 * 2**20
    with ProcessMemory().watch(os.getpid()) as before:
        pass
    with ProcessMemory().watch(os.getpid()) as seen:
        block = bytearray(os.urandom(2**20) * 32)
        wait_for_a_look()
        assert len(block) == size
        del block
    grown = seen["peak_ram_anonymous"].values[0] - before["peak_ram_anonymous"].values[0]
    assert 0.9 * size < grown < 3.2 * size


def test_without_proc_only_the_resident_set_is_told(tmp_path: Path) -> None:
    with ProcessMemory(tmp_path, interval=10).watch(os.getpid()) as seen:
        pass
    assert set(seen) == {"peak_ram"}
    assert seen["peak_ram"].values[0] > 2**20


def test_a_process_that_is_gone_has_no_series(tmp_path: Path) -> None:
    with ProcessMemory(tmp_path, interval=10).watch(2**22 - 1) as seen:
        pass
    assert seen == {}


@pytest.mark.parametrize(
    ("quota", "allowed", "physical", "expected"),
    [
        ("max 100000", 8, 4, 4),
        ("150000 100000", 8, 4, 2),
        ("50000 100000", 8, 4, 1),
        ("max 100000", 1, 4, 1),
        ("nonsense", 8, None, 8),
    ],
)
def test_threads_are_what_affinity_cores_and_quota_all_allow(
    quota: str,
    allowed: int,
    physical: int | None,
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(machine, "_CGROUP_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed)), raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: physical)
    assert machine.usable_cores() == expected


def test_the_fingerprint_names_the_machine_and_stays() -> None:
    assert machine.fingerprint() == machine.fingerprint()
    assert len(machine.fingerprint()) == 12
    assert set(machine.parts()) == {"cpu", "cores", "memory_gib", "system"}


def test_another_part_makes_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine.fingerprint()
    monkeypatch.setattr(machine, "_cpu_model", lambda: "another CPU")
    assert machine.fingerprint() != before


def test_the_probe_s_interval_is_10_ms() -> None:
    assert process_memory._INTERVAL == 0.01
