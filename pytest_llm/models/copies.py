"""A model in another place: the same bytes in another file.

Files of equal content are not equally fast: how a file lies in the page cache, in large or in small pieces of
memory, depends on how it was written and read, and lasts until it leaves the cache.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llm.errors import ModelHashError, ModelHeaderError, ModelMissingError
from pytest_llm.models.checksums import combined, hash_descriptor, identity
from pytest_llm.models.gguf.parts import part_paths
from pytest_llm.models.opened import open_file
from pytest_llm.records.subject import OpenedFile

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.records import Model

# By the identity of a file: a tool is asked again for each session.
_KNOWN: dict[tuple[int, ...], str] = {}


def model_at(model: Model, path: str) -> Model | None:
    """Return a model as it lies at another path, its files open; None if they cannot be read.

    Raises:
        ModelHashError: They have other content.
    """
    if not path:
        return None
    try:
        opened = tuple(map(_opened, part_paths(path)))
    except (ModelMissingError, ModelHeaderError, OSError):
        return None
    if combined([each.sha256 for each in opened]) != model.sha256:
        raise ModelHashError(
            f"{path} has other content than {model.path}: give both the same file, or name the model by the "
            "file that is loaded"
        )
    return replace(model, path=path, opened=opened)


def _opened(path: Path) -> OpenedFile:
    descriptor = open_file(path)
    found = identity(descriptor)
    if found not in _KNOWN:
        _KNOWN[found] = hash_descriptor(descriptor, path.name)
    return OpenedFile(str(path), descriptor, found, _KNOWN[found])
