"""Outputs of variants: how far each is from the first one's, in nats."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.checks.output.capture import CaptureSession
from pytest_llm.checks.output.prompts import plan_prompts
from pytest_llm.records import OutputGate, Workload
from pytest_llm.stats.divergence import read_logits, same_bits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_llm.records.side import Side

_GATE = OutputGate()


def compare_outputs_of(sides: Sequence[Side], on_progress: Callable[[str], None]) -> list[str]:
    """Return what is told of each output; "" of the first one's.

    All decode the token ids of the first one, in an empty cache.

    Raises:
        EngineError: An engine does not start, or refuses.
    """
    plan = plan_prompts((*sides[1:], sides[0]), _GATE, Workload()).unfilled()
    with tempfile.TemporaryDirectory(prefix="pytest-llm-") as folder:
        session = CaptureSession(plan, Path(folder), on_progress)
        first, *others = (
            session.capture(each, f"variant-{number}", f"variant {number}")
            for number, each in enumerate(sides, start=1)
        )
        found = [""]
        for each in others:
            if first.snapshot.not_finite or each.snapshot.not_finite:
                found.append("NaN or infinite")
                continue
            logits = [read_logits(one.logits, plan.positions()) for one in (first, each)]
            if logits[0].shape != logits[1].shape:
                found.append("of another vocabulary")
            elif same_bits(*logits):
                found.append("the same to the last bit")
            else:
                apart = session.divergence(first, each, _GATE.top_k)
                found.append(f"KL {apart.mean_kl:.2g}, {apart.flips} of {apart.positions} other tokens")
        return found
