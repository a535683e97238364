"""Snapshots: captures made small enough to be stored.

How far a snapshot may differ from machine to machine is measured when it is recorded: the subject with benign
options. A quantised model makes that wide, so a copy with F32 weights and without flash attention is sampled
as well, the step of a comparison in which the least rounds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llm.checks.output.benign_variants import (
    EXACT,
    F32_WEIGHTS,
    Step,
    measure_variants,
    steps,
)
from pytest_llm.checks.output.f32_copies import NoF32Error
from pytest_llm.records import Contrast, LogprobSample, Variant
from pytest_llm.stats.divergence import read_logits
from pytest_llm.stats.logprob_samples import RESOLUTION, rows_of, sample, sample_divergence
from pytest_llm.stats.tolerance import outside

if TYPE_CHECKING:
    from pytest_llm.checks.output.capture import Capture, CaptureSession
    from pytest_llm.checks.output.f32_copies import F32Copies
    from pytest_llm.records import Divergence, OutputGate, OutputSnapshot
    from pytest_llm.records.side import Side


def add_samples(
    session: CaptureSession,
    side: Side,
    captured: Capture,
    gate: OutputGate,
    copies: F32Copies,
    stored: OutputSnapshot | None,
) -> OutputSnapshot:
    """Return the snapshot of a capture with its samples.

    Args:
        session: Captures what else is needed.
        side: The subject.
        captured: Its finite output.
        gate: What is asked.
        copies: With F32 weights.
        stored: The snapshot to compare with; None to record one, with its variants.
    """
    found: list[LogprobSample] = []
    no_f32 = ""
    before = stored.samples if stored is not None and _comparable(stored, captured.snapshot) else ()
    needed = stored is None or any(each.weights == EXACT for each in before)
    try:
        for step in steps(session, (side,), (captured,), copies, skip={F32_WEIGHTS}):
            if broken := step.captures[0].snapshot.not_finite:
                return replace(captured.snapshot, not_finite=broken)
            old = next((each for each in before if each.weights == step.weights), None)
            now = _sample(step, step.captures[0], gate.top_k, old)
            if stored is None and gate.max_kl is None:
                now = replace(now, variants=_variants(step, now, gate.top_k))
            found.append(now)
            if gate.max_kl is not None or not needed or (old is not None and outside(contrast(old, now))):
                break
    except NoF32Error as error:
        no_f32 = str(error)
    return replace(captured.snapshot, samples=tuple(found), no_f32=no_f32)


def contrast(stored: LogprobSample, now: LogprobSample) -> Contrast:
    """Compare two samples of the same positions."""
    return Contrast(stored.weights, sample_divergence(stored, now), stored.variants, RESOLUTION)


def _comparable(stored: OutputSnapshot, now: OutputSnapshot) -> bool:
    return (stored.corpus, stored.prompts) == (now.corpus, now.prompts)


def _sample(step: Step, captured: Capture, top_k: int, stored: LogprobSample | None) -> LogprobSample:
    plan = step.session.plan
    logits, rows = read_logits(captured.logits, plan.positions()), rows_of(plan.positions(), plan.ends())
    return LogprobSample(step.weights, sample(logits, rows, top_k, stored.lines if stored else ()))


def _variants(step: Step, recorded: LogprobSample, top_k: int) -> tuple[Variant, ...]:
    def compare(variant: Capture) -> Divergence:
        return sample_divergence(recorded, _sample(step, variant, top_k, recorded))

    found = measure_variants(step, compare)
    return tuple(
        Variant(each.name, _digits(each.mean_kl), _digits(each.tail_kl), _digits(each.lead_change))
        for each in found
    )


def _digits(value: float) -> float:
    return float(f"{value:.3g}")
