"""One measurer at a time, whatever becomes of it."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.errors import LLMBenchError, MachineBusyError, UsageError
from pytest_llm.system.lock import (
    FileLock,
    Holder,
    LockBusyError,
    MeasuringLock,
    folder_lock,
    lock_path,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOLD = """
import subprocess, sys
from pathlib import Path
sys.orig_argv = ["/usr/bin/pytest", *sys.argv[2:]]
from pytest_llm.system.lock import MeasuringLock
lock = MeasuringLock(Path(sys.argv[1]))
lock.acquire(0, print)
if "leave-a-child" in sys.argv:
    # No descriptor is closed for it but those that close themselves.
    subprocess.Popen([sys.executable, "-c", "print('held', flush=True); input()"], close_fds=False)
else:
    print("held", flush=True)
sys.stdin.readline()
"""


def hold(path: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(path), *arguments]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    return child


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "measuring.lock"


@pytest.fixture
def other(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that measures."""
    child = hold(path, "--llm-bench")
    yield child
    child.kill()
    child.communicate()


class Waiting:
    """A clock that only sleeping moves on, and what was told."""

    def __init__(self, after: Callable[[float], None] = lambda now: None) -> None:
        self.now = 100.0
        self.sleeps = 0
        self.told: list[str] = []
        self._after = after

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        self.sleeps += 1
        self._after(self.now)

    def lock(self, path: Path) -> MeasuringLock:
        return MeasuringLock(path, clock=lambda: self.now, sleep=self.sleep)


def refuse(line: str) -> None:
    raise AssertionError(f"nothing was to be told, but: {line}")


def take(path: Path) -> MeasuringLock:
    lock = MeasuringLock(path)
    lock.acquire(0, refuse)
    return lock


def refusal(path: Path) -> str:
    with pytest.raises(LLMBenchError) as caught:
        MeasuringLock(path).acquire(0, refuse)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_free_lock_is_taken_without_a_word(path: Path) -> None:
    lock = take(path)
    assert lock.held
    lock.release()
    assert not lock.held


def test_a_second_measurer_is_refused_with_the_holder_s_name_and_the_fix(
    path: Path, other: subprocess.Popen[bytes]
) -> None:
    message = refusal(path)
    assert f"process {other.pid} (pytest --llm-bench) since " in message
    assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d,", message)
    assert "wait for it or end it" in message
    assert f"than {path} in PYTEST_LLM_LOCK" in message


def test_refusing_is_an_error_of_its_own_kind(path: Path, other: subprocess.Popen[bytes]) -> None:
    with pytest.raises(MachineBusyError):
        MeasuringLock(path).acquire(0, refuse)


def test_two_locks_of_one_process_exclude_each_other_too(path: Path) -> None:
    first = take(path)
    assert f"process {os.getpid()} (" in refusal(path)
    first.release()
    take(path).release()


def test_waiting_is_told_once_and_ends_with_patience(path: Path) -> None:
    holder = take(path)
    waiting = Waiting()
    lock = waiting.lock(path)
    with pytest.raises(MachineBusyError):
        lock.acquire(1.1, waiting.told.append)
    (line,) = waiting.told
    assert line.startswith(f"another run measures on this machine: process {os.getpid()} (")
    assert line.endswith(": waiting up to 1 s")
    assert waiting.now == pytest.approx(101.1)
    assert waiting.sleeps == 6
    assert not lock.held
    holder.release()


def test_a_lock_that_comes_free_in_time_is_taken(path: Path) -> None:
    holder = take(path)
    waiting = Waiting(lambda now: holder.release() if now > 100.5 else None)
    lock = waiting.lock(path)
    lock.acquire(60, waiting.told.append)
    assert lock.held
    assert waiting.now < 101
    lock.release()


def test_the_last_moment_of_patience_counts(path: Path) -> None:
    holder = take(path)
    waiting = Waiting(lambda now: holder.release() if now >= 101 else None)
    lock = waiting.lock(path)
    lock.acquire(1, waiting.told.append)
    assert lock.held
    lock.release()


def test_taking_and_releasing_twice_changes_nothing(path: Path) -> None:
    lock = take(path)
    lock.acquire(0, refuse)
    assert "another run" in refusal(path)
    lock.release()
    lock.release()
    take(path).release()


def test_a_measurer_that_is_killed_holds_nothing(path: Path, other: subprocess.Popen[bytes]) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    lock = take(path)
    assert json.loads(path.read_text())["pid"] == os.getpid()
    lock.release()


def test_what_a_killed_measurer_leaves_running_does_not_hold_the_lock(path: Path) -> None:
    child = hold(path, "leave-a-child")
    child.send_signal(signal.SIGKILL)
    child.wait()
    try:
        take(path).release()
    finally:
        child.communicate(b"\n")  # the child that was left ends with its standard input


def test_a_holder_that_died_is_not_named(path: Path, other: subprocess.Popen[bytes]) -> None:
    assert MeasuringLock(path).holder() is not None
    named = path.read_text()
    other.kill()
    other.wait()
    assert path.read_text() == named
    assert MeasuringLock(path).holder() is None


def test_a_stale_name_is_not_told_of_a_holder_that_wrote_none(path: Path) -> None:
    lock = take(path)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    path.write_text(json.dumps({"pid": child.pid, "command": "pytest of old", "since": "yesterday"}))
    message = refusal(path)
    assert "pytest of old" not in message
    assert "another run measures on this machine: an unnamed process" in message
    lock.release()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"pid": null, "command": "x", "since": "y"}',
        '{"pid": 0, "command": "x", "since": "y"}',
        '{"pid": -1, "command": "x", "since": "y"}',
        '{"pid": 1e30, "command": "x", "since": "y"}',
        '{"pid": 1e999, "command": "x", "since": "y"}',
        "\udcff",
    ],
)
def test_a_file_of_nonsense_names_nobody(text: str, path: Path) -> None:
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert MeasuringLock(path).holder() is None


def test_what_others_wrote_cannot_move_the_cursor_or_fill_the_screen(path: Path) -> None:
    written = {"pid": os.getpid(), "command": "\x1b[2J\n" + "x" * 500, "since": ["odd"]}
    path.write_text(json.dumps(written))
    holder = MeasuringLock(path).holder()
    assert holder == Holder(os.getpid(), "?[2J?" + "x" * 74 + "…", "['odd']")
    assert len(holder.command) == 80


def test_a_command_line_that_is_long_is_still_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["/some/where/python", "-m", "pytest", "x" * 9000])
    lock = take(path)
    holder = lock.holder()
    assert holder is not None
    assert holder.command.startswith("python -m pytest xxx")
    assert len(holder.command) == 80
    lock.release()


def test_after_a_release_the_file_names_nobody(path: Path) -> None:
    take(path).release()
    assert path.read_text() == ""


def test_every_user_may_lock_whatever_the_umask(path: Path) -> None:
    before = os.umask(0o077)
    try:
        take(path).release()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


def test_a_file_that_was_there_keeps_its_mode(path: Path) -> None:
    path.touch(0o640)
    path.chmod(0o640)
    take(path).release()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def deny(monkeypatch: pytest.MonkeyPatch, *modes: int) -> None:
    """Let this process, root's too, be a user who may not open files like that."""
    really = os.open

    def limited(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_ACCMODE in modes:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return really(path, flags, mode)

    monkeypatch.setattr(os, "open", limited)


def test_a_file_that_may_only_be_read_is_locked_and_names_nobody(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.touch()
    deny(monkeypatch, os.O_RDWR)
    lock = take(path)
    assert "an unnamed process" in refusal(path)
    lock.release()
    take(path).release()


def test_a_file_that_may_not_be_opened_gets_a_clear_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch()
    monkeypatch.setattr(
        os, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
    )
    with pytest.raises(UsageError) as caught:
        MeasuringLock(path).acquire(0, refuse)
    assert str(caught.value) == (
        f"cannot lock {path}, so that no two runs measure at once: Permission denied; "
        "name another file in PYTEST_LLM_LOCK"
    )


def make_folder(path: Path) -> None:
    path.mkdir()


def make_link(path: Path) -> None:
    path.with_name("precious").write_text("precious")
    path.symlink_to(path.with_name("precious"))


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "why"),
    [(make_folder, "Is a directory"), (make_link, "it is a link"), (make_pipe, "it is no regular file")],
)
def test_what_is_no_file_is_refused_and_left_alone(
    make: Callable[[Path], None], why: str, path: Path
) -> None:
    make(path)
    assert f"cannot lock {path}, so that no two runs measure at once: {why};" in refusal(path)
    precious = path.with_name("precious")
    assert not precious.exists() or precious.read_text() == "precious"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none" / "lock"
    assert f"cannot lock {path}" in refusal(path)
    assert "No such file or directory" in refusal(path)


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_a_refused_or_busy_lock_leaves_no_file_open(path: Path, tmp_path: Path) -> None:
    lock = take(path)
    pipe = tmp_path / "pipe"
    make_pipe(pipe)
    before = open_files()
    refusal(path)
    refusal(pipe)
    assert open_files() == before
    lock.release()


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_llm.system import lock as measuring_lock

    really = measuring_lock._open
    opened = []

    def removed_once(path: Path, mode: int | None = None) -> int:
        opened.append(handle := really(path, mode))
        if len(opened) == 1:
            path.unlink()
        return handle

    monkeypatch.setattr(measuring_lock, "_open", removed_once)
    waiting = Waiting()
    lock = waiting.lock(path)
    lock.acquire(1, waiting.told.append)
    assert len(opened) == 2
    assert "another run" in refusal(path)
    lock.release()


def test_the_lock_of_this_machine_does_not_depend_on_the_user_s_own_temporary_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert lock_path({}) == lock_path({"TMPDIR": str(tmp_path)}) == Path("/tmp/pytest-llm-bench.lock")


@pytest.mark.parametrize(("value", "path"), [("/x/lock", "/x/lock"), ("", "/tmp/pytest-llm-bench.lock")])
def test_the_environment_may_name_another_file(value: str, path: str) -> None:
    assert lock_path({"PYTEST_LLM_LOCK": value}) == Path(path)


def test_a_lock_file_named_without_its_folder_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert lock_path({"PYTEST_LLM_LOCK": "lock"}) == tmp_path / "lock"


# ── shared locks ─────────────────────────────────────────────────────────────────────────────────


def test_several_share_a_lock_and_keep_it_from_an_exclusive_holder(path: Path) -> None:
    first, second, alone = FileLock(path, shared=True), FileLock(path, shared=True), FileLock(path)
    first.acquire(0)
    second.acquire(0)
    first.release()
    with pytest.raises(LockBusyError, match=r"another process has held .* for 0 s: end it first"):
        alone.acquire(0)
    second.release()
    alone.acquire(0)
    with pytest.raises(LockBusyError, match=rf"for 0 s \(process {os.getpid()} .*\): end it first"):
        first.acquire(0)
    alone.release()


def test_a_lock_is_free_for_those_who_could_take_it(path: Path) -> None:
    shared, exclusive = FileLock(path, shared=True), FileLock(path)
    assert shared.is_free()
    assert not path.exists()
    shared.acquire(0)
    assert (FileLock(path, shared=True).is_free(), exclusive.is_free()) == (True, False)
    shared.release()
    exclusive.acquire(0)
    assert not FileLock(path, shared=True).is_free()
    exclusive.release()


# ── names that lead to files of others ────────────────────────────────────────────────────────────────


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    found = tmp_path / "precious"
    found.write_text("my only copy")
    return found


@pytest.mark.parametrize("kind", ["link", "hard link", "link to nothing"])
@pytest.mark.parametrize("lock", [FileLock, MeasuringLock])
def test_a_link_is_no_lock_and_what_it_leads_to_stays(
    kind: str, lock: type[FileLock], path: Path, precious: Path
) -> None:
    if kind == "hard link":
        path.hardlink_to(precious)
    else:
        path.symlink_to(precious if kind == "link" else precious.with_name("nothing"))
    with pytest.raises((OSError, UsageError)) as caught:
        lock(path).acquire(0)
    if lock is MeasuringLock:
        reason = "it has other names (hard links)" if kind == "hard link" else "it is a link"
        assert str(caught.value) == (
            f"cannot lock {path}, so that no two runs measure at once: {reason}; "
            "name another file in PYTEST_LLM_LOCK"
        )
    assert precious.read_text() == "my only copy"
    assert not precious.with_name("nothing").exists()


@pytest.mark.parametrize("kind", ["link", "hard link"])
def test_a_folder_s_lock_that_is_a_link_is_named(kind: str, tmp_path: Path, precious: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    lock = folder / ".lock"
    lock.symlink_to(precious) if kind == "link" else lock.hardlink_to(precious)
    with pytest.raises(OSError, match=re.escape(f"{lock} cannot be locked: it ")), folder_lock(folder, 0):
        pass
    assert precious.read_text() == "my only copy"


def test_a_file_of_the_user_s_that_is_named_as_a_lock_is_locked_and_kept(path: Path) -> None:
    path.write_text("my only copy")
    lock = take(path)
    assert "an unnamed process" in refusal(path)
    lock.release()
    assert path.read_text() == "my only copy"


@pytest.mark.parametrize("text", ["[" * 4096, '{"pid": ' + "[" * 4000, '{"pid": ' + "9" * 4000 + "}"])
def test_brackets_and_digits_without_end_name_nobody(text: str, path: Path) -> None:
    path.write_text(text)
    assert MeasuringLock(path).holder() is None
    assert MeasuringLock(path).is_free()
