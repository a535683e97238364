"""A model in another place: the same bytes, or not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.errors import ModelHashError
from pytest_llm.models import ModelStore, part_paths
from pytest_llm.models.copies import model_at
from pytest_llm.models.opened import loadable

if TYPE_CHECKING:
    from pytest_llm.records import Model
    from tests.gguf_files import SplitModel


@pytest.fixture
def model(split_model: SplitModel, tmp_path: Path) -> Model:
    return ModelStore(tmp_path / "cache", {}, tmp_path).resolve(str(split_model.write()))


def copied(model: Model, folder: Path) -> Path:
    folder.mkdir()
    for each in part_paths(model.path):
        shutil.copy(each, folder)
    return folder / Path(model.path).name


def test_the_same_bytes_elsewhere_are_the_model_and_that_file_is_loaded(model: Model, tmp_path: Path) -> None:
    path = copied(model, tmp_path / "copy")
    found = model_at(model, str(path))
    assert found is not None
    assert (found.sha256, found.path, len(found.opened)) == (model.sha256, str(path), model.parts)
    with loadable(found) as loaded:
        assert path.samefile(loaded)
        assert not path.samefile(model.path)


def test_other_bytes_are_an_error_also_after_the_same_ones(model: Model, tmp_path: Path) -> None:
    path = copied(model, tmp_path / "copy")
    assert model_at(model, str(path)) is not None
    last = part_paths(path)[-1]
    last.write_bytes(last.read_bytes()[:-1] + b"?")
    with pytest.raises(ModelHashError, match=r"copy/.*\.gguf has other content than "):
        model_at(model, str(path))


def test_what_cannot_be_read_is_not_known(model: Model, tmp_path: Path) -> None:
    path = copied(model, tmp_path / "copy")
    part_paths(path)[-1].unlink()
    assert model_at(model, str(path)) is None
    assert model_at(model, "") is None
