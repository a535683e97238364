"""That a file is whole whatever happens: full disks, read-only folders, other writers, and being killed.

A full disk and a read-only file system are real where a small file system can be mounted (as root on Linux).
Everywhere, a limit on the size of files and the kernel's own ``/dev/full`` stand in for the first, and an
``open`` that answers as a read-only file system does for the second.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pytest_llm
from pytest_llm.baselines import io
from pytest_llm.errors import BaselineError
from pytest_llm.records import TestKey
from tests.unit.baselines.things import (
    FINGERPRINT,
    KEY,
    LATER,
    MACHINE,
    MODULE,
    OTHER_KEY,
    SPEED,
    a_store,
    entry,
    file_of,
    files_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

FULL = "what was there is kept; free some space, then record again"
READ_ONLY = "make its folder writable, or keep baselines elsewhere"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(pytest_llm.__file__).parents[1])}

# Appends what its standard input names, a line each, and notes each once it is stored: in one write, so that
# being killed cannot tear it.
WRITER = f"""
import os, sys
from pathlib import Path
from pytest_llm.baselines import BaselineStore, Conditions, RecordedRuns, Series
from pytest_llm.records import Provenance, StoredRun, TestKey

store = BaselineStore(Path(sys.argv[1]), {FINGERPRINT!r}, {MACHINE!r})
log = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
conditions = Conditions("5" * 64, "llama-cpp-python", {{}}, {{}})
for line in sys.stdin:
    module, test, value = line.split()
    new = RecordedRuns(
        conditions, {{{SPEED!r}: Series("tok/s", (StoredRun(float(value), Provenance()),))}}
    )
    done = store.update([(TestKey(module, test), new)], "append")
    assert not done.refused
    os.write(log, line.encode())
"""


def writer(folder: Path, log: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(log)],
        stdin=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def give(process: subprocess.Popen[str], work: list[str]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write("".join(work))
        process.stdin.close()


def lines_of(log: Path) -> set[str]:
    return set(log.read_text().splitlines(keepends=True)) if log.exists() else set()


def stored_in(folder: Path) -> set[str]:
    store = a_store(folder)
    return {
        f"{key.module} {key.name} {run.value}\n"
        for module in store.modules()
        for key, test in store.recorded(module).items()
        for run in test.metrics[SPEED].runs
    }


# ── several at once ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_several_processes_that_append_at_once_lose_nothing(tmp_path: Path) -> None:
    work = [[f"{MODULE} test_{process} {run}.5\n" for run in range(20)] for process in range(4)]
    writers = [writer(tmp_path, tmp_path / f"{process}.log") for process in range(4)]
    for process, lines in zip(writers, work, strict=True):
        give(process, lines)
    for process in writers:
        assert process.wait(timeout=60) == 0
    assert stored_in(tmp_path) == {line for lines in work for line in lines}


@pytest.mark.slow
def test_500_appends_of_8_processes_survive_being_killed_at_random(tmp_path: Path) -> None:
    # 25 tests of 20 runs, the most that is kept, in modules that all processes write to.
    everything = [
        f"tests.test_{test % 5} test_{test} {run}.5\n" for run in range(1, 21) for test in range(25)
    ]
    chance = random.Random(20)
    chance.shuffle(everything)
    folder = tmp_path / "baselines"
    logs = [tmp_path / f"{number}.log" for number in range(8)]
    left = [everything[number::8] for number in range(8)]
    # What a process was at when it was killed may be stored or not; it is not given again.
    unsure: set[str] = set()
    writers: list[subprocess.Popen[str]] = []
    kills = 0
    deadline = time.monotonic() + 100
    try:
        for number in range(8):
            writers.append(writer(folder, logs[number]))
            give(writers[number], left[number])
        while busy := [number for number in range(8) if writers[number].poll() is None]:
            assert time.monotonic() < deadline
            time.sleep(chance.uniform(0.05, 0.25))
            number = chance.choice(busy)
            if kills == 24 or not (lines_of(logs[number]) & set(left[number])):
                continue
            writers[number].kill()
            writers[number].wait()
            kills += 1
            done = lines_of(logs[number])
            left[number] = [line for line in left[number] if line not in done]
            unsure.update(left[number][:1])
            left[number] = left[number][1:]
            writers[number] = writer(folder, logs[number])
            give(writers[number], left[number])
    finally:
        for process in writers:
            process.kill()
            process.wait()
    assert [process.returncode for process in writers] == [0] * 8
    acknowledged = {line for log in logs for line in lines_of(log)}
    assert kills >= 4
    assert len(acknowledged) >= 500 - kills
    assert acknowledged | unsure == set(everything)
    assert acknowledged <= stored_in(folder) <= acknowledged | unsure
    # Whoever writes next in a folder cleans up after the killed.
    a_store(folder).update([entry()], "new")
    modules = sorted([MODULE, *(f"tests.test_{number}" for number in range(5))])
    assert files_in(folder) == [f"machines/{FINGERPRINT}/{module}.json" for module in modules]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_a_writer_killed_at_its_worst_moment_leaves_the_old_file_and_no_lock(
    tmp_path: Path, moment: str
) -> None:
    a_store(tmp_path).update([entry()], "new")
    whole = file_of(tmp_path).read_bytes()
    killer = (
        "import os, signal\n"
        "from pytest_llm.baselines import io\n"
        "die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        + {
            "write": "real = os.open\n"
            "os.open = lambda path, *a: (real(path, *a), '.write-' in str(path) and die())[0]\n",
            "fsync": "os.fsync = die\n",
            "replace": "os.replace = die\n",
        }[moment]
    )
    done = subprocess.run(
        [sys.executable, "-c", killer + WRITER, str(tmp_path), str(tmp_path / "log")],
        input=f"{MODULE} test_new 1.5\n",
        text=True,
        env=ENVIRONMENT,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert file_of(tmp_path).read_bytes() == whole
    assert not (tmp_path / "log").read_bytes()
    assert len(list(file_of(tmp_path).parent.glob(".write-*"))) == 1
    a_store(tmp_path).update([entry(key=OTHER_KEY)], "new")
    assert set(a_store(tmp_path).recorded(MODULE)) == {KEY, OTHER_KEY}
    assert not list(file_of(tmp_path).parent.glob(".write-*"))


def test_a_lock_that_is_not_given_back_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "_LOCK_SECONDS", 0.1)
    with (
        io.changing(tmp_path / "machines" / FINGERPRINT, file_of(tmp_path)),
        pytest.raises(
            BaselineError,
            match=r"another process has held .*\.lock for 0 s \(process .*\): end it",
        ),
    ):
        a_store(tmp_path).update([entry()], "new")


def test_reading_waits_for_no_writer(tmp_path: Path) -> None:
    a_store(tmp_path).update([entry()], "new")
    with io.changing(tmp_path / "machines" / FINGERPRINT, file_of(tmp_path)):
        assert set(a_store(tmp_path).recorded(MODULE)) == {KEY}


def test_what_update_returned_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data before the name, the name before returning: in this order a power cut tears nothing."""
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(handle: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def noted_replace(source: Path, target: Path) -> None:
        calls.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    a_store(tmp_path).update([entry()], "new")
    names_of_new_folders, written = calls[:-3], calls[-3:]
    assert set(names_of_new_folders) == {"folder"}
    assert written == ["file", "replace", "folder"]


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        a_store(tmp_path).update([entry()], "new")
    finally:
        os.umask(before)
    assert file_of(tmp_path).stat().st_mode & 0o777 == 0o644


# ── no space, no permission ──────────────────────────────────────────────────────────────────────


def refused(folder: Path) -> str:
    """What a refused update says; the old file stays whole and alone."""
    whole = file_of(folder).read_bytes()
    with pytest.raises(BaselineError) as caught:
        a_store(folder).update([entry(key=TestKey(MODULE, "test_" + "x" * 100_000))], "new")
    assert file_of(folder).read_bytes() == whole
    assert files_in(folder) == [f"machines/{FINGERPRINT}/{MODULE}.json"]
    assert set(a_store(folder).recorded(MODULE)) == {KEY}
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{file_of(folder)} cannot be written: ")
    return message.partition("cannot be written: ")[2]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_the_old_file_stays(mounted: Path) -> None:
    a_store(mounted).update([entry()], "new")
    assert refused(mounted) == f"No space left on device; {FULL}"
    a_store(mounted).update([entry(recorded=LATER)], "append")


def test_a_read_only_file_system_is_told(mounted: Path) -> None:
    a_store(mounted).update([entry()], "new")
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    assert refused(mounted) == f"Read-only file system; {READ_ONLY}"


def test_a_folder_that_cannot_be_made_on_a_read_only_file_system_is_told(mounted: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    with pytest.raises(BaselineError, match="Read-only file system; make its folder writable"):
        a_store(mounted).update([entry()], "new")


def test_no_space_for_the_data_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    a_store(tmp_path).update([entry()], "new")
    real = os.open

    def full(path: Path, flags: int, mode: int = 0o777) -> int:
        if ".write-" not in str(path):
            return real(path, flags, mode)
        os.close(real(path, flags, mode))
        return real("/dev/full", os.O_WRONLY)

    monkeypatch.setattr(os, "open", full)
    assert refused(tmp_path) == f"No space left on device; {FULL}"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_no_space_that_shows_late_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    a_store(tmp_path).update([entry()], "new")

    def fail(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, name, fail)
    assert refused(tmp_path) == f"{os.strerror(number)}; {FULL}"


def test_a_file_size_limit_is_told(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    a_store(tmp_path).update([entry()], "new")
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        told = refused(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert told == f"File too large; {FULL}"


def test_links_and_folders_named_like_unfinished_files_harm_nothing(tmp_path: Path) -> None:
    a_store(tmp_path).update([entry()], "new")
    beside = file_of(tmp_path).parent
    (tmp_path / "precious").write_text("my only copy")
    (beside / ".write-link").symlink_to(tmp_path / "precious")
    (beside / ".write-folder").mkdir()
    a_store(tmp_path).update([entry(key=OTHER_KEY)], "new")
    assert (tmp_path / "precious").read_text() == "my only copy"
    assert [each.name for each in beside.glob(".write-*")] == [".write-folder"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_may_not_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    a_store(tmp_path).update([entry()], "new")
    real = os.open

    def read_only(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(number, os.strerror(number))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", read_only)
    where = f" in the folder {file_of(tmp_path).parent}" if number == errno.EACCES else ""
    assert refused(tmp_path) == f"{os.strerror(number)}{where}; {READ_ONLY}"


def test_a_file_in_the_folder_s_place_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "baselines"
    folder.write_text("mine")
    with pytest.raises(BaselineError, match=f"cannot be written: .*; {READ_ONLY}$"):
        a_store(folder).update([entry()], "new")
    assert folder.read_text() == "mine"
    assert a_store(folder).recorded(MODULE) == {}


def test_an_interrupt_while_writing_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_store(tmp_path).update([entry()], "new")
    whole = file_of(tmp_path).read_bytes()

    def interrupt(handle: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            a_store(tmp_path).update([entry(recorded=LATER)], "append")
    assert file_of(tmp_path).read_bytes() == whole
    assert files_in(tmp_path) == [f"machines/{FINGERPRINT}/{MODULE}.json"]
    a_store(tmp_path).update([entry(recorded=LATER)], "append")


def test_stale_temporary_files_go_with_the_next_write(tmp_path: Path) -> None:
    a_store(tmp_path).update([entry()], "new")
    stale = file_of(tmp_path).parent / ".write-0123456789abcdef"
    stale.write_text("half")
    assert json.loads(file_of(tmp_path).read_bytes())
    a_store(tmp_path).update([entry(recorded=LATER)], "append")
    assert not stale.exists()


def test_other_people_s_files_in_the_folder_stay(tmp_path: Path) -> None:
    a_store(tmp_path).update([entry()], "new")
    readme = file_of(tmp_path).parent / "README.md"
    readme.write_text("mine")
    a_store(tmp_path).update([entry(recorded=LATER)], "append")
    assert readme.read_text() == "mine"
    assert a_store(tmp_path).modules() == [MODULE]
