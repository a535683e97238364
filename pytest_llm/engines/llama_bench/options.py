"""Flags of a llama-bench program, read from its own help, and load options as such flags.

Flags differ between versions (tools/llama-bench/llama-bench.cpp of llama.cpp), so the help decides, not the
version. A load option without a flag is left out if it has llama.cpp's default value, and refused otherwise.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.errors import LoadRefusedError
from pytest_llm.records import LoadOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Flag(NamedTuple):
    """One flag of a program.

    Attributes:
        choices: The values that it names, such as "0" and "1"; empty if any is taken.
        default: The value without the flag, as the help writes it; "" if the help has none.
    """

    choices: tuple[str, ...]
    default: str


# "  -fa, --flash-attn <on|off|auto>     (default: auto)", and the default may stand on the next line.
_LINE = re.compile(r"^\s+(?P<names>--?[\w-]+(?:,? --?[\w-]+)*)(?:\s+<(?P<values>[^>]*)>)?", re.MULTILINE)
_DEFAULT = re.compile(r"\(default: (.*?)\)")
_ALL_LAYERS = "999"

# Load option -> its flag, and how its value is written.
_PLAIN: Mapping[str, tuple[str, Callable[[object], str]]] = {
    "n_batch": ("-b", str),
    "n_ubatch": ("-ub", str),
    "n_threads": ("-t", str),
    "split_mode": ("-sm", str),
    "main_gpu": ("-mg", str),
    "offload_kqv": ("-nkvo", lambda value: str(int(not value))),
    "op_offload": ("-nopo", lambda value: str(int(not value))),
    "use_extra_bufts": ("--repack", lambda value: str(int(bool(value)))),
    "type_k": ("-ctk", str),
    "type_v": ("-ctv", str),
    "n_cpu_moe": ("-ncmoe", str),
    "tensor_buft_overrides": ("-ot", lambda value: str(value).replace(",", ";")),
    "tensor_split": ("-ts", lambda value: str(value).replace(",", "/")),
    "numa": ("--numa", str),
}
# Without these the program has its own default, which is ours; its flags take no value that says so.
_IF_ASKED = {"n_cpu_moe", "tensor_buft_overrides", "tensor_split", "numa"}
# Its context is as long as its work, always of one sequence, and the sliding window's cache is never whole.
_OF_ITS_OWN = {"n_ctx", "n_seq_max", "swa_full"}
_WRITTEN_OUT = {"n_threads_batch", "n_gpu_layers", "flash_attn", "load_mode"}
_SWITCH = {"off": "0", "on": "1"}


def read_help(text: str) -> dict[str, Flag]:
    """Return every flag of a program by each of its names, from the text of ``--help``."""
    found: dict[str, Flag] = {}
    lines = list(_LINE.finditer(text))
    edges = [*(each.start() for each in lines), len(text)]
    for line, end in zip(lines, edges[1:], strict=True):
        default = _DEFAULT.search(text, line.end(), end)
        values = (line["values"] or "").split("|")
        flag = Flag(tuple(values) if len(values) > 1 else (), default[1] if default else "")
        found.update(dict.fromkeys(re.findall(r"--?[\w-]+", line["names"]), flag))
    return found


def arguments(flags: Mapping[str, Flag], options: LoadOptions, name: str) -> list[str]:
    """Return load options as arguments of a program; ``name`` is what messages call it.

    Raises:
        LoadRefusedError: The program has no flag for an option whose value is not the default.
    """
    if options.n_threads_batch != options.n_threads:
        raise LoadRefusedError(
            f"{name}: llama-bench has one number of threads: give n_threads_batch={options.n_threads}, as "
            f"n_threads, instead of {options.n_threads_batch}"
        )
    pairs = [*_plain(flags, options, name), *_layers(flags, options), *_flash_attn(flags, options, name)]
    pairs += _load_mode(flags, options, name)
    return [word for pair in pairs for word in pair]


def _plain(flags: Mapping[str, Flag], options: LoadOptions, name: str) -> Iterator[tuple[str, str]]:
    defaults = vars(LoadOptions())
    for option, value in vars(options).items():
        if option in _OF_ITS_OWN | _WRITTEN_OUT or (option in _IF_ASKED and value == defaults[option]):
            continue
        flag, worded = _PLAIN.get(option, ("", str))
        if flag in flags:
            yield flag, _checked(flags, flag, worded(value), f"{option}={value}", name)
        elif value != defaults[option]:
            raise _lacking(name, f"{option}={value}", flag)


def _layers(flags: Mapping[str, Flag], options: LoadOptions) -> list[tuple[str, str]]:
    layers = options.n_gpu_layers
    # Older programs read no number below 0; their default is a number above that of all layers.
    all_of_them = layers < 0 and not flags["-ngl"].default.startswith("-")
    return [("-ngl", _ALL_LAYERS if all_of_them else str(layers))]


def _flash_attn(flags: Mapping[str, Flag], options: LoadOptions, name: str) -> list[tuple[str, str]]:
    asked = options.flash_attn
    if "-fa" not in flags:
        if asked != "auto":
            raise _lacking(name, f"flash_attn={asked}", "-fa")
        return []
    if asked in flags["-fa"].choices:
        return [("-fa", asked)]
    # Only off and on are taken: "auto" is the default.
    return [("-fa", _SWITCH.get(asked) or flags["-fa"].default)]


def _load_mode(flags: Mapping[str, Flag], options: LoadOptions, name: str) -> list[tuple[str, str]]:
    asked = options.load_mode
    written = f"load_mode={asked}"
    if "-lm" in flags:
        if asked == "auto" and asked not in flags["-lm"].choices:
            return []
        return [("-lm", _checked(flags, "-lm", {"direct_io": "dio"}.get(asked, asked), written, name))]
    if asked == "auto":
        return []
    if asked == "direct_io" and "-dio" in flags:
        return [("-mmp", "0"), ("-dio", "1")]
    if asked in ("mmap", "none") and "-mmp" in flags:
        return [("-mmp", str(int(asked == "mmap")))]
    raise _lacking(name, written, "-lm")


def _checked(flags: Mapping[str, Flag], flag: str, value: str, written: str, name: str) -> str:
    choices = flags[flag].choices
    if choices and value not in choices:
        raise LoadRefusedError(
            f"{name}: {written} cannot be had: its {flag} takes {', '.join(choices)} alone"
        )
    return value


def _lacking(name: str, written: str, flag: str) -> LoadRefusedError:
    lack = f"no flag {flag}" if flag else "no flag for it"
    return LoadRefusedError(f"{name}: {written} cannot be had: this llama-bench has {lack}; leave it out")
