"""A model in another place: the same bytes in another file.

Files of equal content are not equally fast (``benchmarks/copies.py``), presumably by where their pages lie in
memory, for as long as they stay in the page cache.
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
    from collections.abc import Mapping
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
    known = _KNOWN | {each.identity: each.sha256 for each in model.opened}
    try:
        opened = tuple(_opened(each, known) for each in part_paths(path))
    except (ModelMissingError, ModelHeaderError, OSError):
        return None
    if combined([each.sha256 for each in opened]) != model.sha256:
        raise ModelHashError(
            f"{path} has other content than {model.path}: give both the same file, or name the model by the "
            "file that is loaded"
        )
    return replace(model, path=path, opened=opened)


def has_content(model: Model, path: str) -> bool:
    """Return true if the file at a path can be read and has a model's content."""
    try:
        return model_at(model, path) is not None
    except ModelHashError:
        return False


def _opened(path: Path, known: Mapping[tuple[int, ...], str]) -> OpenedFile:
    descriptor = open_file(path)
    found = identity(descriptor)
    digest = known.get(found)
    if digest is None:
        digest = _KNOWN[found] = hash_descriptor(descriptor, path.name)
    return OpenedFile(str(path), descriptor, found, digest)
