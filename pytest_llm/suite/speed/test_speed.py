"""Speeds and latencies at the sizes that people ask for; a size that the model cannot hold is not covered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_llm.records import Run


@pytest.mark.llm_quick
@pytest.mark.llm_model(n_ctx=1024)
@pytest.mark.llm_workload(prompt_tokens=128, generate_tokens=64)
def test_chat(llm_bench: Run) -> None:
    """A question and an answer; load time with the file in the page cache, and memory."""


@pytest.mark.llm_model(n_ctx=4608)
@pytest.mark.llm_workload(prompt_tokens=128, generate_tokens=64, depth=4096)
def test_depth_4k(llm_bench: Run) -> None:
    """The same late in a conversation."""


@pytest.mark.llm_model(n_ctx=16896)
@pytest.mark.llm_workload(prompt_tokens=128, generate_tokens=64, depth=16384)
def test_depth_16k(llm_bench: Run) -> None:
    """The same behind a book's chapter."""


@pytest.mark.llm_model(n_ctx=2304)
@pytest.mark.llm_workload(prompt_tokens=2048, generate_tokens=32)
def test_first_token_after_retrieved_text(llm_bench: Run) -> None:
    """A question with some pages of retrieved text."""


@pytest.mark.llm_model(n_ctx=8192)
@pytest.mark.llm_workload(prompt_tokens=7936, generate_tokens=32)
def test_first_token_after_a_long_prompt(llm_bench: Run) -> None:
    """A question with a long document."""


@pytest.mark.llm_quick
@pytest.mark.llm_model(n_ctx=1024)
@pytest.mark.llm_workload(prompt_tokens=128, generate_tokens=32, parallel=4)
def test_parallel_4(llm_bench: Run) -> None:
    """Four at once; one alone is the chat."""


@pytest.mark.llm_model(n_ctx=2048)
@pytest.mark.llm_workload(prompt_tokens=128, generate_tokens=32, parallel=8)
def test_parallel_8(llm_bench: Run) -> None:
    """Eight at once."""
