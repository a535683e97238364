"""Load options in the words of llama-bench programs of two generations, read from their own help."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_llm.engines.llama_bench.options import Flag, arguments, read_help
from pytest_llm.errors import LoadRefusedError
from pytest_llm.records import LoadOptions
from tests import STAND_IN

SAID = STAND_IN / "llama_bench" / "said"
OPTIONS = LoadOptions(n_threads=2, n_threads_batch=2)


def flags_of(release: str) -> dict[str, Flag]:
    return read_help((SAID / release / "help.txt").read_text(encoding="utf-8"))


OLD, NEW = flags_of("0.3.16"), flags_of("0.3.36")


def written(flags: dict[str, Flag], **options: object) -> dict[str, str]:
    words = arguments(flags, replace(OPTIONS, **options), "it")  # type: ignore[arg-type]
    return dict(zip(words[::2], words[1::2], strict=True))


def test_a_flag_is_known_by_each_of_its_names_with_what_it_takes() -> None:
    assert OLD["-fa"] == OLD["--flash-attn"] == Flag(("0", "1"), "0")
    assert NEW["-fa"] == NEW["--flash-attn"] == Flag(("on", "off", "auto"), "auto")
    assert NEW["-lm"].choices == ("auto", "none", "mmap", "mlock", "mmap+mlock", "dio")
    assert "jsonl" in OLD["-o"].choices
    assert OLD["-m"].choices == ()
    assert OLD["-ngl"].default == "99"
    assert NEW["-ngl"].default == "-1"
    assert {"-d", "-v"} <= OLD.keys() & NEW.keys()
    assert "-lm" not in OLD
    assert "-mmp" not in NEW


def test_a_default_on_the_next_line_belongs_to_its_flag() -> None:
    found = read_help("  -lm, --load-mode <none|mmap>\n      (default: mmap)\n  -x, --other <n>\n")
    assert found["-lm"] == Flag(("none", "mmap"), "mmap")
    assert found["-x"].default == ""


def test_every_option_that_a_new_program_has_a_flag_for_is_said() -> None:
    assert written(NEW) == {
        "-b": "2048",
        "-ub": "512",
        "-t": "2",
        "-sm": "layer",
        "-mg": "0",
        "-nkvo": "0",
        "-nopo": "0",
        "--repack": "1",
        "-ctk": "f16",
        "-ctv": "f16",
        "-ngl": "-1",
        "-fa": "auto",
        "-lm": "mmap",
    }


def test_an_old_program_gets_the_same_in_its_own_words() -> None:
    assert written(OLD) == {
        "-b": "2048",
        "-ub": "512",
        "-t": "2",
        "-sm": "layer",
        "-mg": "0",
        "-nkvo": "0",
        "-nopo": "0",
        "-ctk": "f16",
        "-ctv": "f16",
        "-ngl": "999",  # it reads no number below 0
        "-fa": "0",  # what it does where nobody asks
        "-mmp": "1",
    }


@pytest.mark.parametrize(
    ("options", "old", "new"),
    [
        ({"flash_attn": "on"}, ("-fa", "1"), ("-fa", "on")),
        ({"flash_attn": "off"}, ("-fa", "0"), ("-fa", "off")),
        ({"offload_kqv": False}, ("-nkvo", "1"), ("-nkvo", "1")),
        ({"op_offload": False}, ("-nopo", "1"), ("-nopo", "1")),
        ({"n_gpu_layers": 0}, ("-ngl", "0"), ("-ngl", "0")),
        ({"n_gpu_layers": 7}, ("-ngl", "7"), ("-ngl", "7")),
        ({"load_mode": "none"}, ("-mmp", "0"), ("-lm", "none")),
        ({"type_k": "q8_0"}, ("-ctk", "q8_0"), ("-ctk", "q8_0")),
        ({"split_mode": "row"}, ("-sm", "row"), ("-sm", "row")),
    ],
)
def test_an_option_is_said_in_the_words_of_each_generation(
    options: dict[str, object], old: tuple[str, str], new: tuple[str, str]
) -> None:
    assert written(OLD, **options)[old[0]] == old[1]
    assert written(NEW, **options)[new[0]] == new[1]


def test_ways_to_load_that_only_some_programs_have() -> None:
    assert written(NEW, load_mode="direct_io")["-lm"] == "dio"
    assert written(NEW, load_mode="mmap+mlock")["-lm"] == "mmap+mlock"
    between = {**OLD, "-dio": Flag(("0", "1"), "0")}
    found = written(between, load_mode="direct_io")
    assert (found["-mmp"], found["-dio"]) == ("0", "1")
    assert written(NEW, load_mode="auto")["-lm"] == "auto"
    assert "-mmp" not in written(OLD, load_mode="auto")
    without_auto = {**NEW, "-lm": NEW["-lm"]._replace(choices=("none", "mmap"))}
    assert "-lm" not in written(without_auto, load_mode="auto")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"use_extra_bufts": False}, "it: use_extra_bufts=False cannot be had: this llama-bench has no flag"),
        ({"check_tensors": True}, "check_tensors=True cannot be had: this llama-bench has no flag for it"),
        ({"rope_freq_base": 1.0}, "rope_freq_base=1.0 cannot be had"),
        ({"kv_unified": True}, "kv_unified=True cannot be had"),
        ({"load_mode": "mlock"}, "load_mode=mlock cannot be had: this llama-bench has no flag -lm"),
        ({"load_mode": "direct_io"}, "load_mode=direct_io cannot be had"),
        ({"n_threads_batch": 1}, "llama-bench has one number of threads: give n_threads_batch=2"),
    ],
)
def test_what_an_old_program_has_no_flag_for_is_refused(options: dict[str, object], reason: str) -> None:
    with pytest.raises(LoadRefusedError) as caught:
        written(OLD, **options)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_value_that_a_flag_does_not_name_is_refused() -> None:
    named = {**NEW, "-sm": Flag(("none", "layer"), "layer")}
    with pytest.raises(LoadRefusedError, match="split_mode=row cannot be had: its -sm takes none"):
        written(named, split_mode="row")


def test_flash_attention_without_a_flag_is_left_alone_or_refused() -> None:
    without = {name: flag for name, flag in OLD.items() if name != "-fa"}
    assert "-fa" not in written(without)
    with pytest.raises(LoadRefusedError, match="flash_attn=on"):
        written(without, flash_attn="on")


def test_what_a_program_decides_by_itself_is_never_asked_for() -> None:
    assert written(NEW, n_ctx=512, n_seq_max=4, swa_full=False) == written(NEW)


def test_places_of_tensors_are_said_in_the_programs_own_words() -> None:
    found = written(
        NEW, tensor_buft_overrides="a=CPU,b=CPU", tensor_split="3,1", n_cpu_moe=2, numa="distribute"
    )
    assert (found["-ot"], found["-ts"], found["-ncmoe"]) == ("a=CPU;b=CPU", "3/1", "2")
    assert found["--numa"] == "distribute"
    assert not {"-ot", "-ts", "-ncmoe", "--numa"} & written(NEW).keys()


@pytest.mark.parametrize("option", [{"lora": "a.gguf"}, {"rope_scaling": "yarn"}, {"yarn_orig_ctx": 4096}])
def test_what_the_program_has_no_flag_for_is_refused(option: dict[str, object]) -> None:
    with pytest.raises(LoadRefusedError, match="no flag for it; leave it out"):
        written(NEW, **option)
