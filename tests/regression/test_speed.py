"""What `pytest --llm-bench` measures here: SmolLM2 on the three workloads that upstream changes hit apart.

The limits are absolute and meet a slow, shared CI machine: they catch a build that lost most of its speed, or
a model that no longer fits. On the machine whose runs are kept in `baselines`, those judge as well.
Smaller losses need two builds side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_llm import Run

pytestmark = [pytest.mark.llm_model("smollm2-135m", n_ctx=2048), pytest.mark.llm_no_regression()]


@pytest.mark.llm_workload(prompt_tokens=128, generate_tokens=64)
@pytest.mark.llm_tokens_per_second(min=25, phase="prompt")
@pytest.mark.llm_tokens_per_second(min=12)
@pytest.mark.llm_first_token_latency(max="5 s", percentile=90)
@pytest.mark.llm_inter_token_latency(max="250 ms", percentile=90)
@pytest.mark.llm_load_time(max="5 s")
@pytest.mark.llm_ram(max="400 MiB")
def test_short_chat(llm_bench: Run) -> None:
    """A question and an answer."""
    assert llm_bench.model.architecture == "llama"


@pytest.mark.llm_workload(prompt_tokens=1280, generate_tokens=16)
@pytest.mark.llm_tokens_per_second(min=25, phase="prompt")
@pytest.mark.llm_first_token_latency(max="50 s")
def test_long_prompt(llm_bench: Run) -> None:
    """Two and a half ubatches: some breaks need more than one."""
    assert llm_bench.workload.prompt_tokens > 2 * llm_bench.subject.load_options.n_ubatch


@pytest.mark.llm_workload(prompt_tokens=128, generate_tokens=64, depth=1024)
@pytest.mark.llm_tokens_per_second(min=20, phase="prompt")
@pytest.mark.llm_tokens_per_second(min=8)
def test_deep_context(llm_bench: Run) -> None:
    """An answer late in a conversation, where attention costs as much as the weights."""
    assert llm_bench.workload.depth >= 1024
