"""The line that says why llama.cpp gave up is found among what it wrote before and after."""

from __future__ import annotations

import pytest

from pytest_llm.engines.last_words import last_words

LOADED = [f"llama_model_loader: - kv {number}: general.key u32 = 1" for number in range(20)]
ABORT = "/src/ggml/src/ggml.c:3210: GGML_ASSERT(a->ne[2] == b->ne[0]) failed"
BACKTRACE = [
    "[New LWP 4242]",
    "warning: process 4241 is already traced by process 4243",
    *(f"/lib/libggml-base.so(+0x{number:x}) [0x7f0000{number:06x}]" for number in range(30)),
    "/lib/libllama.so(llama_decode+0xb) [0x7f00001234]",
]


def text(*parts: list[str]) -> str:
    return "\n".join(line for part in parts for line in part)


def test_an_assertion_is_found_before_a_long_backtrace() -> None:
    found = last_words(text(LOADED, [ABORT], BACKTRACE))
    assert found.cause == "GGML_ASSERT(a->ne[2] == b->ne[0]) failed (ggml.c:3210)"
    assert found.lines[-1] == ABORT
    assert len(found.lines) == 12


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        (["/a b/ggml/src/ggml-cuda/ggml-cuda.cu:98: CUDA error"], "CUDA error (ggml-cuda.cu:98)"),
        (["x/ops.cpp:7: fatal error", *BACKTRACE], "fatal error (ops.cpp:7)"),
        (
            ["terminate called after throwing an instance of 'std::runtime_error'", "  what():  bad shape"],
            "bad shape",
        ),
        (
            [
                "gguf_init: tensor 'token_embd.weight' has invalid ggml type 137. should be in [0, 43)",
                "gguf_init: failed to read tensor info",
                "llama_model_load: error loading model: failed to load model from /x.gguf",
            ],
            "tensor 'token_embd.weight' has invalid ggml type 137. should be in [0, 43)",
        ),
        (
            ["......load_all_data: tensor 'output_norm.weight' has invalid data", "x: failed to load model"],
            "tensor 'output_norm.weight' has invalid data",
        ),
        (
            [
                "gguf_init: tensor 'a' of type 31 (REMOVED, use Q4_0) has rows of 256, not a multiple of 0",
                "gguf_init: failed to read tensor info",
            ],
            "tensor 'a' of type 31 (REMOVED, use Q4_0) has rows of 256, not a multiple of 0",
        ),
        (["load_tensors: CPU model buffer size = 3 MiB"], ""),
        ([], ""),
    ],
)
def test_other_ends_have_a_cause_if_a_line_says_one(lines: list[str], cause: str) -> None:
    found = last_words(text(lines))
    assert found.cause == cause
    assert not any("libggml" in line for line in found.lines)
