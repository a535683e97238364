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
    NoF32Error,
    measure_variants,
    with_less_rounding,
)
from pytest_llm.records import Contrast, LogprobSample, Variant
from pytest_llm.stats.divergence import read_logits
from pytest_llm.stats.logprob_samples import RESOLUTION, rows_of, sample, sample_divergence
from pytest_llm.stats.tolerance import outside

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.checks.output.capture import Capture, CaptureSession
    from pytest_llm.records import Divergence, OutputGate, OutputSnapshot
    from pytest_llm.records.side import Side


def add_samples(
    session: CaptureSession,
    side: Side,
    captured: Capture,
    gate: OutputGate,
    copies: Path,
    stored: OutputSnapshot | None,
) -> OutputSnapshot:
    """Return the snapshot of a capture with its samples.

    Args:
        session: Captures what else is needed.
        side: The subject.
        captured: Its finite output.
        gate: What is asked.
        copies: The folder of copies with F32 weights.
        stored: The snapshot to compare with; None to record one, with its variants.
    """
    found: list[LogprobSample] = []
    seen, no_f32 = captured, ""
    before = stored.samples if stored is not None and _comparable(stored, captured.snapshot) else ()
    session = session._replace(plan=session.plan.again())
    try:
        for weights, (plain,) in with_less_rounding((side,), copies):
            if found:
                if weights == F32_WEIGHTS:
                    continue
                session = session._replace(plan=session.plan.unfilled())
                seen = session.capture(plain, "exact", f"candidate with {weights}")
                if seen.snapshot.not_finite:
                    return replace(captured.snapshot, not_finite=seen.snapshot.not_finite)
            old = next((each for each in before if each.weights == weights), None)
            now = _sample(session, seen, weights, gate.top_k, old)
            if stored is None and gate.max_kl is None:
                now = replace(now, variants=_variants(session, plain, seen, now, gate.top_k))
            found.append(now)
            needed = stored is None or any(each.weights == EXACT for each in before)
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


def _sample(
    session: CaptureSession, captured: Capture, weights: str, top_k: int, stored: LogprobSample | None
) -> LogprobSample:
    positions = session.plan.positions()
    logits, rows = read_logits(captured.logits, positions), rows_of(positions, session.plan.ends())
    return LogprobSample(weights, sample(logits, rows, top_k, stored.lines if stored else ()))


def _variants(
    session: CaptureSession, side: Side, captured: Capture, recorded: LogprobSample, top_k: int
) -> tuple[Variant, ...]:
    def compare(variant: Capture) -> Divergence:
        return sample_divergence(recorded, _sample(session, variant, recorded.weights, top_k, recorded))

    found = measure_variants(session, side, captured, f"candidate with {recorded.weights}", compare)
    return tuple(
        Variant(each.name, _digits(each.mean_kl), _digits(each.tail_kl), _digits(each.lead_change))
        for each in found
    )


def _digits(value: float) -> float:
    return float(f"{value:.3g}")
