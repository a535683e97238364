"""What a candidate says alone, in a form that can be stored, and as far as what is stored asks for it.

What may differ from machine to machine is measured where it is recorded: the subject itself under options
that must not matter. A quantised model makes that wide, so the same is asked of a copy with 32-bit floats for
weights and without flash attention, the step of a comparison in which the least rounds.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.checks.output.benign_variants import NoF32Error, benign, pinned, with_f32
from pytest_llm.checks.output.capture import look, plan_prompts
from pytest_llm.checks.output.texts import CHAT, PROMPT, TORTURE, name_of
from pytest_llm.errors import LoadRefusedError, RequestFailedError
from pytest_llm.records import LogprobSample, OutputSnapshot, Run
from pytest_llm.stats.divergence import not_finite, read_logits
from pytest_llm.stats.logprob_samples import outside, rounding, rows_of, sample
from pytest_llm.stats.repetition import loops

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.checks.output.capture import Capture
    from pytest_llm.checks.output.prompts import PromptPlan
    from pytest_llm.records import JSON, OutputGate, Rounding, Workload
    from pytest_llm.records.side import Side

# Of how it is asked and written down; another one cannot be compared.
_FORM = 1
_LEAD_DIGITS = 3


class SnapshotRun(NamedTuple):
    """What was said, and the candidate's side of it as a run without sessions."""

    snapshot: OutputSnapshot
    run: Run


def say(
    side: Side,
    gate: OutputGate,
    workload: Workload,
    copies: Path,
    stored: OutputSnapshot | None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> SnapshotRun:
    """Have a subject say what can be stored, or compared with what is.

    Args:
        side: The subject.
        gate: What is asked.
        workload: How many sequences there will be beside each other.
        copies: The folder where copies of models with weights of 32 bits are kept; need not exist.
        stored: What it will be compared with; None to measure as well how far it may be from itself.
        on_progress: Is told what is looked at, before each look.

    Raises:
        EngineError: The engine does not start, refuses its subject, or refuses to talk.
    """
    plan = plan_prompts(side, gate, workload)
    asked = _digest(
        [_FORM, gate.prompts or [PROMPT], [each.hex() for each in TORTURE], CHAT, workload.parallel]
    )
    prompts = _digest([[each.sequences, each.before] for each in plan.passages])
    comparable = stored is not None and (stored.corpus, stored.prompts) == (asked, prompts)
    with tempfile.TemporaryDirectory(prefix="pytest-llm-") as folder:
        saying = _Saying(Path(folder), gate, stored if comparable else None, stored is None, on_progress)
        on_progress("output")
        seen = look(side, plan, saying.folder / "own")
        broken = not_finite(read_logits(seen.logits, plan.positions()))
        samples: list[LogprobSample] = []
        no_f32 = ""
        if not broken:
            own = f"{side.model.quantization} weights"
            samples.append(saying.sampled(side, plan.again(), own, seen))
            try:
                samples += saying.plainer(side, plan.again().unfilled(), copies, samples[0])
            except NoF32Error as error:
                no_f32 = str(error)
    said = OutputSnapshot(
        corpus=asked,
        compiled_with=seen.build.compiled_with,
        positions=plan.positions(),
        not_finite=broken,
        prompts=prompts,
        token_ids=dict(zip(map(name_of, TORTURE), map(_digest, seen.tokenized), strict=False)),
        template=seen.chat,
        greedy=tuple(seen.generated),
        leads=() if broken else tuple(round(each, _LEAD_DIGITS) for each in seen.leads),
        loops=loops(seen.generated),
        samples=tuple(samples),
        no_f32=no_f32,
        not_covered=plan.not_covered(),
    )
    return SnapshotRun(
        said, Run(side.subject, workload, side.model, seen.build, seen.effective_options, (), {})
    )


class _Saying(NamedTuple):
    """Where logits go, and what is done with them."""

    folder: Path
    gate: OutputGate
    stored: OutputSnapshot | None
    record: bool
    on_progress: Callable[[str], None]

    def plainer(self, side: Side, plan: PromptPlan, copies: Path, own: LogprobSample) -> list[LogprobSample]:
        """Return the sample with exact weights and attention, unless it is not asked for any more."""
        plain = "F32 weights without flash attention"
        if self.gate.max_kl is not None or not (self.record or self._stored(plain)):
            return []
        before = self._stored(own.weights)
        if before is not None and outside(before, own):
            return []  # enough is known
        exact = pinned(with_f32(side, side, copies))
        if exact == side:
            return []
        self.on_progress(f"output with {plain}")
        seen = look(exact, plan, self.folder / "exact")
        return [self.sampled(exact, plan, plain, seen)]

    def sampled(self, side: Side, plan: PromptPlan, weights: str, seen: Capture) -> LogprobSample:
        """Sample what was seen and, where it is recorded, how far it is from itself."""
        stored = self._stored(weights)
        found = self._sample(plan, weights, seen.logits, stored)
        if not self.record or self.gate.max_kl is not None:
            return found
        return replace(found, rounding=tuple(self._rounding(side, plan, found, seen)))

    def _stored(self, weights: str) -> LogprobSample | None:
        samples = self.stored.samples if self.stored is not None else ()
        return next((each for each in samples if each.weights == weights), None)

    def _sample(
        self, plan: PromptPlan, weights: str, path: Path, stored: LogprobSample | None
    ) -> LogprobSample:
        positions = plan.positions()
        logits, rows = read_logits(path, positions), rows_of(positions, plan.ends())
        return LogprobSample(weights, sample(logits, rows, self.gate.top_k, stored.likely if stored else ()))

    def _rounding(self, side: Side, plan: PromptPlan, found: LogprobSample, seen: Capture) -> list[Rounding]:
        reached = []
        for name, options in benign(side, seen):
            variant = side._replace(subject=replace(side.subject, load_options=options))
            self.on_progress(f"output with {found.weights}, {name}")
            try:
                other = look(variant, plan, self.folder / "variant")
            except (LoadRefusedError, RequestFailedError):
                continue  # a quantised KV cache, say, cannot do without flash attention
            if not not_finite(read_logits(other.logits, plan.positions())):
                reached.append(rounding(name, found, self._sample(plan, found.weights, other.logits, found)))
        return reached


def _digest(value: JSON | object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
