"""A prebuilt archive of llama.cpp: fetched, checked against the project's lock file, unpacked."""

from __future__ import annotations

import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pytest_llm.builds.recipe import Made
from pytest_llm.errors import BuildError
from pytest_llm.records import Archive
from pytest_llm.system.download import DownloadError, download

if TYPE_CHECKING:
    from pytest_llm.builds.recipe import Order
    from pytest_llm.system.program import Running

_LARGEST = 4 * 2**30  # of an archive; the largest with CUDA has some 0.7 GiB
_LARGEST_UNPACKED = 16 * 2**30
_MOST_FILES = 100_000
# A damaged file, or one that is packed or encrypted in a way that the library does not know.
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, NotImplementedError, RuntimeError),
)
_UNPACKED = "archive"
_FETCHED = "fetched"


class PrebuiltArchive:
    """The recipe."""

    def program(self, folder: Path) -> Path:
        name = "llama-server"
        found = sorted((folder / _UNPACKED).rglob(name), key=lambda each: (len(each.parts), each))
        return next((each for each in found if each.is_file()), folder / _UNPACKED / name)

    def is_whole(self, folder: Path) -> bool:  # noqa: ARG002
        return True

    def make(self, order: Order, folder: Path, run: Running) -> Made:
        reference = order.reference
        assert isinstance(reference, Archive)
        # Beside the build's folder, which is emptied when making it begins anew.
        fetched = folder.with_name(f"{folder.name}.{_FETCHED}")
        try:
            whole = download(reference.url, fetched, _LARGEST, run.on_progress)
            known = order.archives.known(reference.url)
            if known and known != whole.sha256:
                order.archives.check(reference.url, whole.sha256)
            unpack(fetched, reference.url, folder / _UNPACKED)
        except DownloadError as error:
            raise BuildError(str(error)) from None
        except OSError as error:
            raise BuildError(f"{reference.url} cannot be unpacked: {error.strerror or error}") from None
        finally:
            fetched.unlink(missing_ok=True)
        program = self.program(folder)
        if not os.access(program, os.X_OK):
            raise BuildError(f"{reference.url} holds no llama-server: correct llm_archive_url")
        return Made(f"sha256 {whole.sha256[:12]}", sha256=whole.sha256)


def unpack(archive: Path, url: str, folder: Path) -> None:
    """Unpack a .tar.gz or .zip into a folder.

    Args:
        archive: The file.
        url: Its name, which says what it is.
        folder: Does not exist yet.

    Raises:
        BuildError: The archive cannot be read, is far too large, or has a file or link that leads out of the
            folder.
    """
    folder.mkdir()
    try:
        if url.endswith(".zip"):
            with zipfile.ZipFile(archive) as opened:
                _unzip(opened, url, folder)
        else:
            with tarfile.open(archive) as opened_tar:
                _untar(opened_tar, url, folder)
    except _DAMAGED as error:
        raise BuildError(f"{url} cannot be unpacked: {error}") from None


def _untar(opened: tarfile.TarFile, url: str, folder: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise BuildError(f"{url} cannot be unpacked safely by this Python: take its latest patch release")
    size = 0
    for count, member in enumerate(opened):
        size += member.size
        _check_size(url, size, count)
        try:
            opened.extract(member, folder, filter="data")
        except tarfile.FilterError as error:
            raise BuildError(f"{url} is refused: {error}") from None


def _unzip(opened: zipfile.ZipFile, url: str, folder: Path) -> None:
    files = opened.infolist()
    _check_size(url, sum(each.file_size for each in files), len(files))
    for each in files:
        path, mode = PurePosixPath(each.filename), each.external_attr >> 16
        if path.is_absolute() or ".." in path.parts or stat.S_ISLNK(mode):
            raise BuildError(f"{url} is refused: {each.filename!r} leads out of its folder")
        written = Path(opened.extract(each, folder))
        if mode & 0o111 and written.is_file():
            written.chmod(0o755)


def _check_size(url: str, size: int, count: int) -> None:
    if size > _LARGEST_UNPACKED or count > _MOST_FILES:
        raise BuildError(f"{url} is refused: it unpacks to more than any release of llama.cpp")
