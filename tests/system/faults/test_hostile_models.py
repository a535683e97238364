"""A model without sense is refused by name, or ends its own worker and says why."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.errors import EngineError, LoadRefusedError, ModelHeaderError, WorkerDiedError
from pytest_llm.models import ModelStore
from pytest_llm.records import Installed, LoadOptions, Subject
from tests import tiny_models
from tests.gguf_files import GGUF

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.records import Model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_models.llama(tmp_path / "tiny.gguf")


def resolved(path: Path) -> Model:
    return ModelStore(path.parent / "cache", {}, path.parent).resolve(str(path))


def load(model: Model) -> None:
    build = Installed("llama-cpp-python")
    options = LoadOptions(n_ctx=64, n_batch=32, n_ubatch=32)
    loaded = LlamaCppPython(build, timeout=60).start(Subject(model.name, build, options), model)
    try:
        loaded.load()
    finally:
        loaded.close()


def change(path: Path, key: str, value: bytes) -> None:
    """Put another number in the place of a key's."""
    content = bytearray(path.read_bytes())
    at = content.index(GGUF.text(key)) + 8 + len(key) + 4
    content[at : at + len(value)] = value
    path.write_bytes(content)


@pytest.mark.parametrize("kind", [24, 25, 26, 27, 28])
def test_weights_that_would_crash_llama_cpp_are_refused_before_it_sees_them(
    kind: int, tmp_path: Path
) -> None:
    path = tiny_models.llama(tmp_path / "integers.gguf", unknown_type=kind)
    with pytest.raises(ModelHeaderError, match=r"'output\.weight' has the type [IF]\d+, with which"):
        resolved(path)


NUMBERS: list[tuple[str, bytes, str]] = [
    ("llama.block_count", struct.pack("<I", 0), r"GGML_ASSERT\(.*n_layer"),
    ("llama.block_count", struct.pack("<I", 9), "llama.cpp"),
    ("llama.attention.head_count", struct.pack("<I", 0), "llama.cpp"),
    ("llama.attention.head_count", struct.pack("<I", 3), "llama.cpp"),
    ("llama.attention.layer_norm_rms_epsilon", struct.pack("<f", -1.0), r"GGML_ASSERT\(eps >= 0"),
    ("llama.embedding_length", struct.pack("<I", 2**31), "llama.cpp"),
    ("llama.rope.dimension_count", struct.pack("<I", 2**31), "llama.cpp"),
]


@pytest.mark.parametrize(("key", "value", "cause"), NUMBERS)
def test_numbers_without_sense_are_refused_or_end_a_worker_that_says_why(
    key: str, value: bytes, cause: str, model: Path
) -> None:
    change(model, key, value)

    with pytest.raises((LoadRefusedError, WorkerDiedError), match=cause) as caught:
        load(resolved(model))

    assert "SIGSEGV" not in str(caught.value)


def test_the_bytes_that_were_hashed_are_loaded_whatever_has_the_name(model: Path) -> None:
    found = resolved(model)
    model.with_name("next").write_bytes(b"GGUF of another kind")
    model.with_name("next").replace(model)

    load(found)

    with pytest.raises(EngineError):
        load(replace(found, opened=()))


def test_the_parts_that_were_hashed_are_loaded(tmp_path: Path) -> None:
    first = tiny_models.llama(tmp_path / "tiny.gguf", split=True)
    found = resolved(first)
    assert found.parts == 2
    for each in first.parent.glob("tiny-*"):
        each.with_name("next").write_bytes(b"GGUF of another kind")
        each.with_name("next").replace(each)

    load(found)

    with pytest.raises(EngineError):
        load(replace(found, opened=()))
