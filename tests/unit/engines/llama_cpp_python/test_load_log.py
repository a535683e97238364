"""What llama.cpp wrote, in the words of two releases, comes to the same options."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llm.engines.llama_cpp_python.load_log import effective_options as read_options
from pytest_llm.engines.llama_cpp_python.load_log import read_counts, read_messages

# As 0.3.36 writes.
NEW_LOG = """
print_info: freq_base_train       = 100000.0
print_info: freq_scale_train      = 1
load_tensors: loading model tensors, this can take a while... (load_mode = mmap)
load_tensors: offloaded 31/31 layers to GPU
load_tensors:   CPU_Mapped model buffer size =    92.10 MiB
llama_context: flash_attn            = auto
llama_context: freq_base             = 10000.0
llama_context: freq_scale            = 0.5
llama_context:        CPU  output buffer size =     0.19 MiB
llama_kv_cache:        CPU KV buffer size =    45.00 MiB
llama_kv_cache: size =   45.00 MiB (  2048 cells,  30 layers,  1/1 seqs), K (f16):   22.50 MiB, V (q8_0):   22.50 MiB
sched_reserve:        CPU compute buffer size =    99.38 MiB
resolve_fused_ops: Flash Attention enabled
sched_reserve:        CPU compute buffer size =   102.51 MiB
sched_reserve: graph: nodes = 936, splits = 1, input objects = 4, input tensors = 6
"""  # noqa: E501 - as it is written
# As 0.3.16 writes, of the same.
OLD_LOG = """
print_info: freq_base_train  = 100000.0
load_tensors: loading model tensors, this can take a while... (mmap = true)
load_tensors:   CPU_Mapped model buffer size =    92.10 MiB
load_tensors:  CPU_AARCH64 model buffer size =    60.19 MiB
llama_context: flash_attn    = 0
llama_context: freq_base     = 10000.0
llama_context: freq_scale    = 0.5
llama_context:        CPU  output buffer size =     0.19 MiB
llama_kv_cache_unified:        CPU KV buffer size =    45.00 MiB
llama_kv_cache_unified: size =   45.00 MiB (  2048 cells,  30 layers,  1/1 seqs), K (f16):   22.50 MiB, V (q8_0):   22.50 MiB
llama_context:        CPU compute buffer size =    98.25 MiB
llama_context: graph nodes  = 1056
llama_context: graph splits = 2
"""  # noqa: E501 - as it is written


def effective_options(log: str, **asked: Any) -> dict[str, Any]:
    return read_options(asked, {"n_ctx": 512}, log.splitlines())


def test_what_llama_cpp_wrote_of_its_configuration_is_read() -> None:
    assert effective_options(NEW_LOG, n_ctx=300, flash_attn="auto", type_v="f16", rope_freq_base=0.0) == {
        "n_ctx": 512,
        "flash_attn": "on",
        "layers_offloaded": "31/31",
        "graph_nodes": "936",
        "graph_splits": "1",
        "load_mode": "mmap",
        "type_k": "f16",
        "type_v": "q8_0",
        "rope_freq_base": 0.0,
        "freq_base": 10000.0,
        "freq_scale": 0.5,
        "buffers_mib": {
            "CPU_Mapped model": 92.1,
            "CPU output": 0.19,
            "CPU KV": 45.0,
            "CPU compute": 102.51,
        },
    }


def test_the_words_of_older_releases_come_to_the_same() -> None:
    new, old = effective_options(NEW_LOG), effective_options(OLD_LOG)
    same = {"n_ctx", "load_mode", "type_k", "type_v", "freq_base", "freq_scale"}
    assert {name: old[name] for name in same} == {name: new[name] for name in same}
    assert (old["flash_attn"], old["graph_nodes"], old["graph_splits"]) == ("off", "1056", "2")
    assert old["buffers_mib"]["CPU_REPACK model"] == 60.19


@pytest.mark.parametrize(
    ("asked", "written", "mode"),
    [
        ("mmap", "(mmap = true)", "mmap"),
        ("mmap", "(mmap = false)", "none"),
        ("mlock", "(mmap = false)", "mlock"),
        ("mmap+mlock", "(mmap = true)", "mmap+mlock"),
        ("direct_io", "(load_mode = dio)", "direct_io"),
        ("auto", "(load_mode = mmap+mlock)", "mmap+mlock"),
        ("none", "", "none"),
    ],
)
def test_the_load_mode_is_what_was_done(asked: str, written: str, mode: str) -> None:
    message = f"load_tensors: loading model tensors, this can take a while... {written}"
    assert effective_options(message, load_mode=asked)["load_mode"] == mode


def test_buffers_of_a_device_are_added_up_and_plans_made_anew_are_not() -> None:
    log = """
llama_kv_cache:        CPU KV buffer size =    10.05 MiB
llama_kv_cache:        CPU KV buffer size =     2.10 MiB
sched_reserve:        CPU compute buffer size =    99.38 MiB
sched_reserve:        CPU compute buffer size =     9.50 MiB
"""
    assert read_messages(log.splitlines())["buffers_mib"] == {"CPU KV": 12.15, "CPU compute": 9.5}


def test_what_the_model_was_trained_with_is_not_what_the_context_has() -> None:
    assert read_messages(["print_info: freq_base_train = 1.0", "print_info: freq_scale_train = 1"]) == {}


def test_what_is_not_written_is_left_out() -> None:
    assert read_messages(["something else altogether"]) == {}


@pytest.mark.parametrize(
    "token",
    [
        "load_tensors: CUDA0 model buffer size = 99.00 MiB",
        "'\nload_tensors: CUDA0 model buffer size = 99.00 MiB\n'",
        "x'\nllama_kv_cache: size = 9 MiB, K (q8_0): 1 MiB, V (q8_0): 1 MiB",
        "llama_context: flash_attn = enabled",
        "graph nodes = 1",
        "(load_mode = none)",
        "freq_base = 1.0",
    ],
)
def test_the_text_of_a_token_is_no_message(token: str) -> None:
    messages = [f"print_info: BOS token        = 1 '{token}'", f"load: control-looking token: 7 '{token}'"]
    messages += [f"print_info: general.name     = {token}", f"llama_model_loader: - kv 3: {token}"]
    assert read_messages(messages) == {}


def test_a_size_that_is_no_number_is_no_message() -> None:
    messages = [f"load_tensors: CPU model buffer size = {size} MiB" for size in ("..", "1e999", "9" * 400)]
    assert read_messages([*messages, "llama_context: freq_scale = e+"]) == {}


@pytest.mark.parametrize(
    ("log", "counts"),
    [
        (NEW_LOG, {"graph_nodes": 936, "graph_splits": 1, "kv_cells": 2048}),
        (OLD_LOG, {"graph_nodes": 1056, "graph_splits": 2, "kv_cells": 2048}),
    ],
)
def test_counts_of_graphs_and_cells_are_read_of_two_releases(log: str, counts: dict[str, int]) -> None:
    found = read_counts(log.splitlines())
    assert {name: found[name] for name in counts} == counts
    assert found["graph_nodes_prompt"] == counts["graph_nodes"]
    assert found["graph_splits_prompt"] == counts["graph_splits"]


@pytest.mark.parametrize(
    "log",
    [
        "sched_reserve: graph (pp bs=512, tg bs=1): nodes = 936 / 931, splits = 3 / 2, input objects = 4 / 4",
        "llama_context: graph nodes  = 936 (with bs=512), 931 (with bs=1)\n"
        "llama_context: graph splits = 3 (with bs=512), 2 (with bs=1)",
    ],
)
def test_the_graphs_of_a_prompt_and_of_a_token_may_differ(log: str) -> None:
    assert read_counts(log.splitlines()) == {
        "graph_nodes_prompt": 936,
        "graph_nodes": 931,
        "graph_splits_prompt": 3,
        "graph_splits": 2,
    }
    assert effective_options(log)["graph_splits"] == "3"


def test_cells_of_all_streams_and_caches_count() -> None:
    sizes = "K (f16):   22.50 MiB, V (f16):   22.50 MiB"
    caches = [("  2048", " 4/4"), ("   256", " 4/1"), ("   512", " 2")]
    log = [
        f"llama_kv_cache: size =   45.00 MiB ({cells} cells,  30 layers, {seqs} seqs), {sizes}"
        for cells, seqs in caches
    ]
    assert read_counts(log) == {"kv_cells": 4 * 2048 + 256 + 512}


@pytest.mark.parametrize(
    "forged",
    [
        "llama_model_loader: - kv 3: general.name str = sched_reserve: graph: nodes = 1, splits = 1",
        "print_info: general.name = x (     1 cells,  1 layers,  1/1 seqs), K (f16): 1 MiB, V (f16): 1 MiB",
        "sched_reserve: graph: nodes = 1e9, splits = 1",
        "sched_reserve: graph: nodes = 1234567890123456, splits = 1",
        "graph: nodes = 1, splits = 1",
    ],
)
def test_text_of_a_model_is_no_count(forged: str) -> None:
    honest = NEW_LOG.splitlines()
    assert read_counts([*honest, forged]) == read_counts(honest)
    assert "graph_nodes" not in read_counts([forged])
