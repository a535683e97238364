"""Load options as flags of llama-server, read from its own help, and from that of an older one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_llm.engines.llama_server.flags import arguments, read_help, serves_sockets
from pytest_llm.errors import LoadRefusedError
from pytest_llm.records import LoadOptions
from tests.recordings import LLAMA_SERVER

NEW = read_help((LLAMA_SERVER / "0c1e57098.help.txt").read_text(encoding="utf-8"))
# As of b4400 (common/arg.cpp), cut.
OLD = read_help(
    """\
----- common params -----

-t,    --threads N                      number of threads to use during generation (default: -1)
                                        (env: LLAMA_ARG_THREADS)
-tb,   --threads-batch N                number of threads to use during batch and prompt processing (default:
                                        same as --threads)
-c,    --ctx-size N                     size of the prompt context (default: 4096, 0 = loaded from model)
-b,    --batch-size N                   logical maximum batch size (default: 2048)
-ub,   --ubatch-size N                  physical maximum batch size (default: 512)
-fa,   --flash-attn                     enable Flash Attention (default: disabled)
-ctk,  --cache-type-k TYPE              KV cache data type for K (default: f16)
-ctv,  --cache-type-v TYPE              KV cache data type for V (default: f16)
--mlock                                 force system to keep model in RAM rather than swapping or compressing
--no-mmap                               do not memory-map model (slower load but may reduce pageouts if not
                                        using mlock)
-ngl,  --gpu-layers, --n-gpu-layers N   number of layers to store in VRAM
-m,    --model FNAME                    model path
-np,   --parallel N                     number of parallel sequences to decode (default: 1)
--host HOST                             ip address to listen (default: 127.0.0.1)
--port PORT                             port to listen (default: 8080)
-lv,   --verbosity, --log-verbosity N   Set the verbosity threshold. Messages with a higher verbosity will be
                                        ignored.
"""
)
OPTIONS = LoadOptions(n_ctx=512, n_threads=2, n_threads_batch=3)


def words(flags: dict[str, str], **options: object) -> list[str]:
    return arguments(flags, replace(OPTIONS, **options), (), "", "it")  # type: ignore[arg-type]


def after(flag: str, found: list[str]) -> str:
    return found[found.index(flag) + 1]


def test_a_flag_is_known_by_each_of_its_names() -> None:
    assert NEW["-fa"] == NEW["--flash-attn"]
    assert NEW["-nkvo"] == NEW["--no-kv-offload"]
    assert NEW["-ctxcp"] == NEW["--swa-checkpoints"]
    assert {"-m", "--host", "--port", "-fit", "--cache-ram"} <= NEW.keys()
    assert "default" not in NEW
    assert "-fit" not in OLD


def test_what_a_server_would_choose_by_itself_is_always_written() -> None:
    for flags in (NEW, OLD):
        found = words(flags)
        asked = {each: after(each, found) for each in ("-c", "-b", "-ub", "-np", "-t", "-tb", "-ctk", "-ctv")}
        assert asked == {
            **{"-c": "512", "-b": "2048", "-ub": "512", "-np": "1", "-t": "2", "-tb": "3"},
            **{"-ctk": "f16", "-ctv": "f16"},
        }


def test_what_differs_from_start_to_start_is_pinned_where_the_build_knows_it() -> None:
    found = words(NEW)
    assert [after(each, found) for each in ("-fit", "--cache-ram", "--cache-reuse", "-ctxcp")] == [
        *("off", "0", "0", "0")
    ]
    assert {"--offline", "--no-webui", "--no-cache-idle-slots", "--no-context-shift"} <= {*found}
    assert after("-lv", found) == "4"
    assert "-lv" not in words(OLD)  # there a number below the usual one may hide what is read
    assert all(each in OLD for each in words(OLD) if each.startswith("-"))


@pytest.mark.parametrize(
    ("asked", "new", "old"),
    [("on", ["-fa", "on"], ["-fa"]), ("off", ["-fa", "off"], []), ("auto", ["-fa", "auto"], [])],
)
def test_flash_attention_is_a_value_or_a_switch(asked: str, new: list[str], old: list[str]) -> None:
    found = words(NEW, flash_attn=asked)
    assert found[found.index("-fa") : found.index("-fa") + 2] == new
    found = words(OLD, flash_attn=asked)
    assert [each for each in found if each == "-fa"] == old


@pytest.mark.parametrize(
    ("asked", "new", "old"),
    [
        ("auto", "auto", []),
        ("mmap", "mmap", []),
        ("none", "none", ["--no-mmap"]),
        ("mlock", "mlock", ["--no-mmap", "--mlock"]),
        ("mmap+mlock", "mmap+mlock", ["--mlock"]),
    ],
)
def test_a_load_mode_is_a_value_or_switches(asked: str, new: str, old: list[str]) -> None:
    assert after("-lm", words(NEW, load_mode=asked)) == new
    assert [each for each in words(OLD, load_mode=asked) if each.startswith("--")] == old


def test_all_layers_are_a_word_or_more_than_any_model_has() -> None:
    assert after("-ngl", words(NEW)) == "all"
    assert after("-ngl", words(OLD)) == "999"
    assert after("-ngl", words(NEW, n_gpu_layers=7)) == "7"


def test_other_options_are_written_if_they_are_asked_for() -> None:
    found = words(
        NEW, offload_kqv=False, op_offload=False, use_extra_bufts=False, kv_unified=True, rope_freq_base=1e4
    )
    assert {"--no-kv-offload", "--no-op-offload", "--no-repack", "--kv-unified"} <= {*found}
    assert after("--rope-freq-base", found) == "10000.0"
    assert "--rope-freq-base" not in words(NEW)
    assert "--swa-full" in words(NEW)
    assert "--swa-full" not in words(NEW, swa_full=False)


def test_adapters_are_written_with_their_scales() -> None:
    found = arguments(NEW, replace(OPTIONS, lora="a.gguf"), ["/a:0.5", "/b:1"], "", "it")
    assert after("--lora-scaled", found) == "/a:0.5,/b:1"


@pytest.mark.parametrize(
    ("flags", "options", "told"),
    [
        (OLD, {"split_mode": "none"}, "it: split_mode=none cannot be had: this llama-server has no flag -sm"),
        (OLD, {"load_mode": "direct_io"}, "it: load_mode=direct_io cannot be had"),
        (NEW, {"rope_scaling": "longrope"}, "its --rope-scaling takes none,linear,yarn alone"),
    ],
)
def test_what_a_server_has_no_flag_for_is_refused(
    flags: dict[str, str], options: dict[str, object], told: str
) -> None:
    with pytest.raises(LoadRefusedError, match=told):
        words(flags, **options)


def test_a_server_says_if_it_can_serve_on_a_socket() -> None:
    assert serves_sockets(NEW)
    assert not serves_sockets(OLD)
