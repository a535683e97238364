"""What is written in place of a file, through a link, and to what is no file."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import pytest_llm
from pytest_llm.system import atomic_file

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(pytest_llm.__file__).parents[1])}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def refusal(path: Path) -> str:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the text is what is asserted
        atomic_file.replace(path, b"new")
    assert not list(path.parent.glob(".write-*"))
    return str(caught.value.strerror)


def test_a_new_file_is_readable_as_the_umask_says(path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_file.replace(path, b"new")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o666])
def test_a_file_keeps_its_mode(path: Path, mode: int) -> None:
    path.write_bytes(b"old")
    path.chmod(mode)
    atomic_file.replace(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_stays_theirs(path: Path) -> None:
    path.write_bytes(b"old")
    os.chown(path, 12345, 54321)
    atomic_file.replace(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path, path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "real").write_bytes(b"old")
    (tmp_path / "middle").symlink_to("below/real")
    path.symlink_to("middle")
    atomic_file.replace(path, b"new")
    assert path.is_symlink()
    assert (tmp_path / "middle").is_symlink()
    assert (tmp_path / "below" / "real").read_bytes() == b"new"
    assert [each.name for each in (tmp_path / "below").iterdir()] == ["real"]


def test_a_link_in_a_cache_is_replaced_and_what_it_leads_to_stays(tmp_path: Path, path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"my only copy")
    for target in ("precious", "nothing", "/dev/null"):
        path.symlink_to(target)
        atomic_file.replace_own(path, b"new")
        assert not path.is_symlink()
        assert path.read_bytes() == b"new"
        path.unlink()
    assert (tmp_path / "precious").read_bytes() == b"my only copy"
    assert not (tmp_path / "nothing").exists()


def test_a_link_to_nothing_is_refused(tmp_path: Path, path: Path) -> None:
    path.symlink_to("elsewhere")
    assert refusal(path) == "it is a link to nothing"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("linked", [False, True])
def test_a_device_is_written_to_and_stays_one(path: Path, *, linked: bool) -> None:
    before = os.stat("/dev/null")  # noqa: PTH116 - the device itself
    if linked:
        path.symlink_to("/dev/null")
    atomic_file.replace(path if linked else Path("/dev/null"), b"new")
    after = Path("/dev/null").stat()
    assert (after.st_rdev, after.st_ino, after.st_mode) == (before.st_rdev, before.st_ino, before.st_mode)
    assert not atomic_file.is_replaced(Path("/dev/null"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_device_that_takes_nothing_says_why(path: Path) -> None:
    path.symlink_to("/dev/full")
    assert refusal(path) == os.strerror(errno.ENOSPC)


def test_a_pipe_is_written_to_and_stays_one(path: Path) -> None:
    os.mkfifo(path)
    assert not atomic_file.is_replaced(path)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(path.read_bytes()))
    reader.start()
    while True:
        try:
            atomic_file.replace(path, b"x" * 10**6)
            break
        except OSError as error:
            if error.errno != errno.ENXIO:  # the reader is not there yet
                raise
    reader.join()
    assert found == [b"x" * 10**6]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_pipe_that_nobody_reads_is_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    assert refusal(path) == "nobody reads the pipe, or there is no such device"


def test_a_reader_that_stops_reading_is_not_waited_for_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic_file, "_PATIENCE", 0.05)
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(OSError, match="its reader has stopped reading"):
            atomic_file.replace(path, b"x" * 10**6)
    finally:
        os.close(reader)


WRITE = (
    "import sys; from pathlib import Path; from pytest_llm.system import atomic_file\n"
    "print('before', flush=True); atomic_file.replace(Path(sys.argv[1]), b'{}'); print('after')"
)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc")
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_is_written_to_whatever_it_is(name: str, path: Path) -> None:
    command = [sys.executable, "-c", WRITE, name]
    piped = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert piped.stdout == "before\n{}after\n"
    with path.open("a") as file:
        subprocess.run(command, env=ENVIRONMENT, stdout=file, check=True)
    assert path.read_text() == "before\n{}after\n"


def test_a_folder_is_refused(path: Path) -> None:
    path.mkdir()
    assert refusal(path) == os.strerror(errno.EISDIR)


def test_a_folder_that_takes_no_files_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"old")

    def limited(name: Path, flags: int, mode: int = 0o777) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(name))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", limited)
        assert refusal(path) == f"Permission denied in the folder {path.parent}"
    assert path.read_bytes() == b"old"


def test_what_is_kept_of_a_device_is_no_file_beside_it(path: Path) -> None:
    path.symlink_to("/dev/null")
    before = sorted(Path("/dev").iterdir())
    atomic_file.replace(path, json.dumps({}).encode())
    assert sorted(Path("/dev").iterdir()) == before


def test_what_stands_in_the_way_is_told_without_writing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"old")
    (tmp_path / "link").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe")
    for fine in (path, tmp_path / "new", tmp_path / "a" / "b" / "new", tmp_path / "pipe", Path("/dev/null")):
        assert atomic_file.obstacle(fine) == "", fine
    assert atomic_file.obstacle(path / "new") == f"{path} is no folder"
    assert atomic_file.obstacle(tmp_path / "link") == "it is a link to nothing"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert atomic_file.obstacle(path) == f"the folder {tmp_path} may not be written to"
    assert atomic_file.obstacle(tmp_path / "a" / "new") == f"the folder {tmp_path} may not be written to"
    assert atomic_file.obstacle(tmp_path / "pipe") == "it may not be written to"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "link", "pipe"]
