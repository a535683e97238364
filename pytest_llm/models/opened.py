"""Files of a model that stay open, so that the bytes that were hashed are the bytes that are loaded.

Another file may get the name of a model at any time; a descriptor stays with its file. Programs that inherit
it open ``/proc/self/fd/NUMBER``, which Linux has.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.errors import ModelHashError, ModelHeaderError, ModelMissingError
from pytest_llm.models.checksums import hash_descriptor, hash_file, identity
from pytest_llm.models.progress import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_llm.models.progress import Show
    from pytest_llm.records import Adapter, DraftModel, Model
    from pytest_llm.records.subject import OpenedFile

_DESCRIPTORS = Path("/proc/self/fd")


class Descriptor(int):
    """A descriptor that is closed with the last reference to it; copies are plain numbers."""

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        with suppress(OSError):
            close(self)

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)


def open_file(path: Path) -> Descriptor:
    """Open a regular file for reading.

    Raises:
        ModelMissingError: There is no such file.
        ModelHeaderError: It is no regular file, or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a device can have effects
            raise _irregular(path)
        # Opening a named pipe would block.
        descriptor = Descriptor(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except (FileNotFoundError, NotADirectoryError):
        raise ModelMissingError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ModelHeaderError(path, 0, f"it cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise _irregular(path)
    return descriptor


def _irregular(path: Path) -> ModelHeaderError:
    return ModelHeaderError(path, 0, "it is not a regular file")


def unchanged(files: Sequence[OpenedFile]) -> tuple[OpenedFile, ...]:
    """Return opened files with their present identity.

    Raises:
        ModelHashError: The content of one changed, or its path leads to a file with other content.
    """
    return tuple(map(_unchanged, files))


def check_unchanged(model: Model) -> None:
    """Check the files of a model and of its adapters by identity; :func:`unchanged` raises."""
    unchanged(model.all_opened)


def check_content(model: Model, show: Show = silent) -> None:
    """Check the files of a model and of its adapters by hashing them again.

    A program that mapped a file before it was hashed can write through the mapping, which leaves the times of
    the file as they are.

    Args:
        model: The model.
        show: Takes lines of progress.

    Raises:
        ModelHashError: The content of one changed.
    """
    for each in model.all_opened:
        if hash_descriptor(each.descriptor, f"{Path(each.path).name} again", show) != each.sha256:
            raise _changed(each)
    check_unchanged(model)


def _unchanged(file: OpenedFile) -> OpenedFile:
    now = identity(file.descriptor)
    try:
        if now != file.identity and hash_descriptor(file.descriptor) != file.sha256:
            raise _changed(file)
        at_path = Path(file.path).stat()
        if (at_path.st_dev, at_path.st_ino) != now[:2] and hash_file(Path(file.path)) != file.sha256:
            raise _changed(file)
    except OSError:
        raise _changed(file) from None
    return replace(file, identity=now)


def _changed(file: OpenedFile) -> ModelHashError:
    return ModelHashError(
        f"{file.path} changed during this run: leave the model as it is until the run ends, and run again"
    )


@contextmanager
def loadable(model: Model | Adapter | DraftModel) -> Iterator[str]:
    """Yield the path by which a program that inherits the descriptors opens a model or an adapter.

    llama.cpp finds the parts of a split model by their names, so they are links in a folder. Systems that
    open no descriptor anew get the path itself.
    """
    opened = model.opened if model.opened and model.opened[0].path == model.path else ()
    links = [_DESCRIPTORS / str(each.descriptor) for each in opened]
    if not links or not sys.platform.startswith("linux") or not _DESCRIPTORS.is_dir():
        yield model.path
    elif len(links) == 1:
        yield str(links[0])
    else:
        with tempfile.TemporaryDirectory(prefix="pytest-llm-") as folder:
            for each, link in zip(opened, links, strict=True):
                Path(folder, Path(each.path).name).symlink_to(link)
            yield str(Path(folder, Path(model.path).name))
