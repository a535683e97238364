"""Benign variants: options that must not change an output, and copies of a model that round less."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.checks.output.f32_copies import F32
from pytest_llm.errors import LoadRefusedError, RequestFailedError
from pytest_llm.records import Command, Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

    from pytest_llm.checks.output.capture import Capture, CaptureSession
    from pytest_llm.checks.output.f32_copies import F32Copies
    from pytest_llm.records import JSON, Divergence
    from pytest_llm.records.side import Side

F32_WEIGHTS = "F32 weights"
EXACT = "F32 weights without flash attention"
_FLOATS = {F32, "F16", "BF16"}
_ROLES = "candidate", "reference"


class Step(NamedTuple):
    """Captures with one kind of weights.

    Attributes:
        weights: "Q4_1 weights".
        session: Captures more of the same kind.
        sides: The candidate and, if it is a subject, the reference.
        captures: Of each side.
    """

    weights: str
    session: CaptureSession
    sides: tuple[Side, ...]
    captures: tuple[Capture, ...]


def steps(
    session: CaptureSession,
    sides: tuple[Side, ...],
    captures: tuple[Capture, ...],
    copies: F32Copies,
    skip: Container[str] = (),
) -> Iterator[Step]:
    """Yield captures with the models' own weights, with F32 weights, then also without flash attention.

    Args:
        session: Makes the captures of the later steps.
        sides: The last one makes the copies; what changes nothing of it is left out.
        captures: Of the sides, with their own weights.
        copies: With F32 weights.
        skip: Kinds of weights to leave out after the first step.

    Raises:
        NoF32Error: There can be no copy with F32 weights.
        EngineError: A subject cannot be loaded, or refuses.
    """
    reference = sides[-1]
    session = session._replace(plan=session.plan.again())
    yield Step(f"{reference.model.quantization} weights", session, sides, captures)
    session = session._replace(plan=session.plan.unfilled())
    exact = tuple(each._replace(model=copies.of(each.model, reference)) for each in sides)
    pinned = tuple(_with(each, flash_attn="off", type_k="f16", type_v="f16") for each in exact)
    for weights, plain in ((F32_WEIGHTS, exact), (EXACT, pinned)):
        if plain[-1] != reference and weights not in skip:
            named = zip(plain, _ROLES, strict=False)
            seen = tuple(session.capture(side, role, f"{role} with {weights}") for side, role in named)
            yield Step(weights, session, plain, seen)


def measure_variants(step: Step, compare: Callable[[Capture], Divergence]) -> tuple[Variant, ...]:
    """Return how far each benign variant of the last side is from it; those that it refuses are left out.

    Args:
        step: Holds the last side and its capture.
        compare: Returns how far a capture is from that one.
    """
    found = []
    role = _ROLES[len(step.sides) - 1]
    for name, side in benign_sides(step.sides[-1], step.captures[-1].effective_options):
        try:
            variant = step.session.capture(side, "variant", f"{role} with {step.weights}, {name}")
        except (LoadRefusedError, RequestFailedError):
            continue  # a quantised KV cache, say, needs flash attention
        if not variant.snapshot.not_finite:
            apart = compare(variant)
            found.append(Variant(name, apart.mean_kl, apart.tail_kl, apart.lead_change))
    return tuple(found)


def benign_sides(
    side: Side, effective_options: Mapping[str, JSON], *, texts: bool = False
) -> Iterator[tuple[str, Side]]:
    """Yield a subject with each benign option changed; a smaller ubatch may not hold whole texts."""
    if isinstance(side.subject.build, Command):
        return  # nothing but what the user wrote is in effect
    # Threads are not among them, and neither is decoding a prompt token by token: as measured for
    # docs/output.md, the former changed no bit but in a full cache, and both less than a small ubatch does.
    options = side.subject.load_options
    if options.flash_attn != "off":  # "off" is on purpose
        flash_attn = "off" if effective_options.get("flash_attn") == "on" else "on"
        yield f"flash_attn={flash_attn}", _with(side, flash_attn=flash_attn)
    if not texts:
        yield "n_ubatch=32", _with(side, n_ubatch=32)
    # Without flash attention, another size of ubatch may change no bit. Rounding the cache always does.
    cache = "f16" if options.type_k == "f32" else "f32"
    yield f"type_k=type_v={cache}", _with(side, type_k=cache, type_v=cache)
    if side.model.quantization not in _FLOATS:
        repacked = not options.use_extra_bufts
        yield f"use_extra_bufts={repacked}", _with(side, use_extra_bufts=repacked)


def _with(side: Side, **changes: Any) -> Side:
    options = replace(side.subject.load_options, **changes)
    return side._replace(subject=replace(side.subject, load_options=options))
