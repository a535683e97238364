"""The worker's use of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.errors import LoadRefusedError
from pytest_llm.plugin.messages import message
from pytest_llm.records import Workload
from pytest_llm.records.generation import Sampling
from pytest_llm.suite.candidate import broken, engine_errors_end_the_test, not_covered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.engines.llama_cpp_python.client import LoadedModel
    from pytest_llm.suite.candidate import Candidate

_TEXT = "The capital of France is"


@pytest.fixture(scope="module")
def generation(candidate: Candidate) -> Iterator[LoadedModel]:
    """The model, loaded for generation."""
    try:
        with candidate.loaded(generation=True) as loaded:
            yield loaded
    except LoadRefusedError as error:
        broken(message(error))


def test_tokens_become_the_same_text_again(candidate: Candidate, generation: LoadedModel) -> None:
    if not candidate.names["llama_detokenize"]:
        not_covered("detokenize: the build has no llama_detokenize")
    with engine_errors_end_the_test():
        tokens = generation.tokenize(_TEXT, add_special=False, parse_special=False)
        text = generation.detokenize(tokens)
    if text.strip() != _TEXT:
        broken(f"{_TEXT!r} became {text!r}")


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(temperature=0.8, top_k=40, top_p=0.9, seed=1)], ids=["greedy", "seeded"]
)
def test_it_generates_and_repeats_itself(sampling: Sampling, generation: LoadedModel) -> None:
    """The same request gives the same tokens: no state is left over."""
    with engine_errors_end_the_test():
        first, second = ([each.id for each in generation.open_stream(_TEXT, 8, sampling)] for _ in range(2))
    if not first or first != second:
        broken(f"the same request generated {first}, then {second}")


def test_it_tells_what_was_likely(candidate: Candidate, generation: LoadedModel) -> None:
    """Every position of a prompt has log-probabilities."""
    if not candidate.names["llama_get_logits_ith"]:
        not_covered("top_logprobs: the build has no llama_get_logits_ith")
    with engine_errors_end_the_test():
        found = generation.top_logprobs(_TEXT, 3)
    if len(found) != len(generation.tokenize(_TEXT)):
        broken(f"{len(found)} positions for {_TEXT!r}")


@pytest.mark.parametrize(
    "workload",
    [Workload(16, 4), Workload(16, 4, depth=32), Workload(16, 4, depth=32, parallel=2)],
    ids=["empty", "depth", "parallel"],
)
def test_it_can_be_measured(workload: Workload, candidate: Candidate) -> None:
    """A round of slices and a request, each from the workload's depth and back."""
    sequences: dict[str, Any] = {"n_seq_max": 2, "kv_unified": True} if workload.parallel > 1 else {}
    try:
        with candidate.loaded(**sequences) as loaded, engine_errors_end_the_test():
            loaded.rehearse(workload)
            for _ in range(2):
                slices = loaded.prompt_slice(16 * workload.parallel), loaded.generation_slice(2)
                loaded.end_round()
                request = loaded.request()
    except LoadRefusedError as error:
        broken(message(error))
    counts = [tokens for tokens, _ in slices] + [len(request[1])]
    expected = [16 * workload.parallel, 2 * workload.parallel, 3]
    if counts != expected:
        broken(f"prompt, generation and request gave {counts} tokens, expected {expected}")
