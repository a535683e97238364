"""What a candidate says beside a reference, before anything is timed.

Both decode the same token ids, and what they hold likely at each position is compared: to the last bit first.
Where it differs, the measure of what may differ is the reference itself under options that must not matter. A
quantised model makes that measure wide, since activations rounded to a few bits make much of every small
change; so the same is asked of a copy of the model whose weights are 32-bit floats.
"""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.campaign.looking import course_of, look
from pytest_llm.campaign.texts import TORTURE
from pytest_llm.errors import LoadRefusedError, RequestFailedError
from pytest_llm.inference.divergence import divergence, not_finite, read_logits, same_bits
from pytest_llm.inference.envelope import outside
from pytest_llm.inference.repetition import first_difference, loops
from pytest_llm.records import Contrast, OutputPair, Run, Variant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.campaign.looking import Seen
    from pytest_llm.campaign.paired import Side
    from pytest_llm.campaign.passages import Course
    from pytest_llm.records import CacheType, Divergence, FlashAttention, LoadOptions, OutputGate, Workload

    Sides = tuple[Side, Side]

# A larger copy would cost more than it tells: a small model of the same architecture tells as much.
F32_BYTES_MOST = 4 * 2**30
F32 = "F32"
_FLOATS = {F32, "F16", "BF16"}
_FILES = ("candidate", "reference")


class OutputRun(NamedTuple):
    """What was found, and the candidate's side of it as a run without sessions."""

    pair: OutputPair
    candidate: Run


def compare_outputs(
    candidate: Side, reference: Side, gate: OutputGate, workload: Workload, copies: Path
) -> OutputRun:
    """Compare what two subjects say.

    Args:
        candidate: The subject that is judged.
        reference: The subject it is compared with.
        gate: What is asked.
        workload: How many sequences there will be beside each other.
        copies: The folder where copies of models with weights of 32 bits are kept; need not exist.

    Raises:
        EngineError: An engine does not start, refuses its subject, or refuses to talk.
    """
    course = course_of(reference, gate, workload)
    with tempfile.TemporaryDirectory(prefix="pytest-llm-") as folder:
        asked = _Asked(course, gate.top_k, Path(folder))
        ours, theirs = (
            look(side, course, asked.folder / file)
            for side, file in zip((candidate, reference), _FILES, strict=True)
        )
        pair = _first_sight(ours, theirs, asked)
        asked = asked._replace(course=course._replace(generate=0))  # once is enough
        if not (pair.same or pair.not_finite or pair.reference_not_finite):
            pair = _second_sight(pair, (candidate, reference), gate, asked, theirs, copies)
    run = Run(candidate.subject, workload, candidate.model, ours.build, ours.resolved, (), {})
    return OutputRun(pair, run)


class _Asked(NamedTuple):
    """What every subject is asked, and where their logits are."""

    course: Course
    top_k: int
    folder: Path

    def apart(self, other: str) -> Divergence:
        """Return how far the logits of a file are from the reference's."""
        positions = self.course.positions()
        theirs, others = (read_logits(self.folder / each, positions) for each in ("reference", other))
        return divergence(theirs, others, self.course.following(), self.top_k)


def _first_sight(ours: Seen, theirs: Seen, asked: _Asked) -> OutputPair:
    positions = asked.course.positions()
    mine, its = (read_logits(each.logits, positions) for each in (ours, theirs))
    return OutputPair(
        ours.build,
        theirs.build,
        positions,
        same=same_bits(mine, its),
        not_finite=not_finite(mine),
        reference_not_finite=not_finite(its),
        tokenized=tuple(
            ascii(text)[2:-1]
            for text, one, other in zip(TORTURE, ours.tokenized, theirs.tokenized, strict=False)
            if list(one) != list(other)
        ),
        template=ours.chat != theirs.chat,
        greedy=first_difference(ours.generated, theirs.generated),
        loops=loops(ours.generated) and not loops(theirs.generated),
    )


def _second_sight(
    pair: OutputPair, sides: Sides, gate: OutputGate, asked: _Asked, theirs: Seen, copies: Path
) -> OutputPair:
    """Measure how far they are apart where they are not the same, and how far they may be."""
    own = f"{sides[1].model.quantization} weights"
    if gate.max_kl is not None:
        return replace(pair, contrasts=(Contrast(own, asked.apart("candidate")),))
    contrasts = [_contrast(own, sides[1], asked, theirs)]
    try:
        for weights, plain in _plainer(sides, copies):
            if outside(contrasts[-1]):
                break  # enough is known
            seen = [
                look(side, asked.course, asked.folder / file)
                for side, file in zip(plain, _FILES, strict=True)
            ]
            contrasts.append(_contrast(weights, plain[1], asked, seen[1]))
    except _NoF32Error as error:
        return replace(pair, contrasts=tuple(contrasts), no_f32=str(error))
    return replace(pair, contrasts=tuple(contrasts))


def _plainer(sides: Sides, copies: Path) -> Iterator[tuple[str, Sides]]:
    """Return both sides with ever fewer things that round: exact weights, then exact attention as well."""
    candidate, reference = (_with_f32(each, sides[1], copies) for each in sides)
    if sides[1].model.quantization != F32:
        yield "F32 weights", (candidate, reference)
    if reference.model != sides[1].model or _pinned(reference) != reference:
        yield "F32 weights without flash attention", (_pinned(candidate), _pinned(reference))


def _pinned(side: Side) -> Side:
    options = replace(side.subject.load_options, flash_attn="off", type_k="f16", type_v="f16")
    return side._replace(subject=replace(side.subject, load_options=options))


def _contrast(weights: str, reference: Side, asked: _Asked, seen: Seen) -> Contrast:
    """Compare the candidate's file with the reference's, and the reference's variants as well."""
    found = asked.apart("candidate")
    variants = []
    for name, options in benign(reference, seen):
        side = reference._replace(subject=replace(reference.subject, load_options=options))
        try:
            look(side, asked.course, asked.folder / "variant")
        except (LoadRefusedError, RequestFailedError):
            continue  # a quantised KV cache, say, cannot do without flash attention
        variants.append(Variant(name, asked.apart("variant")))
    return Contrast(weights, found, tuple(variants))


def benign(reference: Side, seen: Seen) -> Iterator[tuple[str, LoadOptions]]:
    """Return load options that must not matter to what a model says, each with its name.

    Threads are not among them, and neither are prompts taken in token by token: where measured (see
    docs/output.md), the former changed no bit, and the latter less than a small ubatch does.
    """
    options = reference.subject.load_options
    if options.flash_attn != "off":  # where it is off, that is on purpose
        flash_attn: FlashAttention = "off" if seen.resolved.get("flash_attn") == "on" else "on"
        yield f"flash_attn={flash_attn}", replace(options, flash_attn=flash_attn)
    yield "n_ubatch=32", replace(options, n_ubatch=32)
    # Without flash attention, an ubatch of another size may change no bit. Rounding the cache always does.
    cache: CacheType = "f16" if options.type_k == "f32" else "f32"
    yield f"type_k=type_v={cache}", replace(options, type_k=cache, type_v=cache)
    if reference.model.quantization not in _FLOATS:
        repacked = not options.use_extra_bufts
        yield f"use_extra_bufts={repacked}", replace(options, use_extra_bufts=repacked)


class _NoF32Error(Exception):
    """There is no copy with weights of 32 bits, and why."""


def _with_f32(side: Side, reference: Side, copies: Path) -> Side:
    """Return the side with a copy of its model whose weights are 32-bit floats, made by the reference."""
    model = side.model
    if model.quantization == F32:
        return side
    if 4 * model.parameters > F32_BYTES_MOST:
        raise _NoF32Error(f"one of {model.parameters / 1e6:.0f} M parameters is too large to be made")
    path = copies / f"{model.sha256}.f32.gguf"
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(reference.engine.start_talking(reference.subject, model)) as started:
                started.write_f32(path)
    except (RequestFailedError, OSError) as error:
        raise _NoF32Error(str(error)) from None
    copied = replace(model, path=str(path), quantization=F32, file_bytes=path.stat().st_size)
    return side._replace(model=copied)
