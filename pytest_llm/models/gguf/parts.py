"""Parts of a split model: found by their names, checked against each other, read as one header.

``llama-gguf-split`` names them ``NAME-00001-of-00003.gguf``; llama.cpp opens the others beside the first.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.errors import ModelPartsError
from pytest_llm.models.gguf.header import Header, read_header

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_llm.records import Model

_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
# The number of a part, from 0, how many there are, and the tensors of all of them.
_NUMBER, _COUNT, _TENSORS = "split.no", "split.count", "split.tensors.count"
_FILE_TYPE = "general.file_type"
_SHOWN = 5  # names in a message; a header can claim 65,535 parts


def part_names(name: str) -> tuple[str, ...]:
    """Return the file names of all parts of a model, by the name of one; the name itself if it is whole."""
    match = _NAME.fullmatch(name)
    count = int(match["count"]) if match else 0
    if match is None or not count:
        return (name,)
    return tuple(f"{match['stem']}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1))


def part_paths(path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Return the paths of all parts of a model, by the path of one; no file is opened."""
    path = Path(path)
    return tuple(path.with_name(name) for name in part_names(path.name))


def files_of(model: Model) -> list[Path]:
    """Return the files that a model is loaded from: its parts, its adapters, and its draft model's parts."""
    drafts = part_paths(model.draft.path) if model.draft else ()
    return [*part_paths(model.path), *(Path(each.path) for each in model.adapters), *drafts]


def read_model(path: str | os.PathLike[str], opened: Mapping[Path, int] | None = None) -> Header:
    """Return the header of a model; that of a split one has the tensors and files of all parts.

    Args:
        path: The file, or the first part.
        opened: Descriptors of the files that are open already, by path.

    Raises:
        ModelMissingError: There is no such file.
        ModelHeaderError: A file is not GGUF, or its header is damaged.
        ModelPartsError: The path is not the first part, parts are missing, or they do not belong together.
    """
    path = Path(path)
    paths, opened = part_paths(path), opened or {}
    first = read_header(path, opened.get(path), needs_architecture=path == paths[0])
    count = _number(first, _COUNT, path)
    if count < 2:
        if len(paths) > 1:
            raise ModelPartsError(
                f"{path}: its name says that the model has {len(paths)} parts, its header that it is whole: "
                "rename the file"
            )
        return first
    number = _number(first, _NUMBER, path)
    if number:
        first_name = f", {paths[0].name}" if paths[0] != path else ""
        raise ModelPartsError(f"{path}: it is part {number + 1} of {count}: name the first part{first_name}")
    if len(paths) != count or paths[0] != path:
        raise ModelPartsError(
            f"{path}: its header says that it is part 1 of {count}, so llama.cpp needs a name that ends in "
            f"-00001-of-{count:05}.gguf: give the files the names that they were published with"
        )
    _check_files(paths)
    return _joined(first, paths, opened)


def _number(header: Header, key: str, path: Path) -> int:
    value = header.metadata.get(key, 0)
    if not isinstance(value, int):
        raise ModelPartsError(f"{path}: its {key} is {value!r}, not a number: fetch the file again")
    return value


def _check_files(paths: tuple[Path, ...]) -> None:
    """Check that the folder has each part, and none with a number beyond the last."""
    folder, count = paths[0].parent, len(paths)
    missing = [each.name for each in paths if not each.is_file()]
    if missing:
        raise ModelPartsError(
            f"{paths[0]}: {len(missing)} of its {count} parts are missing: put {_listed(missing)} into "
            f"{folder}"
        )
    extra = sorted(set(_beside(paths[0])) - {each.name for each in paths})
    if extra:
        raise ModelPartsError(
            f"{paths[0]}: it has {count} parts, and {folder} has more: {_listed(extra)}: remove what belongs "
            "to another model"
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _beside(first: Path) -> Iterator[str]:
    """Yield the names in the first part's folder that claim to be parts of the same number of parts."""
    wanted = _NAME.fullmatch(first.name)
    assert wanted is not None
    for each in first.parent.iterdir():
        match = _NAME.fullmatch(each.name)
        if match and (match["stem"], match["count"]) == (wanted["stem"], wanted["count"]):
            yield each.name


def _joined(first: Header, paths: tuple[Path, ...], opened: Mapping[Path, int]) -> Header:
    later = [read_header(each, opened.get(each), needs_architecture=False) for each in paths[1:]]
    for number, header in enumerate(later, 1):
        _check_later_part(header, number, first, paths)
    headers = [first, *later]
    weights = tuple(weight for header in headers for weight in header.weights)
    names = Counter(weight.name for weight in weights)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ModelPartsError(f"{paths[0]}: its parts hold {twice[0]} twice: fetch the parts of one model")
    claimed = _number(first, _TENSORS, paths[0]) or len(weights)
    if claimed != len(weights):
        raise ModelPartsError(
            f"{paths[0]}: it has {claimed} tensors in all, its {len(paths)} parts hold {len(weights)}: fetch "
            "the parts of one model"
        )
    # A part without tensors, as the first may be, cannot tell of what type they are.
    typical = first if _FILE_TYPE in first.metadata else max(headers, key=attrgetter("parameters"))
    return replace(
        first,
        parameters=sum(each.parameters for each in headers),
        tensors=len(weights),
        quantization=typical.quantization,
        weights=weights,
        parts=paths,
    )


def _check_later_part(header: Header, number: int, first: Header, paths: tuple[Path, ...]) -> None:
    path = paths[number]
    found = _number(header, _NUMBER, path), _number(header, _COUNT, path)
    if found != (number, len(paths)):
        raise ModelPartsError(
            f"{path}: its header says part {found[0] + 1} of {found[1]}: fetch the parts of one model"
        )
    if header.architecture not in ("", first.architecture):
        raise ModelPartsError(
            f"{path}: it is part of a model of {header.architecture}, {paths[0].name} of "
            f"{first.architecture}: fetch the parts of one model"
        )
