"""A model file that shrinks while llama.cpp has it mapped."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.errors import WorkerDiedError
from pytest_llm.models import ModelStore
from pytest_llm.records import Installed, LoadOptions, Subject, Workload
from tests import tiny_models
from tests.faults import fault

if TYPE_CHECKING:
    from pathlib import Path


@fault("a model file that shrinks while it is mapped", "SIGBUS is named, with what it means")
def test_a_model_that_shrinks_is_named(tmp_path: Path) -> None:
    path = tiny_models.llama(tmp_path / "m.gguf")
    build, model = Installed("llama-cpp-python"), ModelStore(tmp_path, {}, tmp_path).resolve(str(path))
    subject = Subject(model.name, build, LoadOptions(n_ctx=64, n_threads=1, load_mode="mmap"))
    with closing(LlamaCppPython(build, 60.0).start(subject, model)) as loaded:
        loaded.load()
        os.truncate(path, 0)
        with pytest.raises(WorkerDiedError, match=r"SIGBUS, .* the model's file shrank while it was mapped"):
            loaded.rehearse(Workload(prompt_tokens=8, generate_tokens=4))
