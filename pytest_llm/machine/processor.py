"""The processor: its model, revision, caches and instruction sets, as the kernel tells them.

The name alone says little: on rented machines it is "AMD EPYC" for generations that differ by 70 % in speed.
"""

from __future__ import annotations

import platform
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.system.procfs import read_word

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

# Fields of /proc/cpuinfo on x86, then on ARM.
_REVISION = {
    "vendor_id": "{}",
    "cpu family": "family {}",
    "model": "model {}",
    "stepping": "stepping {}",
    "CPU implementer": "implementer {}",
    "CPU part": "part {}",
    "CPU variant": "variant {}",
    "CPU revision": "revision {}",
}
# Where each architecture lists its features: x86, ARM, RISC-V, IBM Z.
_FEATURES = ("flags", "Features", "isa", "features")
# Those that ggml has kernels for; a newer kernel tells more of the others on the same machine.
_INSTRUCTION_SETS = (
    "pni ssse3 sse4_1 sse4_2 avx avx2 avx_vnni avx_vnni_int8 bmi2 f16c fma xop avx512f avx512bw avx512cd "
    "avx512dq avx512vl avx512vbmi avx512_vnni avx512_bf16 avx512_fp16 amx_tile amx_int8 amx_bf16 "
    "asimd asimdhp fphp asimddp i8mm bf16 sve sve2 svei8mm svebf16 sme sme2 "
    "vx vxe vxe2 nnpa"
)
_KINDS = {"Data": "d", "Instruction": "i"}
_CACHES = "sys/devices/system/cpu/cpu0/cache"


class Processor(NamedTuple):
    """What is known of a machine's processors; "" is unknown.

    Attributes:
        name: "AMD EPYC".
        revision: "AuthenticAMD family 25 model 1 stepping 1"; several, if the cores are not of one kind.
        caches: "L1d 32K, L1i 32K, L2 512K, L3 32768K".
        instruction_sets: Those that speed up llama.cpp, as the kernel calls them, sorted.
    """

    name: str
    revision: str
    caches: str
    instruction_sets: str


@cache
def read_processor(root: Path) -> Processor:
    """Return what the kernel tells of the processors; ``root`` stands for ``/``."""
    cores = [_fields(each) for each in (read_word(root / "proc/cpuinfo") or "").split("\n\n")]
    names = [each["model name"] for each in cores if each.get("model name")]
    elsewhere = "" if platform.system() == "Linux" else platform.processor()  # there, it starts a program
    return Processor(
        name=next(iter(names), "") or elsewhere or platform.machine(),
        revision=" + ".join(_once(map(_revision, cores))),
        caches=", ".join(_once(map(_cache, sorted((root / _CACHES).glob("index*"))))),
        instruction_sets=" + ".join(_once(map(_instruction_sets, cores))),
    )


def _fields(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _once(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, texts)))


def _revision(core: Mapping[str, str]) -> str:
    return " ".join(words.format(core[name]) for name, words in _REVISION.items() if name in core)


def _instruction_sets(core: Mapping[str, str]) -> str:
    if "isa" in core:  # RISC-V: one word, "rv64imafdcv_zvl256b"
        return core["isa"]
    known = {each for name in _FEATURES for each in core.get(name, "").split()}
    return " ".join(sorted(known.intersection(_INSTRUCTION_SETS.split())))


def _cache(folder: Path) -> str:
    level, kind, size = (read_word(folder / name) or "" for name in ("level", "type", "size"))
    return f"L{level}{_KINDS.get(kind, '')} {size}" if size else ""
