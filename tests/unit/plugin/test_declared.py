"""From what markers declare to subjects, workloads and campaigns."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llm.errors import ContextTooSmallError, UnknownNameError, UsageError
from pytest_llm.plugin import declared
from pytest_llm.records import (
    LoadOptions,
    Workload,
)


def labels(*arguments: Any) -> list[str]:
    return [choice.label for choice in declared.choices(*arguments)]


def test_without_lists_there_is_one_choice_without_a_label() -> None:
    (only,) = declared.choices(["a"], {"n_ctx": 512}, {"depth": 3})
    assert only == declared.Choice("", "a", {"n_ctx": 512}, {"depth": 3})


def test_every_list_makes_parameters_and_they_combine() -> None:
    assert labels(["a", "b"], {"n_ctx": [2048, 8192]}, {}) == [
        "a-n_ctx=2048",
        "a-n_ctx=8192",
        "b-n_ctx=2048",
        "b-n_ctx=8192",
    ]
    assert labels(["a"], {}, {"depth": [0, 1024], "prompt_tokens": 64}) == ["depth=0", "depth=1024"]


def test_a_path_is_labelled_by_its_file() -> None:
    assert labels(["a", "models/b.Q4_1.gguf"], {}, {}) == ["a", "b.Q4_1"]


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        declared.choices(["a"], {"n_ctx": []}, {})


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"prompt_token": 3}, "prompt_tokens"),
        ({"prompt_tokens": 0}, "less than 1"),
        ({"depth": -1}, "less than 0"),
        ({"generate_tokens": "64"}, "whole number"),
        ({"parallel": True}, "whole number"),
        ({"parallel": 1.5}, "whole number"),
    ],
)
def test_a_workload_that_makes_no_sense_is_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        declared.read_workload(values)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"n_ctxx": 512}, "did you mean n_ctx"),
        ({"n_ctx": 0}, "less than 1"),
        ({"n_gpu_layers": -2}, "less than -1"),
        ({"n_ctx": "512"}, "whole number"),
        ({"flash_attn": "maybe"}, "auto, on, off"),
        ({"type_k": "q9_0"}, "q8_0"),
        ({"offload_kqv": "yes"}, "neither True nor False"),
        ({"rope_freq_base": -1.0}, "less than 0"),
        ({"rope_freq_base": float("nan")}, "less than 0"),
        ({"n_ctx": [512, 1024]}, "lists make parameters only"),
    ],
)
def test_a_load_option_that_makes_no_sense_is_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        declared.read_load_options(values, LoadOptions())


def test_an_unknown_load_option_is_told_by_name() -> None:
    with pytest.raises(UnknownNameError) as caught:
        declared.read_load_options({"n_gpu_layer": 1}, LoadOptions())
    assert caught.value.nearest[0] == "n_gpu_layers"


def test_load_options_lie_over_the_defaults() -> None:
    defaults = LoadOptions(n_threads=8, n_threads_batch=8)
    found = declared.read_load_options({"flash_attn": True, "n_ctx": 512}, defaults)
    assert (found.flash_attn, found.n_ctx, found.n_threads_batch) == ("on", 512, 8)


def test_prompt_threads_follow_generation_threads_unless_told_otherwise() -> None:
    assert declared.read_load_options({"n_threads": 3}, LoadOptions()).n_threads_batch == 3
    both = declared.read_load_options({"n_threads": 3, "n_threads_batch": 5}, LoadOptions())
    assert (both.n_threads, both.n_threads_batch) == (3, 5)


def test_every_load_option_can_be_given() -> None:
    defaults = LoadOptions()
    values = {field.name: getattr(defaults, field.name) for field in fields(defaults)}
    assert declared.read_load_options(values, LoadOptions(n_threads=9)) == defaults


work = st.builds(Workload, *[st.integers(1, 400)] * 2, st.integers(0, 400), st.integers(1, 4))


@given(work, st.integers(64, 4096), st.booleans())
def test_a_workload_either_fits_or_is_told_a_context_that_does(
    workload: Workload, n_ctx: int, kv_unified: bool
) -> None:
    options = LoadOptions(n_ctx=n_ctx, kv_unified=kv_unified)
    try:
        fitted = declared.fitted(options, workload)
    except ContextTooSmallError as error:
        told = int(str(error).partition("raise n_ctx to ")[2].split()[0])
        assert told % 256 == 0
        assert told > n_ctx
        fitted = declared.fitted(LoadOptions(n_ctx=told, kv_unified=kv_unified), workload)
    assert fitted.n_seq_max == workload.parallel
    room = fitted.n_ctx // (1 if kv_unified else fitted.n_seq_max)
    needed = workload.depth + workload.prompt_tokens + workload.generate_tokens
    assert needed * (workload.parallel if kv_unified else 1) <= room


def test_files_of_one_name_are_labelled_by_as_many_folders_as_tell_them_apart() -> None:
    assert labels(["a/m.gguf", "b/m.gguf"], {}, {}) == ["a/m", "b/m"]
    assert labels(["/home/a/q4/m.gguf", "/home/a/q8/m.gguf", "/o.gguf"], {}, {}) == ["q4/m", "q8/m", "o"]
    assert labels(["m", "a/m.gguf"], {}, {}) == ["m", "a/m"]
