"""Predicted sizes of weights and caches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pytest

from pytest_llm.models.footprint import UnpredictedError, row_bytes
from pytest_llm.records import CacheType
from pytest_llm.suite.candidate import broken, not_covered
from pytest_llm.suite.memory.loads import bytes_of, loaded_with, near

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.suite.candidate import Candidate

SHARE = 0.02
# A quantised V cache needs flash attention.
_ON = {"flash_attn": "on"}
CONTEXTS: dict[str, dict[str, Any]] = {
    "n_ctx=256": {"n_ctx": 256},
    "n_ctx=1000": {"n_ctx": 1000},
    "n_ctx=4096": {"n_ctx": 4096},
    "three sequences": {"n_ctx": 1000, "n_seq_max": 3},
    "three sequences together": {"n_ctx": 1000, "n_seq_max": 3, "kv_unified": True},
    "without flash attention": {"n_ctx": 512, "flash_attn": "off"},
    "windows alone": {"n_ctx": 2048, "swa_full": False},
}


@pytest.mark.parametrize("options", CONTEXTS.values(), ids=list(CONTEXTS))
def test_the_kv_cache_is_as_predicted(
    options: dict[str, Any], candidate: Candidate, note: Callable[[str], None]
) -> None:
    found = bytes_of(loaded_with(candidate, **options), "kv")
    if not near(sum(found.logged.values()), sum(found.predicted.values()), SHARE):
        broken(f"the KV cache of {options} is not as predicted: {found}")
    note(f"KV cache, {', '.join(f'{name}={each}' for name, each in options.items())}: {found}")


def test_weights_are_as_predicted(candidate: Candidate, note: Callable[[str], None]) -> None:
    """Every tensor counts once."""
    options = {"load_mode": "none", "use_extra_bufts": False}
    found = bytes_of(loaded_with(candidate, **options), "weights")
    if not near(sum(found.logged.values()), sum(found.predicted.values()), SHARE):
        broken(f"the weights are not as predicted: {found}")
    note(f"weights: {found}")


@pytest.mark.parametrize("kind", get_args(CacheType))
def test_a_type_of_the_kv_cache_makes_it_larger_or_smaller_by_its_blocks(
    kind: str, candidate: Candidate
) -> None:
    """The ratio to the same cache of f16 is that of the types' blocks."""
    try:
        ratio = row_bytes(kind, 64) / row_bytes("f16", 64)
        half, other = (
            bytes_of(loaded_with(candidate, n_ctx=1024, type_k=each, type_v=each, **_ON), "kv")
            for each in ("f16", kind)
        )
    except UnpredictedError as error:
        not_covered(str(error))
    found = sum(other.logged.values()) / sum(half.logged.values())
    if not near(found, ratio, SHARE, 0):
        broken(f"a KV cache of {kind} is {found:.3f} times as large as one of f16, expected {ratio:.3f}")
