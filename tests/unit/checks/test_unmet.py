"""Load options are compared with what the loaded subject shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_llm.checks.unmet import next_step, sentence, unmet_of, unmet_options, verdict
from pytest_llm.records import Address, LoadOptions, PairedRun, Run, Verdict
from tests.bare import RUN


def unmet(effective: dict[str, Any], **asked: Any) -> str:
    return sentence(unmet_options(LoadOptions(**asked), effective))


@pytest.mark.parametrize(
    ("asked", "effective", "text"),
    [
        ({"load_mode": "mlock"}, {"load_mode": "none"}, "load_mode=mlock was asked for, none is in effect"),
        ({}, {"load_mode": "none"}, "load_mode=mmap was asked for, none is in effect"),
        ({"flash_attn": "on"}, {"flash_attn": "off"}, "flash_attn=on was asked for, off is in effect"),
        ({"n_ctx": 4096}, {"n_ctx": 2048}, "n_ctx=4096 was asked for, 2048 is in effect"),
        ({"n_batch": 2048}, {"n_batch": 512, "n_ctx": 4096}, "n_batch=2048 was asked for, 512 is in effect"),
        ({"n_ubatch": 512}, {"n_ubatch": 128}, "n_ubatch=512 was asked for, 128 is in effect"),
        ({"n_threads": 4}, {"n_threads": 1}, "n_threads=4 was asked for, 1 is in effect"),
        (
            {"n_threads": 2},
            {"n_threads": 2, "threads_at_work": 0.5},
            "n_threads=2 was asked for, 0.5 is in effect",
        ),
        (
            {"n_threads": 1, "n_threads_batch": 4},
            {"n_threads": 1, "n_threads_batch": 4, "threads_at_work": 2},
            "n_threads_batch=4 was asked for, 2 is in effect",
        ),
        ({"n_seq_max": 4}, {"n_seq_max": 1}, "n_seq_max=4 was asked for, 1 is in effect"),
        ({"type_k": "q8_0"}, {"type_k": "f16"}, "type_k=q8_0 was asked for, f16 is in effect"),
        ({"kv_unified": True}, {"kv_unified": False}, "kv_unified=True was asked for, False is in effect"),
        (
            {"use_extra_bufts": False},
            {"buffers_mib": {"CPU_REPACK model": 1.0}},
            "use_extra_bufts=False was asked for, True is in effect",
        ),
        (
            {"offload_kqv": False},
            {"buffers_mib": {"CPU KV": 1.0, "CUDA0 KV": 1.0}},
            "offload_kqv=False was asked for, True is in effect",
        ),
        (
            {"rope_freq_base": 10000.0},
            {"freq_base": 500000.0},
            "rope_freq_base=10000.0 was asked for, 500000.0 is in effect",
        ),
    ],
)
def test_an_option_that_is_not_in_effect_is_named_with_what_is(
    asked: dict[str, Any], effective: dict[str, Any], text: str
) -> None:
    found = unmet_options(LoadOptions(**asked), effective)
    assert sentence(found) == text
    assert verdict(found) is Verdict.DRIFT


@pytest.mark.parametrize(
    ("asked", "effective"),
    [
        ({}, {}),
        ({"n_ctx": 500}, {"n_ctx": 512}),  # rounded up
        ({"n_ctx": 512, "n_batch": 2048}, {"n_ctx": 512, "n_batch": 512}),  # lowered to the context
        ({"n_ctx": 100, "n_batch": 2048}, {"n_ctx": 256, "n_batch": 100}),  # before that is rounded up
        ({"n_batch": 32, "n_ubatch": 512}, {"n_batch": 32, "n_ubatch": 32}),  # lowered to the batch
        ({"n_batch": 8}, {"n_batch": 64}),  # the least of older releases
        ({"n_threads": 2}, {"n_threads": 2, "threads_at_work": 2}),
        ({"flash_attn": "auto"}, {"flash_attn": "off"}),
        ({"flash_attn": "on"}, {"flash_attn": "enabled"}),
        ({"load_mode": "auto"}, {"load_mode": "none"}),
        ({"load_mode": "direct_io"}, {"load_mode": "dio"}),
        ({"use_extra_bufts": True}, {"buffers_mib": {"CPU model": 1.0}}),
        ({"use_extra_bufts": False}, {"buffers_mib": {"CPU_Mapped model": 1.0}}),
        ({"offload_kqv": False}, {"buffers_mib": {"CPU KV": 1.0, "CUDA0 compute": 1.0}}),
        ({"offload_kqv": True}, {"buffers_mib": {"CPU KV": 1.0}}),
        ({"rope_freq_base": 0.0}, {"freq_base": 500000.0}),
        ({"rope_freq_scale": 0.12345678}, {"freq_scale": 0.123457}),
    ],
)
def test_what_llama_cpp_may_choose_is_in_effect(asked: dict[str, Any], effective: dict[str, Any]) -> None:
    assert unmet(effective, **asked) == ""


def run(effective: dict[str, Any], **asked: Any) -> Run:
    subject = replace(RUN.subject, load_options=LoadOptions(**asked))
    return replace(RUN, subject=subject, effective_options=effective)


def test_references_are_checked_as_well() -> None:
    locked, unlocked = run({"load_mode": "mlock"}, load_mode="mlock"), run({}, load_mode="mlock")
    unlocked = replace(unlocked, effective_options={"load_mode": "none"})
    found = unmet_of(PairedRun(locked, unlocked), [PairedRun(locked, unlocked)])
    assert sentence(found) == "reference's load_mode=mlock was asked for, none is in effect"


def test_what_a_tool_chooses_itself_is_told_and_no_drift() -> None:
    found = run({"n_batch": 512})
    assert verdict(unmet_of(found, ())) is Verdict.DRIFT
    tool = replace(found, subject=replace(found.subject, build=Address("ollama", "http://127.0.0.1:11434")))
    assert "n_batch" in sentence(unmet_of(tool, ()))
    assert verdict(unmet_of(tool, ())) is None


def test_layers_on_a_device_that_were_asked_for_in_so_many_words_are_told_and_no_drift() -> None:
    cpu = run({"layers_offloaded": "0/31"})
    found = unmet_of(cpu, [], wants_device=True)
    assert (
        sentence(found)
        == "n_gpu_layers=-1 asks for all layers on a device, and there is none: 0/31 are on one"
    )
    assert verdict(found) is None
    assert unmet_of(cpu, []) == ()
    assert unmet_of(run({"layers_offloaded": "31/31"}), [], wants_device=True) == ()


def test_locks_lead_to_the_limit_of_locked_memory() -> None:
    assert "ulimit -l" in next_step(unmet_options(LoadOptions(load_mode="mlock"), {"load_mode": "none"}))
    assert "ulimit -l" not in next_step(unmet_options(LoadOptions(n_ctx=4096), {"n_ctx": 512}))
