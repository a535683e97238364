"""Benign variants: options that must not change an output, and copies of a model that round less."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llm.errors import LoadRefusedError, RequestFailedError
from pytest_llm.records import Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_llm.checks.output.capture import Capture, CaptureSession
    from pytest_llm.records import CacheType, Divergence, FlashAttention, LoadOptions
    from pytest_llm.records.side import Side

# A larger copy would cost too much; a small model of the same architecture shows the same errors.
F32_BYTES_MOST = 4 * 2**30
F32 = "F32"
F32_WEIGHTS = "F32 weights"
EXACT = "F32 weights without flash attention"
_FLOATS = {F32, "F16", "BF16"}


def benign(reference: Side, captured: Capture) -> Iterator[tuple[str, LoadOptions]]:
    """Return load options that must not change an output, each with its name.

    Threads are not among them, and neither is decoding a prompt token by token: as measured for
    docs/output.md, the former changed no bit but in a full cache, and both less than a small ubatch does.
    """
    options = reference.subject.load_options
    if options.flash_attn != "off":  # "off" is on purpose
        flash_attn: FlashAttention = "off" if captured.effective_options.get("flash_attn") == "on" else "on"
        yield f"flash_attn={flash_attn}", replace(options, flash_attn=flash_attn)
    yield "n_ubatch=32", replace(options, n_ubatch=32)
    # Without flash attention, another size of ubatch may change no bit. Rounding the cache always does.
    cache: CacheType = "f16" if options.type_k == "f32" else "f32"
    yield f"type_k=type_v={cache}", replace(options, type_k=cache, type_v=cache)
    if reference.model.quantization not in _FLOATS:
        repacked = not options.use_extra_bufts
        yield f"use_extra_bufts={repacked}", replace(options, use_extra_bufts=repacked)


def measure_variants(
    session: CaptureSession,
    reference: Side,
    captured: Capture,
    what: str,
    compare: Callable[[Capture], Divergence],
) -> tuple[Variant, ...]:
    """Return how far each benign variant is from the reference; variants that it refuses are left out.

    Args:
        session: Captures the variants.
        reference: The subject that is varied.
        captured: The capture of the reference.
        what: For progress: "reference with F32 weights".
        compare: Returns how far a capture is from the reference's.
    """
    found = []
    for name, options in benign(reference, captured):
        side = reference._replace(subject=replace(reference.subject, load_options=options))
        try:
            variant = session.capture(side, "variant", f"{what}, {name}")
        except (LoadRefusedError, RequestFailedError):
            continue  # a quantised KV cache, say, needs flash attention
        if not variant.snapshot.not_finite:
            apart = compare(variant)
            found.append(Variant(name, apart.mean_kl, apart.tail_kl, apart.lead_change))
    return tuple(found)


class NoF32Error(Exception):
    """There is no copy of the model with weights of 32 bits, and why."""


def with_less_rounding(sides: tuple[Side, ...], copies: Path) -> Iterator[tuple[str, tuple[Side, ...]]]:
    """Yield the name of the weights and the sides: as they are, with F32 weights, without flash attention.

    Args:
        sides: Subjects to compare. The last one makes the copies, and a step that changes nothing of it is
            left out.
        copies: The folder of the copies; need not exist.

    Raises:
        NoF32Error: There can be no copy with F32 weights.
    """
    reference = sides[-1]
    yield f"{reference.model.quantization} weights", sides
    exact = tuple(_with_f32(each, reference, copies) for each in sides)
    if reference.model.quantization != F32:
        yield F32_WEIGHTS, exact
    pinned = tuple(map(_without_flash_attention, exact))
    if pinned[-1] != reference:
        yield EXACT, pinned


def _without_flash_attention(side: Side) -> Side:
    options = replace(side.subject.load_options, flash_attn="off", type_k="f16", type_v="f16")
    return side._replace(subject=replace(side.subject, load_options=options))


def _with_f32(side: Side, reference: Side, copies: Path) -> Side:
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
