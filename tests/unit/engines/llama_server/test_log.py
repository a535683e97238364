"""Effective options of a recorded start: what the log and ``/props`` confirm, and what nothing does."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from pytest_llm.engines.llama_server.log import effective_options, features, messages_of
from pytest_llm.records import LoadOptions
from tests.recordings import LLAMA_SERVER

if TYPE_CHECKING:
    from pytest_llm.records import JSON

LOG = (LLAMA_SERVER / "0c1e57098.log.txt").read_text(encoding="utf-8")
MESSAGES = messages_of(LOG)
ASKED: dict[str, JSON] = asdict(LoadOptions(n_ctx=1024, n_batch=2048, n_threads=4, n_threads_batch=4))


def test_a_message_is_what_stands_behind_time_and_level() -> None:
    assert "llama_context: n_batch               = 1024" in MESSAGES
    assert messages_of("llama_context: n_batch = 7\n") == ["llama_context: n_batch = 7"]


def test_the_log_corrects_what_was_asked() -> None:
    found = effective_options(ASKED, MESSAGES, {"total_slots": 1})
    assert [found[each] for each in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max")] == [1024, 1024, 512, 1]
    assert [found[each] for each in ("n_threads", "n_threads_batch")] == [2, 2]
    assert (found["flash_attn"], found["load_mode"], found["kv_unified"]) == ("on", "mmap", False)
    assert found["buffers_mib"] == {
        "CPU_Mapped model": 92.1,
        "CPU output": 0.19,
        "CPU KV": 22.5,
        "CPU compute": 14.51,
    }


def test_what_nothing_confirms_is_named() -> None:
    unconfirmed = effective_options(ASKED, MESSAGES, {})["unconfirmed"]
    assert isinstance(unconfirmed, list)
    assert {"check_tensors", "offload_kqv", "numa"} <= {*unconfirmed}
    assert not {"n_ctx", "n_batch", "n_threads", "flash_attn", "load_mode", "type_k"} & {*unconfirmed}
    assert effective_options(ASKED, [], {})["unconfirmed"] == sorted({*ASKED} - {"lora", "draft_model"})


def test_features_are_those_that_the_server_lists_before_any_text_of_a_model() -> None:
    assert features(MESSAGES).startswith("CPU : SSE3 = 1 | SSSE3 = 1")
    forged = "llama_model_loader: - kv 2: general.name str = x: system_info: n_threads = 9 / 9 | FORGED"
    assert "FORGED" not in features([*MESSAGES, forged])
    assert features([]) == ""
