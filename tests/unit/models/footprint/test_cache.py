"""Caches of small headers, computed by hand from what llama.cpp allocates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.models.footprint import UnpredictedError, layers_of, row_bytes
from pytest_llm.records import LoadOptions

from .headers import header

if TYPE_CHECKING:
    from pytest_llm.models import Header

ATTENTION: dict[str, Any] = {"attention__head_count": 4, "attention__head_count_kv": 2}
# Of one layer of such a header with 64 wide states: heads of 16, two of them, K and V, two bytes each.
TOKEN = 16 * 2 * 2 * 2


def kv(found: Header, **options: Any) -> list[int]:
    return [layer.kv for layer in layers_of(found, LoadOptions(**{"n_ctx": 512, **options}))]


def recurrent(found: Header, **options: Any) -> list[int]:
    return [layer.recurrent for layer in layers_of(found, LoadOptions(**options))]


def test_a_layer_keeps_k_and_v_of_every_token_of_the_context() -> None:
    assert kv(header(**ATTENTION)) == [512 * TOKEN] * 2


@pytest.mark.parametrize(
    ("options", "cells"),
    [
        ({"n_ctx": 1}, 256),
        ({"n_ctx": 256}, 256),
        ({"n_ctx": 257}, 512),
        ({"n_ctx": 1024, "n_seq_max": 4}, 4 * 256),
        ({"n_ctx": 1000, "n_seq_max": 3}, 3 * 512),  # 1024 // 3 = 341
        ({"n_ctx": 513, "n_seq_max": 2}, 2 * 512),  # 768 // 2 = 384
        ({"n_ctx": 1024, "n_seq_max": 4, "kv_unified": True}, 1024),
        ({"n_ctx": 257, "n_seq_max": 4, "kv_unified": True}, 512),
    ],
)
def test_tokens_are_padded_to_256_in_each_stream(options: dict[str, Any], cells: int) -> None:
    assert kv(header(**ATTENTION), **options) == [cells * TOKEN] * 2


def test_heads_may_have_lengths_of_their_own_and_layers_heads_of_their_own() -> None:
    found = header(
        "deci",
        layers=3,
        attention__head_count=4,
        attention__key_length=32,
        attention__value_length=16,
        per_layer={"attention.head_count_kv": (2, 0, 1)},
    )
    # (32 + 16) elements of two bytes a head.
    assert kv(found) == [512 * 2 * 96, 0, 512 * 96]


def test_a_transposed_v_is_as_wide_in_every_layer() -> None:
    found = header("deci", attention__head_count=4, per_layer={"attention.head_count_kv": (4, 1)})
    k = [512 * 2 * 16 * 4, 512 * 2 * 16]
    assert kv(found, flash_attn="auto") == [2 * k[0], 2 * k[1]]
    assert kv(found, flash_attn="off") == [k[0] + k[0], k[1] + k[0]]


def test_heads_are_kv_heads_where_the_header_tells_no_others() -> None:
    assert kv(header(attention__head_count=4)) == [512 * 2 * TOKEN] * 2


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("f32", 256), ("f16", 128), ("bf16", 128), ("q8_0", 68), ("q5_1", 48), ("q4_0", 36), ("iq4_nl", 36)],
)
def test_a_row_is_whole_blocks_of_its_type(kind: str, expected: int) -> None:
    assert row_bytes(kind, 64) == expected


def test_a_row_that_is_no_whole_blocks_is_not_predicted() -> None:
    with pytest.raises(UnpredictedError, match="rows of 48 elements are not whole blocks of q8_0"):
        row_bytes("q8_0", 48)


def test_k_and_v_have_types_of_their_own() -> None:
    row = 16 * 2
    assert kv(header(**ATTENTION), type_k="q8_0", type_v="f32") == [512 * (row // 32 * 34 + row * 4)] * 2


# --- Windows --------------------------------------------------------------------------------------------

SLIDING: dict[str, Any] = {**ATTENTION, "layers": 6, "attention__sliding_window": 300}


def test_layers_that_slide_keep_their_window_and_an_ubatch() -> None:
    found = kv(header("gemma3", **SLIDING), n_ctx=4096, n_ubatch=100, swa_full=False)
    # 300 + 100, padded to 256; the sixth layer sees everything.
    assert found == [512 * TOKEN] * 5 + [4096 * TOKEN]


def test_with_a_full_window_cache_every_layer_keeps_everything() -> None:
    assert kv(header("gemma3", **SLIDING), n_ctx=4096, swa_full=True) == [4096 * TOKEN] * 6


def test_a_window_is_no_longer_than_the_context() -> None:
    assert kv(header("gemma3", **SLIDING), n_ctx=256, swa_full=False) == [256 * TOKEN] * 6


def test_a_unified_cache_has_a_window_for_each_sequence() -> None:
    options = {"n_ctx": 4096, "n_ubatch": 100, "swa_full": False, "n_seq_max": 2, "kv_unified": True}
    assert kv(header("gemma3", **SLIDING), **options)[0] == 768 * TOKEN  # 2 * 300 + 100


def test_which_layers_slide_may_be_said_one_by_one_or_by_another_period() -> None:
    options = {"n_ctx": 4096, "n_ubatch": 100, "swa_full": False}
    said = header(
        "gemma3", **{**SLIDING, "layers": 3}, per_layer={"attention.sliding_window_pattern": (0, 1, 0)}
    )
    assert [each // TOKEN for each in kv(said, **options)] == [4096, 512, 4096]
    period = header("gemma3", **{**SLIDING, "layers": 3}, attention__sliding_window_pattern=2)
    assert [each // TOKEN for each in kv(period, **options)] == [512, 4096, 512]


def test_an_older_gemma3_without_a_window_keeps_everything() -> None:
    assert kv(header("gemma3", **ATTENTION), swa_full=False) == [512 * TOKEN] * 2


def test_gemma2_has_a_window_of_4096_where_its_header_says_none() -> None:
    found = kv(header("gemma2", **ATTENTION), n_ctx=8192, n_ubatch=256, swa_full=False)
    assert [each // TOKEN for each in found] == [4352, 8192]


def test_a_window_that_a_header_has_to_tell_is_not_guessed() -> None:
    with pytest.raises(UnpredictedError, match=r"the header has no gpt-oss\.attention\.sliding_window"):
        kv(header("gpt-oss", **ATTENTION))


# --- Recurrent states -----------------------------------------------------------------------------------

SSM: dict[str, Any] = {"ssm__conv_kernel": 4, "ssm__inner_size": 128, "ssm__state_size": 16}


def test_mamba_keeps_a_state_for_each_sequence_and_no_kv() -> None:
    found = header("mamba", **SSM)
    assert kv(found) == [0, 0]
    # 3 columns of the convolution, and 16 numbers for each of 128 channels, in four bytes.
    assert recurrent(found) == [4 * (3 * 128 + 16 * 128)] * 2
    assert recurrent(found, n_seq_max=3) == [3 * 4 * (3 * 128 + 16 * 128)] * 2


def test_mamba2_has_groups_in_its_convolution() -> None:
    found = header("mamba2", **SSM, ssm__group_count=2)
    assert recurrent(found) == [4 * (3 * (128 + 2 * 2 * 16) + 16 * 128)] * 2


def test_rwkv_keeps_shifted_tokens_and_heads() -> None:
    found = header("rwkv7", wkv__head_size=16)
    assert recurrent(found) == [4 * (2 * 64 + 64 * 16)] * 2
    assert recurrent(header("rwkv7", wkv__head_size=16, token_shift_count=1)) == [4 * (64 + 64 * 16)] * 2


@pytest.mark.parametrize("architecture", ["jamba", "granitehybrid"])
def test_a_hybrid_s_layers_without_kv_heads_are_the_recurrent_ones(architecture: str) -> None:
    found = header(
        architecture, **SSM, attention__head_count=4, per_layer={"attention.head_count_kv": (0, 2)}
    )
    assert kv(found) == [0, 512 * TOKEN]
    assert recurrent(found) == [4 * (3 * 128 + 16 * 128), 0]


def test_falcon_h1_has_both_in_every_layer() -> None:
    found = header("falcon-h1", **SSM, **ATTENTION, ssm__group_count=1)
    assert kv(found) == [512 * TOKEN] * 2
    assert recurrent(found) == [4 * (3 * (128 + 2 * 16) + 16 * 128)] * 2


# --- What is not predicted ------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["deepseek2", "qwen3next", "lfm2", "gemma3n", "gemma4", "new"])
def test_an_architecture_with_a_memory_of_its_own_is_not_covered_by_name(architecture: str) -> None:
    with pytest.raises(UnpredictedError, match=f"the cache of the architecture {architecture} is not"):
        kv(header(architecture, **ATTENTION))


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("attention__key_length_mla", "latent attention"),
        ("nextn_predict_layers", "layers that predict further tokens"),
    ],
)
def test_what_changes_a_known_architecture_s_cache_is_named(key: str, reason: str) -> None:
    with pytest.raises(UnpredictedError, match=f"the cache of llama with {reason} is not predicted"):
        kv(header(**{**ATTENTION, key: 1}))


def test_fewer_heads_than_layers_are_refused() -> None:
    found = header("deci", attention__head_count=4, per_layer={"attention.head_count_kv": (1,)})
    with pytest.raises(UnpredictedError, match="has 1 values for 2 layers"):
        kv(found)
