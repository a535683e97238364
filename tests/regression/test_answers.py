"""What SmolLM2 must still say, whatever its speed: runs with and without `--llm-bench`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_llm import GGUFModel

# One thread: two wait for each other where other tests run beside them.
pytestmark = pytest.mark.llm_model("smollm2-135m", n_ctx=2048, n_threads=1)


def test_knows_the_capital_of_france(gguf_model: GGUFModel) -> None:
    assert "Paris" in gguf_model.generate("The capital of France is", max_tokens=8).text


def test_tokens_turn_back_into_text(gguf_model: GGUFModel) -> None:
    text = "Naïve café, 東京, 🦙!"
    assert gguf_model.detokenize(gguf_model.tokenize(text, add_special=False)) == text
