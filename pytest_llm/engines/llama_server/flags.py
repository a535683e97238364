"""Flags of a llama-server, read from its own help, and load options as such flags.

Flags differ between builds (common/arg.cpp of llama.cpp), so the help decides, not the version. A load option
without a flag is left out if it has llama.cpp's default value, and refused otherwise.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.errors import LoadRefusedError
from pytest_llm.records import LoadOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_llm.records import Model

# "-lm,   --load-mode MODE                 model loading mode (default: auto)"; what follows is indented.
_LINE = re.compile(r"^ {0,2}(?P<names>--?[A-Za-z][\w-]*(?:, +--?[A-Za-z][\w-]*)*)(?P<rest>.*)$", re.MULTILINE)
_NAME = re.compile(r"--?[A-Za-z][\w-]*")
_ALL_LAYERS = "999"

# Load option -> its flag. Its value is written as it is.
_PLAIN: Mapping[str, str] = {
    "n_ctx": "-c",
    "n_batch": "-b",
    "n_ubatch": "-ub",
    "n_seq_max": "-np",
    "n_threads": "-t",
    "n_threads_batch": "-tb",
    "split_mode": "-sm",
    "main_gpu": "-mg",
    "type_k": "-ctk",
    "type_v": "-ctv",
    "rope_freq_base": "--rope-freq-base",
    "rope_freq_scale": "--rope-freq-scale",
    "rope_scaling": "--rope-scaling",
    "yarn_ext_factor": "--yarn-ext-factor",
    "yarn_attn_factor": "--yarn-attn-factor",
    "yarn_beta_fast": "--yarn-beta-fast",
    "yarn_beta_slow": "--yarn-beta-slow",
    "yarn_orig_ctx": "--yarn-orig-ctx",
    "n_cpu_moe": "-ncmoe",
    "tensor_buft_overrides": "-ot",
    "tensor_split": "-ts",
    "numa": "--numa",
}
# Asked for in any case: a server has other defaults, or takes them from the model or the machine.
_ALWAYS = ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_threads", "n_threads_batch", "type_k", "type_v")
# Load option -> the flags that turn it on and off; None where the build's own default is that.
_SWITCHES: Mapping[str, tuple[str | None, str | None]] = {
    "check_tensors": ("--check-tensors", None),
    "use_extra_bufts": (None, "--no-repack"),
    "offload_kqv": (None, "--no-kv-offload"),
    "op_offload": (None, "--no-op-offload"),
    "swa_full": ("--swa-full", None),
}
# What else would differ between two starts, or from what a slice expects: sizes chosen by free memory,
# prompts kept elsewhere than in the slot, the network, pages for a browser.
_PINNED: Sequence[tuple[str, ...]] = (
    ("-fit", "off"),
    ("--cache-ram", "0"),
    ("--cache-reuse", "0"),
    ("-ctxcp", "0"),
    ("--no-cache-idle-slots",),
    ("--no-context-shift",),
    ("--offline",),
    ("--no-webui",),
    ("--no-log-prefix",),
    ("--no-log-timestamps",),
)
_MODEL = ("-m", "--model")
_SPECULATION = "draft-simple"
_VERBOSITY = "-lv"
_TRACE = re.compile(r"4: trace")

Flags = dict[str, str]


def read_help(text: str) -> Flags:
    """Return the help on each flag of a program, by each of its names, from the text of ``--help``."""
    found: Flags = {}
    lines = list(_LINE.finditer(text))
    edges = [*(each.start() for each in lines), len(text)]
    for line, end in zip(lines, edges[1:], strict=True):
        names = _NAME.findall(line["names"])
        told = " ".join((line["rest"] + text[line.end() : end]).split())
        found.update(dict.fromkeys(names, told))
    return found


def arguments(
    flags: Mapping[str, str], options: LoadOptions, lora: Sequence[str], draft: str, name: str
) -> list[str]:
    """Return load options, and all that is pinned beside them, as arguments of a program.

    Args:
        flags: Of the program.
        options: The load options.
        lora: The adapters, "FILE:SCALE" each.
        draft: The file of the draft model; "" for none.
        name: The build, for messages.

    Raises:
        LoadRefusedError: The program has no flag for an option whose value is not the default.
    """
    written = [*_plain(flags, options, name), *_switches(flags, options, name), *_layers(flags, options)]
    written += _flash_attn(flags, options, name)
    written += _load_mode(flags, options, name)
    written += _kv_unified(flags, options, name)
    if lora:
        written += [_known(flags, "--lora-scaled", f"lora={options.lora}", name), ",".join(lora)]
    if draft:
        written += _draft(flags, draft, options, name)
    written += [word for words in _PINNED if words[0] in flags for word in words]
    if _TRACE.search(flags.get(_VERBOSITY, "")):  # elsewhere the usual log has all that is read
        written += [_VERBOSITY, "4"]
    return written


def without_model(words: Sequence[str], model: Model, name: str) -> list[str]:
    """Return a user's arguments without the model.

    Raises:
        LoadRefusedError: They name another one than the test measures.
    """
    found: list[str] = []
    rest = iter(words)
    for word in rest:
        flag, equals, value = word.partition("=")
        if flag not in _MODEL:
            found.append(word)
            continue
        named = value if equals else next(rest, "")
        if not (Path(named).exists() and Path(named).samefile(model.path)):
            raise LoadRefusedError(
                f"{name}: its command line names the model {named}, and the test measures {model.path}: "
                f"leave {flag} out, or name the same file with --llm-model"
            )
    return found


def serves_sockets(flags: Mapping[str, str]) -> bool:
    """Return if a program can serve on a Unix socket."""
    return ".sock" in flags.get("--host", "")


def _plain(flags: Mapping[str, str], options: LoadOptions, name: str) -> Iterator[str]:
    defaults = vars(LoadOptions())
    for option, flag in _PLAIN.items():
        value = getattr(options, option)
        if option not in _ALWAYS and value == defaults[option]:
            continue
        written = f"{option}={value}"
        told = flags[_known(flags, flag, written, name)]
        choices = re.match(r" ?[{\[]([\w,|]+)[}\]]", told)
        if choices and str(value) not in re.split(r"[,|]", choices[1]):
            raise LoadRefusedError(f"{name}: {written} cannot be had: its {flag} takes {choices[1]} alone")
        yield from (flag, str(value))


def _switches(flags: Mapping[str, str], options: LoadOptions, name: str) -> Iterator[str]:
    defaults = vars(LoadOptions())
    for option, (on, off) in _SWITCHES.items():
        value = getattr(options, option)
        flag = on if value else off
        if flag is None:
            continue
        if flag in flags:
            yield flag
        elif value != defaults[option]:
            raise _lacking(name, f"{option}={value}", flag)


def _layers(flags: Mapping[str, str], options: LoadOptions) -> list[str]:
    layers = options.n_gpu_layers
    every = "all" if "'all'" in flags.get("-ngl", "") else _ALL_LAYERS
    return ["-ngl", every if layers < 0 else str(layers)]


def _flash_attn(flags: Mapping[str, str], options: LoadOptions, name: str) -> list[str]:
    asked = options.flash_attn
    told = flags.get("-fa")
    if told is None:
        if asked != "auto":
            raise _lacking(name, f"flash_attn={asked}", "-fa")
        return []
    if "auto" in told:
        return ["-fa", asked]
    # To b6340 a switch, which is off unless it is there; none knows what "auto" would choose.
    return ["-fa"] if asked == "on" else []


def _load_mode(flags: Mapping[str, str], options: LoadOptions, name: str) -> list[str]:
    asked = options.load_mode
    if "-lm" in flags:
        return ["-lm", {"direct_io": "dio"}.get(asked, asked)]
    words = {
        "auto": [],
        "mmap": [],
        "none": ["--no-mmap"],
        "mlock": ["--no-mmap", "--mlock"],
        "mmap+mlock": ["--mlock"],
        "direct_io": ["-dio"],
    }[asked]
    return [_known(flags, each, f"load_mode={asked}", name) for each in words]


def _draft(flags: Mapping[str, str], draft: str, options: LoadOptions, name: str) -> list[str]:
    """Return the flags of a draft model; newer builds draft only if told how. Its threads are the model's."""
    written = [_known(flags, "-md", f"draft_model={options.draft_model}", name), draft]
    if _SPECULATION in flags.get("--spec-type", ""):
        written += ["--spec-type", _SPECULATION]
    if "-ngld" in flags:
        written += ["-ngld", _layers({"-ngl": flags["-ngld"]}, options)[1]]
    return written


def _kv_unified(flags: Mapping[str, str], options: LoadOptions, name: str) -> list[str]:
    if options.kv_unified:
        return [_known(flags, "--kv-unified", "kv_unified=True", name)]
    return ["--no-kv-unified"] if "--no-kv-unified" in flags else []


def _known(flags: Mapping[str, str], flag: str, written: str, name: str) -> str:
    if flag not in flags:
        raise _lacking(name, written, flag)
    return flag


def _lacking(name: str, written: str, flag: str) -> LoadRefusedError:
    return LoadRefusedError(
        f"{name}: {written} cannot be had: this llama-server has no flag {flag}; leave it out"
    )
