"""Prebuilt archives from a release page of our own: fetched, pinned, refused when they have changed."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from pytest_llm.builds.archive_lock import NAME
from pytest_llm.builds.provider import build_store
from pytest_llm.builds.reference import parse_build
from pytest_llm.errors import BuildError
from tests.file_server import FileServer, serving_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_llm.builds import BuildStore
    from pytest_llm.records import BuildReference

FLAGS = ["-m", "-c", "-b", "-ub", "-np", "-t", "-tb", "-ngl", "--host", "--port"]
SERVER = (
    f"#!{sys.executable} -IS\n"
    "import sys\n"
    f"print('\\n'.join(flag + ' VALUE' for flag in {FLAGS}) if '--help' in sys.argv else"
    " 'version: 0.5.0 (build 11434, commit 0c1e570)')\n"
)
FOLDER = "llama-b11434"
Entry = tuple[str, bytes, int]
GOOD: list[Entry] = [
    (f"{FOLDER}/llama-server", SERVER.encode(), 0o755),
    (f"{FOLDER}/LICENSE", b"MIT", 0o644),
]


def tar_gz(entries: list[Entry], links: dict[str, str] | None = None) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, data, mode in entries:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), mode
            archive.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return written.getvalue()


def zipped(entries: list[Entry]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, data, mode in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, data)
    return written.getvalue()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving_files() as found:
        found.files["/b11434/llama.tar.gz"] = tar_gz(GOOD, {f"{FOLDER}/server": "llama-server"})
        yield found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    found = tmp_path / "home"
    found.mkdir()
    return found


@pytest.fixture
def store(tmp_path: Path, home: Path) -> Iterator[Callable[[], BuildStore]]:
    stores: list[BuildStore] = []

    def opened(cache: str = "cache") -> BuildStore:
        stores.append(build_store(tmp_path / cache, home))
        return stores[-1]

    yield opened
    for each in stores:
        each.close()


def archive(server: FileServer, tmp_path: Path, ending: str = "tar.gz") -> BuildReference:
    return parse_build("llama-server@b11434", tmp_path, archives=f"{server.url}/{{tag}}/llama.{ending}")


def locked(home: Path) -> dict[str, str]:
    document: dict[str, dict[str, str]] = json.loads((home / NAME).read_text(encoding="utf-8"))
    return document["archives"]


def ignore(_: str) -> None:
    pass


def test_an_archive_is_fetched_once_pinned_and_described(
    server: FileServer, store: Callable[..., BuildStore], home: Path, tmp_path: Path
) -> None:
    reference = archive(server, tmp_path)
    program = store().ready(reference, ignore)
    (found,) = store().kept()
    assert found.manifest is not None
    assert str(found.manifest.description) == "llama-server b11434 (llama.cpp 0c1e570)"
    assert program.endswith(f"/{FOLDER}/llama-server")
    url, data = f"{server.url}/b11434/llama.tar.gz", server.files["/b11434/llama.tar.gz"]
    assert locked(home) == {url: hashlib.sha256(data).hexdigest()}

    assert store().ready(reference, ignore) == program
    assert len(server.asked) == 1
    assert str(reference) == "llama-server@b11434"


def test_an_archive_is_pinned_when_it_is_made_and_removed_with_what_was_fetched_of_it(
    server: FileServer, store: Callable[..., BuildStore], home: Path, tmp_path: Path
) -> None:
    reference = archive(server, tmp_path)
    server.status = [404]
    with pytest.raises(BuildError, match="answered 404"):
        store().make(reference, ignore)
    store().make(reference, ignore)
    assert len(locked(home)) == 1
    (found,) = store().kept()
    (found.folder.with_name(f"{found.folder.name}.fetched.part")).write_bytes(b"half")
    store().remove(found)
    assert list(found.folder.parent.iterdir()) == []


def test_a_zip_is_an_archive_as_well(
    server: FileServer, store: Callable[..., BuildStore], tmp_path: Path
) -> None:
    server.files["/b11434/llama.zip"] = zipped([(f"build/bin/{name[13:]}", *rest) for name, *rest in GOOD])  # type: ignore[misc]
    assert store().ready(archive(server, tmp_path, "zip"), ignore).endswith("/build/bin/llama-server")


def test_an_archive_that_changed_is_refused_and_nothing_of_it_stays(
    server: FileServer, store: Callable[..., BuildStore], home: Path, tmp_path: Path
) -> None:
    reference = archive(server, tmp_path)
    store().ready(reference, ignore)
    before = (home / NAME).read_bytes()
    server.files["/b11434/llama.tar.gz"] = tar_gz([*GOOD, ("more", b"", 0o644)])

    with pytest.raises(
        BuildError, match=r"/llama\.tar\.gz has changed: its SHA-256 is \w{64}, and .* has \w{64}"
    ):
        store("another cache").ready(reference, ignore)

    assert store("another cache").kept() == []
    assert (home / NAME).read_bytes() == before


def test_a_build_that_is_there_is_checked_against_the_lock_file_of_each_project(
    server: FileServer, store: Callable[..., BuildStore], home: Path, tmp_path: Path
) -> None:
    reference = archive(server, tmp_path)
    store().ready(reference, ignore)
    (url,) = locked(home)
    (home / NAME).write_text(json.dumps({"schema_version": 1, "archives": {url: "0" * 64}}), encoding="utf-8")
    with pytest.raises(BuildError, match="has changed"):
        store().ready(reference, ignore)


@pytest.mark.parametrize(
    "written", ["", "[]", "{", '{"schema_version": 2, "archives": {}}', '{"schema_version": 1}']
)
def test_a_lock_file_that_is_none_is_refused(
    written: str, server: FileServer, store: Callable[..., BuildStore], home: Path, tmp_path: Path
) -> None:
    (home / NAME).write_text(written, encoding="utf-8")
    with pytest.raises(BuildError, match=NAME):
        store().ready(archive(server, tmp_path), ignore)
    assert (home / NAME).read_text(encoding="utf-8") == written


@pytest.mark.parametrize(
    "data",
    [
        tar_gz([*GOOD, ("../outside", b"", 0o644)]),
        tar_gz(GOOD, {"link": "../../outside"}),
        tar_gz(GOOD)[:-30],
        tar_gz(GOOD)[:40] + bytes(20) + tar_gz(GOOD)[60:],
        b"no archive",
        tar_gz([(f"{FOLDER}/LICENSE", b"MIT", 0o644)]),
        tar_gz([(f"{FOLDER}/llama-server", SERVER.encode(), 0o644)]),
    ],
    ids=["climbs", "links out", "cut short", "damaged", "no archive", "no server", "not executable"],
)
def test_an_archive_that_cannot_be_trusted_leaves_nothing(
    data: bytes, server: FileServer, store: Callable[..., BuildStore], home: Path, tmp_path: Path
) -> None:
    server.files["/b11434/llama.tar.gz"] = data
    with pytest.raises(
        BuildError, match=r"/llama\.tar\.gz (is refused|cannot be unpacked|holds no llama-server)"
    ):
        store().ready(archive(server, tmp_path), ignore)
    assert store().kept() == []
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "cache" / "outside").exists()
    assert not (home / NAME).exists()


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_a_zip_that_climbs_out_of_its_folder_is_refused(
    name: str, server: FileServer, store: Callable[..., BuildStore], tmp_path: Path
) -> None:
    server.files["/b11434/llama.zip"] = zipped([*GOOD, (name, b"", 0o644)])
    with pytest.raises(BuildError, match=f"is refused: '{name}' leads out of its folder"):
        store().ready(archive(server, tmp_path, "zip"), ignore)


def test_a_link_in_a_zip_is_refused(
    server: FileServer, store: Callable[..., BuildStore], tmp_path: Path
) -> None:
    server.files["/b11434/llama.zip"] = zipped([*GOOD, ("link", b"/etc", 0o120777)])
    with pytest.raises(BuildError, match="is refused: 'link' leads out"):
        store().ready(archive(server, tmp_path, "zip"), ignore)


def test_a_lock_file_that_cannot_be_written_is_told(
    server: FileServer, store: Callable[..., BuildStore], home: Path, tmp_path: Path
) -> None:
    (home / NAME).mkdir()
    with pytest.raises(BuildError, match=NAME):
        store().ready(archive(server, tmp_path), ignore)
