"""What machine this is, and what a process holds of its memory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from pytest_llm.cli import main
from pytest_llm.machine import fingerprint
from pytest_llm.machine.memory import rss
from pytest_llm.machine.memory.rss import ProcessMemory
from pytest_llm.machine.memory.sampler import Ticker
from pytest_llm.reports.document import Machine
from pytest_llm.system.procfs import sizes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_llm.records import Series
    from tests.integration.conftest import Project

STATUS = """Name:\tpython
VmPeak:\t  999999 kB
VmHWM:\t  204800 kB
VmRSS:\t  180000 kB
RssAnon:\t   65536 kB
RssFile:\t  118784 kB
RssShmem:\t       8 kB
"""
PAGE = os.sysconf("SC_PAGE_SIZE")


def test_the_peak_and_the_parts_of_the_present_are_read_in_bytes() -> None:
    fields = ("VmHWM", "RssAnon", "RssFile", "RssShmem")
    assert sizes(STATUS, fields) == {
        "VmHWM": 200 * 2**20,
        "RssAnon": 64 * 2**20,
        "RssFile": 116 * 2**20,
        "RssShmem": 8 * 2**10,
    }


def test_a_process_that_just_ended_has_no_memory() -> None:
    assert sizes("Name:\tpython\nState:\tZ (zombie)\n", ("VmHWM",)) == {}


def status_of(folder: Path, *, peak: int, anonymous: int, file: int = 0, shared: int = 0) -> None:
    """Have the kernel tell so many pages, in both of its files."""
    (folder / "7").mkdir(exist_ok=True)
    sizes = {"VmHWM": peak, "RssAnon": anonymous, "RssFile": file, "RssShmem": shared}
    lines = [f"{name}:\t{pages * PAGE // 1024} kB\n" for name, pages in sizes.items()]
    (folder / "7" / "status").write_text("".join(lines))
    resident = anonymous + file + shared
    (folder / "7" / "statm").write_text(f"99999 {resident} {file + shared} 1 0 2 0\n")


def peaks_of(seen: Mapping[str, Series]) -> dict[str, float]:
    """What was seen, in pages."""
    return {name: series.values[0] / PAGE for name, series in seen.items()}


def test_a_peak_between_two_looks_is_kept_though_it_went(tmp_path: Path) -> None:
    status_of(tmp_path, peak=100, anonymous=10, file=30)
    probe = ProcessMemory(Ticker(0.001), tmp_path)
    with probe.watch(7) as seen:
        status_of(tmp_path, peak=300, anonymous=90, file=20)
        wait_for_a_look()
        status_of(tmp_path, peak=300, anonymous=20, file=50)
        wait_for_a_look()
        status_of(tmp_path, peak=300, anonymous=20, file=20)
    assert peaks_of(seen) == {"peak_ram": 300, "peak_ram_anonymous": 90, "peak_ram_file": 50}


def wait_for_a_look() -> None:
    time.sleep(0.05)


def test_the_beginning_and_the_end_count_without_a_look_in_between(tmp_path: Path) -> None:
    status_of(tmp_path, peak=100, anonymous=90, file=10)
    with ProcessMemory(Ticker(10), tmp_path).watch(7) as seen:
        status_of(tmp_path, peak=200, anonymous=40, file=60)
    assert peaks_of(seen) == {"peak_ram": 200, "peak_ram_anonymous": 90, "peak_ram_file": 60}


@pytest.mark.parametrize(("before", "after"), [(8, 8), (0, 8), (8, 0)])
def test_shared_memory_is_not_taken_for_a_file_s(before: int, after: int, tmp_path: Path) -> None:
    status_of(tmp_path, peak=100, anonymous=5, file=10, shared=before)
    with ProcessMemory(Ticker(0.001), tmp_path).watch(7) as seen:
        status_of(tmp_path, peak=100, anonymous=5, file=40, shared=8)
        wait_for_a_look()
        status_of(tmp_path, peak=100, anonymous=5, file=10, shared=after)
    assert peaks_of(seen)["peak_ram_file"] == 40


def test_what_was_seen_of_a_process_that_ends_meanwhile_is_kept() -> None:
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process,
        ProcessMemory(ticker=Ticker(0.001)).watch(process.pid) as seen,
    ):
        wait_for_a_look()
        process.communicate(b"\n")
    assert set(peaks_of(seen)) == {"peak_ram", "peak_ram_anonymous", "peak_ram_file"}
    assert all(pages > 100 for pages in peaks_of(seen).values())


def test_samples_split_the_resident_set_as_the_status_does() -> None:
    with ProcessMemory(ticker=Ticker(10)).watch(os.getpid()) as by_status:
        pass
    with Path(os.devnull).open("rb") as nothing, Path("/proc/self/statm").open("rb") as statm:
        peaks = rss._PeaksOfProc(nothing.fileno(), statm.fileno())
        peaks.sample()
    found = peaks.found()
    assert set(found) == set(by_status)
    for name, size in found.items():
        assert size == pytest.approx(by_status[name].values[0], rel=0.02, abs=2**20), name


def test_the_kernel_s_own_peak_is_reset_first(tmp_path: Path) -> None:
    status_of(tmp_path, peak=100, anonymous=10)
    with ProcessMemory(Ticker(10), tmp_path).watch(7):
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
    with ProcessMemory(Ticker(10), tmp_path).watch(os.getpid()) as seen:
        pass
    assert set(seen) == {"peak_ram"}
    assert seen["peak_ram"].values[0] > 2**20


def test_a_process_that_is_gone_has_no_series(tmp_path: Path) -> None:
    with ProcessMemory(Ticker(10), tmp_path).watch(2**22 - 1) as seen:
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
    for name, content in {
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
        "sys/fs/cgroup/cpu.max": quota,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed)), raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: physical)
    assert fingerprint.usable_cores(tmp_path) == expected


def test_the_fingerprint_names_the_machine_and_stays() -> None:
    assert fingerprint.fingerprint() == fingerprint.fingerprint()
    assert len(fingerprint.fingerprint()) == 12
    assert set(fingerprint.parts()) == {each.name for each in fields(Machine)} - {"fingerprint", "qualified"}


@pytest.mark.parametrize("leaves_first", [0, 1])
def test_samplers_share_a_thread_that_ends_with_the_last_of_them(leaves_first: int) -> None:
    ticker = Ticker(0.001)
    threads: list[set[threading.Thread]] = [set(), set()]
    calls = [lambda of=of: of.add(threading.current_thread()) for of in threads]
    for _ in range(2):
        contexts = [ticker.calling(each) for each in calls]
        for each in contexts:
            each.__enter__()
        wait_for_a_look()
        contexts[leaves_first].__exit__(None, None, None)
        threads[leaves_first].clear()
        wait_for_a_look()
        contexts[1 - leaves_first].__exit__(None, None, None)
        assert not threads[leaves_first]
        (sampling,) = threads[1 - leaves_first]
        assert not sampling.is_alive()
        threads[1 - leaves_first].clear()


def test_a_sampler_that_costs_much_is_called_less_often() -> None:
    cost, calls = 0.001, []

    def sample() -> None:
        calls.append(time.monotonic())
        end = time.thread_time() + cost
        while time.thread_time() < end:
            pass

    with Ticker(0.02).calling(sample):
        time.sleep(1.5)
    elapsed = calls[-1] - calls[0]
    # In the beginning it must find out; 5 % would be 75 calls.
    assert 10 <= len(calls) < 18
    assert len(calls) * cost / elapsed < 0.012


@pytest.fixture
def _without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "nowhere"))
    fingerprint.check_told.cache_clear()
    yield
    fingerprint.check_told.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
@pytest.mark.usefixtures("_without_proc")
def test_without_proc_nothing_is_measured_and_one_line_says_why(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write("def test_it(llm_bench): pass")
    assert "the system does not tell its memory and processes" in project.usage_error(*project.measuring())
    capsys.readouterr()
    assert main(["doctor"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(": mount /proc")
    project.run().assert_outcomes(skipped=1)
