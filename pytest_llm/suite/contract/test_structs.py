"""Structs: the binding lays them out as the library does, otherwise fields hold garbage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.suite.candidate import broken, not_covered
from pytest_llm.suite.contract import headers
from pytest_llm.suite.contract.layouts import differences, unusual_defaults

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.suite.candidate import Candidate
    from pytest_llm.suite.contract.headers import Layout

_STRUCTS = (
    *("llama_model_params", "llama_context_params", "llama_batch", "llama_model_quantize_params"),
    *("llama_sampler_chain_params", "llama_perf_context_data", "llama_perf_sampler_data"),
    *("llama_token_data", "llama_token_data_array", "llama_chat_message", "llama_logit_bias"),
    *("llama_model_kv_override", "llama_model_tensor_override", "llama_model_imatrix_data"),
    *("llama_sampler", "llama_sampler_i", "llama_sampler_seq_config", "llama_sampler_data", "llama_embd"),
    "llama_opt_params",
)
# Broken in released bindings, with the use of the struct.
_KNOWN = {"llama_opt_params": "training, which nothing here does"}
# The defaults of llama.cpp from 0.3.0 to 0.3.36 of llama-cpp-python. The fields are spread over each struct,
# so that a shift anywhere changes one of them.
_DEFAULTS: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "llama_context_params": {
        **{"n_ctx": (512,), "n_batch": (2048,), "n_ubatch": (512,), "n_seq_max": (1,), "n_threads": (4,)},
        **{"n_threads_batch": (4,), "rope_scaling_type": (-1,), "pooling_type": (-1,)},
        **{"attention_type": (-1,), "flash_attn_type": (-1,), "rope_freq_base": (0,)},
        **{"rope_freq_scale": (0,), "yarn_ext_factor": (-1,), "yarn_attn_factor": (1, -1)},
        **{"yarn_beta_fast": (32, -1), "yarn_beta_slow": (1, -1), "yarn_orig_ctx": (0,)},
        **{"defrag_thold": (-1, 0), "type_k": (1,), "type_v": (1,), "embeddings": (False,)},
        **{"offload_kqv": (True,), "no_perf": (True,), "op_offload": (True,), "swa_full": (True,)},
        **{"kv_unified": (False,), "n_samplers": (0,)},
    },
    "llama_model_params": {
        **{"n_gpu_layers": (0, 99, 999, -1), "split_mode": (1,), "load_mode": (-1, 1), "main_gpu": (0,)},
        **{"vocab_only": (False,), "use_mmap": (True,), "use_mlock": (False,), "check_tensors": (False,)},
        **{"use_extra_bufts": (True,), "no_host": (False,), "no_alloc": (False,)},
    },
    "llama_model_quantize_params": {
        **{"nthread": (0,), "quantize_output_tensor": (True,), "only_copy": (False,), "pure": (False,)},
        **{"keep_split": (False,)},
    },
    "llama_sampler_chain_params": {"no_perf": (True,)},
}


@pytest.fixture(scope="session")
def layouts(candidate: Candidate, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Layout]:
    """The layouts of the headers, for the structs that the binding declares."""
    try:
        header = headers.find_header([Path(folder) for folder in candidate.structs["include"]])
        source = header.read_text(encoding="utf-8", errors="replace")
        wanted = {name: headers.fields_of(source, name) for name in candidate.structs["structs"]}
        known = {name: fields for name, fields in wanted.items() if fields}
        return headers.lay_out(header, known, tmp_path_factory.mktemp("layout"))
    except headers.HeadersError as error:
        not_covered(f"layouts of structs: {error}")


def _compare(struct: str, candidate: Candidate, layouts: Mapping[str, Layout]) -> list[str]:
    declared = candidate.structs["structs"][struct]
    return differences(struct, declared["fields"], declared["size"], layouts[struct])


@pytest.mark.parametrize("struct", _STRUCTS)
def test_a_struct_is_laid_out_as_in_the_headers(
    struct: str, candidate: Candidate, layouts: Mapping[str, Layout]
) -> None:
    """The size, and the offset and width of every field."""
    if struct not in candidate.structs["structs"]:
        not_covered(f"layout of {struct}: the binding declares no such struct")
    if struct not in layouts:
        not_covered(f"layout of {struct}: the headers define no such struct")
    found = _compare(struct, candidate, layouts)
    if found and struct in _KNOWN:
        pytest.xfail(f"{'; '.join(found)} (for {_KNOWN[struct]})")
    if found:
        broken("\n".join(found))


def test_every_other_struct_is_laid_out_as_in_the_headers(
    candidate: Candidate, layouts: Mapping[str, Layout]
) -> None:
    """The structs that the binding declares and this suite does not name."""
    others = [name for name in candidate.structs["structs"] if name in layouts and name not in _STRUCTS]
    found = [line for struct in others for line in _compare(struct, candidate, layouts)]
    if found:
        broken("\n".join(found))


@pytest.mark.parametrize("struct", list(_DEFAULTS))
def test_defaults_make_sense(struct: str, candidate: Candidate) -> None:
    """A shifted layout shows as garbage in llama.cpp's own defaults, even without headers."""
    if struct not in candidate.defaults:
        not_covered(f"defaults of {struct}: the build has no function that fills it in")
    found = unusual_defaults(candidate.defaults[struct], _DEFAULTS[struct])
    if found:
        broken(f"{struct} as llama.cpp fills it in: {'; '.join(found)}\nits layout may not be the library's")
