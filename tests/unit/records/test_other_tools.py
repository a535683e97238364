"""Names of other tools lead to ours."""

from __future__ import annotations

import pytest

from pytest_llm.errors import UnknownNameError
from pytest_llm.records import LoadOptions
from pytest_llm.records.other_tools import HUGGING_FACE, OLLAMA, URL, kind_of_model, unknown_argument

OPTIONS = list(vars(LoadOptions()))


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("use_mmap", "write load_mode='mmap', or load_mode='none' to read the file into memory"),
        ("--no-mmap", "write load_mode='mmap', or load_mode='none' to read the file into memory"),
        ("use_mlock", "write load_mode='mlock', or load_mode='mmap+mlock'"),
        ("n_gpu_layer", "did you mean n_gpu_layers?"),
        ("ngl", "write n_gpu_layers"),
        ("num_gpu", "write n_gpu_layers"),
        ("num_ctx", "write n_ctx"),
        ("ctx-size", "write n_ctx"),
        ("threads", "write n_threads"),
        ("kv_cache_dtype", "write type_k and type_v"),
        ("no_kv_offload", "write offload_kqv"),
        ("num_predict", "write llm_workload(generate_tokens=N)"),
        ("override-tensor", "write tensor_buft_overrides"),
        ("embeddings", "write llm_workload(embed=True)"),
        ("temp", "sampling is an argument of gguf_model.generate, not of the load"),
    ],
)
def test_a_load_option_of_another_tool_leads_to_ours(name: str, answer: str) -> None:
    assert str(unknown_argument("load option", name, OPTIONS)) == f"unknown load option {name!r}: {answer}"


def test_a_name_that_no_tool_has_offers_the_nearest() -> None:
    error = unknown_argument("load option", "flsh_attn", OPTIONS)
    assert isinstance(error, UnknownNameError)
    assert error.nearest == ("flash_attn",)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("https://example.org/tiny.gguf", URL),
        ("https://huggingface.co/org/tiny-GGUF/resolve/main/tiny.gguf", URL),
        ("https://huggingface.co/org/tiny-GGUF", HUGGING_FACE),
        ("hf.co/org/tiny-GGUF:Q4_K_M", HUGGING_FACE),
        ("hf://org/tiny-GGUF", HUGGING_FACE),
        ("org/tiny-GGUF:Q4_K_M", HUGGING_FACE),
        ("org/tiny-GGUF", HUGGING_FACE),
        ("llama3.2:1b", OLLAMA),
        ("qwen:latest", OLLAMA),
        ("registry.ollama.ai/library/llama3", OLLAMA),
        ("tiny.gguf", ""),
        ("models/tiny.gguf", ""),
        ("a:b.gguf", ""),
        ("smollm2-135m", ""),
        ("./models/tiny", ""),
        ("/models/tiny", ""),
        ("../tiny", ""),
        ("~/tiny", ""),
    ],
)
def test_a_name_is_told_from_those_of_other_tools(name: str, kind: str) -> None:
    assert kind_of_model(name) == kind
