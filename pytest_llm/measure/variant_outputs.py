"""Outputs of variants: how far each is from the first one's."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.checks.output.capture import CaptureSession
from pytest_llm.checks.output.prompts import plan_prompts
from pytest_llm.errors import EngineError
from pytest_llm.records import OutputGate, VariantOutput, Workload
from pytest_llm.stats.divergence import read_logits, same_bits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_llm.checks.output.capture import Capture
    from pytest_llm.records.side import Side

_GATE = OutputGate()


def compare_outputs_of(
    sides: Sequence[Side], on_progress: Callable[[str], None]
) -> tuple[tuple[VariantOutput, ...], str]:
    """Return how far each output but the first is from the first one's; or none, and why.

    All decode the token ids of the first one, in an empty cache.
    """
    try:
        return _outputs(sides, on_progress), ""
    except EngineError as error:
        return (), f"outputs are not compared: {error}"


def _outputs(sides: Sequence[Side], on_progress: Callable[[str], None]) -> tuple[VariantOutput, ...]:
    plan = plan_prompts((*sides[1:], sides[0]), _GATE, Workload()).unfilled()
    with tempfile.TemporaryDirectory(prefix="pytest-llm-") as folder:
        session = CaptureSession(plan, Path(folder), on_progress)
        first, *others = (
            session.capture(each, f"variant-{number}", f"variant {number}")
            for number, each in enumerate(sides, start=1)
        )
        return tuple(_apart(session, first, each) for each in others)


def _apart(session: CaptureSession, first: Capture, other: Capture) -> VariantOutput:
    if first.snapshot.not_finite or other.snapshot.not_finite:
        return VariantOutput(problem="NaN or infinite")
    logits = [read_logits(each.logits, session.plan.positions()) for each in (first, other)]
    if logits[0].shape != logits[1].shape:
        return VariantOutput(problem="of another vocabulary")
    if same_bits(*logits):
        return VariantOutput()
    return VariantOutput(session.divergence(first, other, _GATE.top_k))
