"""Parts of a split model are found, and read as one header only if they belong together."""

from __future__ import annotations

import shutil
import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_llm.errors import ModelHeaderError, ModelPartsError
from pytest_llm.models import part_paths, read_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.gguf_files import GGUF, SplitModel


def u16(value: int) -> bytes:
    return struct.pack("<H", value)


def test_the_header_of_a_split_model_is_that_of_the_whole(split_model: SplitModel, gguf_path: Path) -> None:
    whole, found = read_model(gguf_path), read_model(split_model.write())
    assert found.parts == (split_model.path(1), split_model.path(2))
    assert found.weights == whole.weights
    assert (found.parameters, found.tensors, found.layers) == (whole.parameters, whole.tensors, whole.layers)
    assert found.quantization == whole.quantization
    assert whole.parts == ()


def test_a_first_part_without_tensors_has_those_of_the_others(split_model: SplitModel, gguf: GGUF) -> None:
    bare = replace(split_model, whole=gguf.without_key("general.file_type"))
    found = read_model(bare.write(bare.parts(cut=0)))
    assert (found.tensors, found.quantization) == (2, "Q4_1")


def test_a_file_that_is_whole_is_one_part(gguf_path: Path) -> None:
    assert part_paths(gguf_path) == (gguf_path,)


@pytest.mark.parametrize("name", ["model-1-of-2.gguf", "model-00001-of-00000.gguf", "00001-of-00002.gguf"])
def test_names_that_llama_cpp_does_not_read_as_parts_are_whole(name: str, tmp_path: Path) -> None:
    assert part_paths(tmp_path / name) == (tmp_path / name,)


def missing(model: SplitModel) -> None:
    model.path(2).unlink()


def extra(model: SplitModel) -> None:
    shutil.copy(model.path(2), model.path(3, 2))


def twice(model: SplitModel) -> None:
    model.path(2).write_bytes(model.path(1).read_bytes())


def of_another_split(model: SplitModel) -> None:
    first, later = model.parts()
    model.write([first, later.with_key("split.count", 2, u16(3))])


def of_another_model(model: SplitModel) -> None:
    first, later = model.parts()
    model.write([first, later.with_key("general.architecture", 8, model.whole.text("other"))])


def with_a_tensor_twice(model: SplitModel) -> None:
    first, later = model.parts()
    model.write([first.but(tensors=model.whole.tensors), later])


def with_a_tensor_less(model: SplitModel) -> None:
    first, later = model.parts()
    model.write([first, later.but(tensors=())])


def renamed(model: SplitModel) -> None:
    model.path(1).rename(model.path(1, 3))
    model.path(2).rename(model.path(2, 3))


def merged(model: SplitModel) -> None:
    model.path(1).write_bytes(model.whole.build())


@pytest.mark.parametrize(
    ("damage", "number", "count", "message"),
    [
        (missing, 1, 2, "1 of its 2 parts are missing: put tiny-00002-of-00002.gguf into"),
        (extra, 1, 2, "it has 2 parts"),
        (twice, 1, 2, "its header says part 1 of 2"),
        (of_another_split, 1, 2, "its header says part 2 of 3"),
        (of_another_model, 1, 2, "it is part of a model of other"),
        (with_a_tensor_twice, 1, 2, "its parts hold weights twice"),
        (with_a_tensor_less, 1, 2, "it has 2 tensors in all, its 2 parts hold 1"),
        (renamed, 1, 3, "its header says that it is part 1 of 2"),
        (merged, 1, 2, "its header that it is whole"),
        (lambda _: None, 2, 2, "it is part 2 of 2: name the first part, tiny-00001-of-00002.gguf"),
    ],
)
def test_parts_that_do_not_belong_together_are_one_clear_error(
    damage: Callable[[SplitModel], None], number: int, count: int, message: str, split_model: SplitModel
) -> None:
    split_model.write()
    damage(split_model)
    with pytest.raises(ModelPartsError) as caught:
        read_model(split_model.path(number, count))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_header_that_claims_very_many_parts_is_one_short_line(split_model: SplitModel) -> None:
    first, _ = split_model.parts()
    split_model.folder.mkdir()
    split_model.path(1, 2000).write_bytes(first.with_key("split.count", 2, u16(2000)).build())
    with pytest.raises(ModelPartsError, match=r"1999 of its 2000 parts .* and 1994 more into") as caught:
        read_model(split_model.path(1, 2000))
    assert len(str(caught.value)) < 1000


def test_a_damaged_later_part_is_refused_by_its_own_name(split_model: SplitModel) -> None:
    split_model.write()
    split_model.path(2).write_bytes(split_model.path(2).read_bytes()[:-1])
    with pytest.raises(ModelHeaderError, match=r"tiny-00002-of-00002\.gguf: .*should end at byte"):
        read_model(split_model.path(1))
