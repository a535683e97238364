"""Downloads from a server that breaks off, changes its mind, or sends something else."""

from __future__ import annotations

import hashlib
import random
import shutil
from typing import TYPE_CHECKING

import pytest

from pytest_llm.system.download import DownloadError, download
from tests.file_server import FileServer, serving_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = random.Random(1).randbytes(300_000)
LIMIT = 2**20


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving_files() as found:
        found.files["/a.tar.gz"] = DATA
        yield found


def fetch(server: FileServer, target: Path, path: str = "/a.tar.gz", limit: int = LIMIT) -> list[str]:
    told: list[str] = []
    found = download(f"{server.url}{path}", target, limit, told.append, sleep=lambda _: None)
    assert found == (hashlib.sha256(target.read_bytes()).hexdigest(), target.stat().st_size)
    return told


def test_a_file_comes_whole_and_leaves_nothing_beside_it(server: FileServer, tmp_path: Path) -> None:
    fetch(server, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == DATA
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("seed", range(5))
def test_a_download_that_is_interrupted_at_random_goes_on(
    seed: int, server: FileServer, tmp_path: Path
) -> None:
    drawn = random.Random(seed)
    server.cut = [drawn.randrange(1, 90_000) for _ in range(4)]
    told = fetch(server, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == DATA
    begins = [int(wanted.removeprefix("bytes=").rstrip("-") or 0) for _, wanted in server.asked]
    assert begins == sorted(begins)
    assert begins[-1] > 0
    assert len(told) == 4


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(server: FileServer, tmp_path: Path) -> None:
    server.cut = [1000] * 5
    with pytest.raises(DownloadError, match="connection ended after 5000 bytes, 5 times"):
        fetch(server, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    server.asked.clear()
    fetch(server, tmp_path / "a")
    assert server.asked == [("/a.tar.gz", "bytes=5000-")]
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: FileServer, tmp_path: Path) -> None:
    server.cut = [1000] * 5
    with pytest.raises(DownloadError):
        fetch(server, tmp_path / "a")
    server.files["/a.tar.gz"] = other = DATA[::-1]
    fetch(server, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == other


def test_without_a_tag_nothing_is_gone_on_with(server: FileServer, tmp_path: Path) -> None:
    server.tags = False
    server.cut = [1000]
    fetch(server, tmp_path / "a")
    assert [wanted for _, wanted in server.asked] == ["", ""]


def test_a_busy_server_is_asked_again(server: FileServer, tmp_path: Path) -> None:
    server.status = [503, 429]
    told = fetch(server, tmp_path / "a")
    assert [line.partition(": ")[2] for line in told] == [
        "it answered 503; trying again",
        "it answered 429; trying again",
    ]


def test_a_redirect_is_followed(server: FileServer, tmp_path: Path) -> None:
    server.redirects["/latest"] = "/a.tar.gz"
    fetch(server, tmp_path / "a", "/latest")
    assert (tmp_path / "a").read_bytes() == DATA


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("http://example.org/a.tar.gz", "redirects to http://example.org/a.tar.gz, which is not encrypted"),
        ("/loop", "redirects more than 5 times"),
    ],
)
def test_a_redirect_that_leads_nowhere_good_is_refused(
    where: str, reason: str, server: FileServer, tmp_path: Path
) -> None:
    server.redirects["/loop"] = where
    with pytest.raises(DownloadError, match=reason):
        fetch(server, tmp_path / "a", "/loop")


def test_a_file_that_is_not_there_is_named(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"/b\.tar\.gz cannot be fetched: the server answered 404"):
        fetch(server, tmp_path / "a", "/b.tar.gz")


def test_a_file_that_is_too_large_is_refused_before_it_is_fetched(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="more than"):
        fetch(server, tmp_path / "a", limit=1000)
    assert not (tmp_path / "a").exists()


def test_a_full_disk_is_told_before_it_happens(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(DownloadError, match="has room for 0: free some space"):
        fetch(server, tmp_path / "a")


def test_a_server_that_is_not_there_is_told_after_some_attempts(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:9/a cannot be fetched: .*, 5 times"):
        download("http://127.0.0.1:9/a", tmp_path / "a", LIMIT, sleep=lambda _: None)
