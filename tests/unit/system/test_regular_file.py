"""That only regular files are read, with a bound, and nothing is waited for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pytest_llm.errors import DataError, DataMissingError
from pytest_llm.system import regular_file

NOT = "not a regular file"


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        regular_file.read(path, limit=1000)
    assert str(caught.value).startswith(f"{path} ")
    return caught.value.reason


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 1000)
    assert regular_file.read(path, limit=1000) == b"x" * 1000
    path.write_bytes(b"x" * 1001)
    assert refusal(path) == "has more than 1000 bytes"


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").symlink_to("a")
    assert regular_file.read(tmp_path / "b", limit=1) == b"x"


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    (tmp_path / "b").symlink_to("a")
    assert refusal(tmp_path / "a") == refusal(tmp_path / "b") == f"cannot be read: it is a pipe, {NOT}"


def test_a_file_that_becomes_a_pipe_before_it_is_opened_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.touch()
    before = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(Path, "stat", lambda *_, **__: before)
    assert refusal(path) == f"cannot be read: it is a pipe, {NOT}"


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/full"])
def test_a_device_is_refused(device: str, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(device)
    assert refusal(Path(device)) == refusal(tmp_path / "a") == f"cannot be read: it is a device, {NOT}"


def test_a_folder_and_a_socket_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # paths of sockets are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        assert refusal(Path("s")) == f"cannot be read: it is a socket, {NOT}"
    assert refusal(tmp_path) == f"cannot be read: it is a folder, {NOT}"


@pytest.mark.parametrize("size", [10**9, 10**12])
def test_a_file_of_holes_is_refused_by_its_size(size: int, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    os.truncate(path, size)
    assert refusal(path) == "has more than 1000 bytes"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc")
def test_a_file_that_tells_no_size_is_bounded_all_the_same() -> None:
    assert refusal(Path("/proc/self/maps")) == "has more than 1000 bytes"


def test_a_path_with_a_nul_is_refused() -> None:
    with pytest.raises(DataError, match=r"^'a\\x00b' cannot be read: its name holds a NUL character$"):
        regular_file.read(Path("a\0b"), limit=1)


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    assert refusal(tmp_path / "a").startswith("cannot be read: Too many levels of symbolic links")


@pytest.mark.parametrize("name", ["a", "file/a"])
def test_a_file_that_is_not_there_is_an_error_of_its_own(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataMissingError):
        regular_file.read(tmp_path / name, limit=1)
