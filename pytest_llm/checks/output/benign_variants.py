"""Other ways to the same output: options that must not matter, and copies of a model that round less."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llm.errors import RequestFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_llm.checks.output.capture import Capture
    from pytest_llm.records import CacheType, FlashAttention, LoadOptions
    from pytest_llm.records.side import Side

# A larger copy would cost more than it tells: a small model of the same architecture tells as much.
F32_BYTES_MOST = 4 * 2**30
F32 = "F32"
_FLOATS = {F32, "F16", "BF16"}


def benign(reference: Side, seen: Capture) -> Iterator[tuple[str, LoadOptions]]:
    """Return load options that must not matter to what a model says, each with its name.

    Threads are not among them, and neither are prompts taken in token by token: where measured (see
    docs/output.md), the former changed no bit but in a full cache, and both less than a small ubatch does.
    """
    options = reference.subject.load_options
    if options.flash_attn != "off":  # where it is off, that is on purpose
        flash_attn: FlashAttention = "off" if seen.effective_options.get("flash_attn") == "on" else "on"
        yield f"flash_attn={flash_attn}", replace(options, flash_attn=flash_attn)
    yield "n_ubatch=32", replace(options, n_ubatch=32)
    # Without flash attention, an ubatch of another size may change no bit. Rounding the cache always does.
    cache: CacheType = "f16" if options.type_k == "f32" else "f32"
    yield f"type_k=type_v={cache}", replace(options, type_k=cache, type_v=cache)
    if reference.model.quantization not in _FLOATS:
        repacked = not options.use_extra_bufts
        yield f"use_extra_bufts={repacked}", replace(options, use_extra_bufts=repacked)


def pinned(side: Side) -> Side:
    """Return the side without flash attention, which rounds more than the rest."""
    options = replace(side.subject.load_options, flash_attn="off", type_k="f16", type_v="f16")
    return side._replace(subject=replace(side.subject, load_options=options))


class NoF32Error(Exception):
    """There is no copy of the model with weights of 32 bits, and why."""


def with_f32(side: Side, reference: Side, copies: Path) -> Side:
    """Return the side with a copy of its model whose weights are 32-bit floats, made by the reference.

    Raises:
        NoF32Error: There can be none.
    """
    model = side.model
    if model.quantization == F32:
        return side
    if 4 * model.parameters > F32_BYTES_MOST:
        raise NoF32Error(f"one of {model.parameters / 1e6:.0f} M parameters is too large to be made")
    path = copies / f"{model.sha256}.f32.gguf"
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(reference.engine.start_generation(reference.subject, model)) as started:
                started.write_f32(path)
    except (RequestFailedError, OSError) as error:
        raise NoF32Error(str(error)) from None
    copied = replace(model, path=str(path), quantization=F32, file_bytes=path.stat().st_size)
    return side._replace(model=copied)
