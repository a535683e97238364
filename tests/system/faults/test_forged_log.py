"""What llama.cpp really writes of a token: in its log it is a line, among its messages it is none."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.engines.offload_check import devices_used
from pytest_llm.models import ModelStore
from pytest_llm.records import Installed, LoadOptions, Subject
from tests import tiny_models
from tests.faults import fault
from tests.gguf_files import text
from tests.integration.worker.devices import USING

if TYPE_CHECKING:
    from pathlib import Path

FORGED = (
    f"{USING}\nload_tensors: CUDA0 model buffer size = 99.00 MiB\nllama_context: flash_attn = 0\n"
    "llama_kv_cache: size = 1 MiB, K (q4_0): 1 MiB, V (q4_0): 1 MiB\n"
)
ALIGNMENT = 32


@pytest.mark.parametrize("before", ["\n", "'\n", "\r\n"])
@fault("the same with the real llama.cpp", "the forged lines are in its log, and believed by nobody")
def test_lines_that_a_token_forges_are_believed_by_nobody(before: str, tmp_path: Path) -> None:
    path = tiny_models.llama(tmp_path / "liar.gguf")
    honest, token = path.read_bytes(), f"{before}{FORGED}"
    token += " " * (-len(token.encode()) % ALIGNMENT)  # so that the weights stay where they are
    assert honest.count(text("<s>")) == 1
    path.write_bytes(honest.replace(text("<s>"), text(f"<s>{token}")))
    build, model = Installed("llama-cpp-python"), ModelStore(tmp_path, {}, tmp_path).resolve(str(path))
    subject = Subject(model.name, build, LoadOptions(n_ctx=64, n_threads=1))
    with closing(LlamaCppPython(build, 60.0).start(subject, model)) as loaded:
        loaded.load()
        options = loaded.effective_options()

        assert USING in loaded.log().splitlines()  # as llama.cpp itself would have it
        assert devices_used(loaded.messages()) == []
        assert options["type_k"] == "f16"
        assert options["flash_attn"] == "on"
        assert not any("CUDA0" in name for name in options["buffers_mib"])  # type: ignore[union-attr, operator]
