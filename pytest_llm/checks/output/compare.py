"""What a candidate says beside a reference, before anything is timed.

Both decode the same token ids, and what they hold likely at each position is compared: to the last bit first.
Where it differs, the measure of what may differ is the reference itself under options that must not matter. A
quantised model makes that measure wide, since activations rounded to a few bits make much of every small
change; so the same is asked of a copy of the model whose weights are 32-bit floats.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.checks.output.benign_variants import F32, NoF32Error, benign, pinned, with_f32
from pytest_llm.checks.output.capture import look, plan_prompts
from pytest_llm.checks.output.texts import TORTURE, name_of
from pytest_llm.errors import LoadRefusedError, RequestFailedError
from pytest_llm.records import Contrast, OutputComparison, Run, Variant
from pytest_llm.stats.divergence import divergence, not_finite, read_logits, same_bits
from pytest_llm.stats.repetition import first_difference, loops
from pytest_llm.stats.tolerance import outside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_llm.checks.output.capture import Capture
    from pytest_llm.checks.output.prompts import PromptPlan
    from pytest_llm.records import Divergence, OutputGate, Workload
    from pytest_llm.records.side import Side

    Sides = tuple[Side, Side]

_FILES = ("candidate", "reference")


class OutputRun(NamedTuple):
    """What was found, and the candidate's side of it as a run without sessions."""

    comparison: OutputComparison
    run: Run


def compare_outputs(
    candidate: Side,
    reference: Side,
    gate: OutputGate,
    workload: Workload,
    copies: Path,
    on_progress: Callable[[str], None] = lambda _: None,
) -> OutputRun:
    """Compare what two subjects say.

    Args:
        candidate: The subject that is judged.
        reference: The subject it is compared with.
        gate: What is asked.
        workload: How many sequences there will be beside each other.
        copies: The folder where copies of models with weights of 32 bits are kept; need not exist.
        on_progress: Is told what is looked at, before each look.

    Raises:
        EngineError: An engine does not start, refuses its subject, or refuses to talk.
    """
    plan = plan_prompts(reference, gate, workload)
    with tempfile.TemporaryDirectory(prefix="pytest-llm-") as folder:
        asked = _Asked(plan, gate.top_k, Path(folder), on_progress)
        ours, theirs = asked.of_both((candidate, reference), "")
        pair = _first_sight(ours, theirs, asked)
        asked = asked._replace(plan=plan.again())  # once is enough
        if not (pair.same or pair.not_finite or pair.reference_not_finite):
            pair = _second_sight(pair, (candidate, reference), gate, asked, theirs, copies)
    run = Run(candidate.subject, workload, candidate.model, ours.build, ours.effective_options, (), {})
    return OutputRun(pair, run)


class _Asked(NamedTuple):
    """What every subject is asked, and where their logits are."""

    plan: PromptPlan
    top_k: int
    folder: Path
    on_progress: Callable[[str], None]

    def of_both(self, sides: Sides, weights: str) -> tuple[Capture, Capture]:
        with_weights = f" with {weights}" if weights else ""
        seen = []
        for side, file in zip(sides, _FILES, strict=True):
            self.on_progress(f"output of the {file}{with_weights}")
            seen.append(look(side, self.plan, self.folder / file))
        return seen[0], seen[1]

    def apart(self, other: str) -> Divergence:
        """Return how far the logits of a file are from the reference's."""
        positions = self.plan.positions()
        theirs, others = (read_logits(self.folder / each, positions) for each in ("reference", other))
        return divergence(theirs, others, self.plan.following(), self.top_k)


def _first_sight(ours: Capture, theirs: Capture, asked: _Asked) -> OutputComparison:
    positions = asked.plan.positions()
    mine, its = (read_logits(each.logits, positions) for each in (ours, theirs))
    return OutputComparison(
        ours.build,
        theirs.build,
        positions,
        same=same_bits(mine, its),
        not_finite=not_finite(mine),
        reference_not_finite=not_finite(its),
        token_ids=tuple(
            name_of(text)
            for text, one, other in zip(TORTURE, ours.tokenized, theirs.tokenized, strict=False)
            if list(one) != list(other)
        ),
        template=ours.chat != theirs.chat,
        greedy=first_difference(ours.generated, theirs.generated),
        loops=loops(ours.generated) and not loops(theirs.generated),
        not_covered=asked.plan.not_covered(),
    )


def _second_sight(
    pair: OutputComparison, sides: Sides, gate: OutputGate, asked: _Asked, theirs: Capture, copies: Path
) -> OutputComparison:
    """Measure how far they are apart where they are not the same, and how far they may be."""
    own = f"{sides[1].model.quantization} weights"
    if gate.max_kl is not None:
        return replace(pair, contrasts=(Contrast(own, asked.apart("candidate")),))
    contrasts = [_contrast(own, sides[1], asked, theirs)]
    try:
        asked = asked._replace(plan=asked.plan.unfilled())
        for weights, plain in _plainer(sides, copies):
            if outside(contrasts[-1]):
                break  # enough is known
            _, seen = asked.of_both(plain, weights)
            contrasts.append(_contrast(weights, plain[1], asked, seen))
    except NoF32Error as error:
        return replace(pair, contrasts=tuple(contrasts), no_f32=str(error))
    return replace(pair, contrasts=tuple(contrasts))


def _plainer(sides: Sides, copies: Path) -> Iterator[tuple[str, Sides]]:
    """Return both sides with ever fewer things that round: exact weights, then exact attention as well."""
    candidate, reference = (with_f32(each, sides[1], copies) for each in sides)
    if sides[1].model.quantization != F32:
        yield "F32 weights", (candidate, reference)
    if reference.model != sides[1].model or pinned(reference) != reference:
        yield "F32 weights without flash attention", (pinned(candidate), pinned(reference))


def _contrast(weights: str, reference: Side, asked: _Asked, seen: Capture) -> Contrast:
    """Compare the candidate's file with the reference's, and the reference's variants as well."""
    found = asked.apart("candidate")
    variants = []
    for name, options in benign(reference, seen):
        side = reference._replace(subject=replace(reference.subject, load_options=options))
        asked.on_progress(f"output of the reference with {weights}, {name}")
        try:
            look(side, asked.plan, asked.folder / "variant")
        except (LoadRefusedError, RequestFailedError):
            continue  # a quantised KV cache, say, cannot do without flash attention
        variants.append(Variant(name, asked.apart("variant")))
    return Contrast(weights, found, tuple(variants))
