"""What a candidate says against what its reference says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.checks.findings import OutputJudgement
from pytest_llm.checks.format import counted
from pytest_llm.checks.output import snapshot_verdict
from pytest_llm.records import Verdict
from pytest_llm.stats.tolerance import allowed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.records import Contrast, Divergence, OutputComparison, OutputGate


def judge_output(gate: OutputGate, found: OutputComparison) -> OutputJudgement:
    """Judge what a candidate says by what its reference says.

    Outside what the reference's own variants reach, it is wrong; inside, it may differ. Other token ids and
    another rendering of the chat template are drift: upstream mends those, too.
    """
    wrong = tuple(_wrong(gate, found))
    if wrong:
        return OutputJudgement(Verdict.WRONG_OUTPUT, gate, found, wrong)
    drifted = tuple(_drifted(found))
    if drifted:
        return OutputJudgement(Verdict.DRIFT, gate, found, drifted)
    unsaid = tuple(_unsaid(gate, found))
    return OutputJudgement(Verdict.INCONCLUSIVE if unsaid else Verdict.PASS, gate, found, unsaid)


def without_reference(gate: OutputGate, missing: str) -> OutputJudgement:
    """Say that there was nothing to compare with, and why nothing is stored."""
    reason = f"{missing}: give --llm-against, or record it with --llm-update-baselines"
    return OutputJudgement(Verdict.NO_BASELINE, gate, None, (reason,))


def not_covered_output(gate: OutputGate, reason: str) -> OutputJudgement:
    """Say that an engine does not tell what a model says, and why."""
    return OutputJudgement(Verdict.NOT_COVERED, gate, None, (reason,))


def _wrong(gate: OutputGate, found: OutputComparison) -> Iterator[str]:
    if found.not_finite:
        yield f"NaN or infinite logits at {found.not_finite} of {counted(found.positions, 'position')}"
    for contrast in found.contrasts:
        candidate = contrast.candidate
        if gate.max_kl is not None:
            if candidate.mean_kl > gate.max_kl:
                yield f"{_mean(contrast)}, where max_kl allows {gate.max_kl:.2g}{_positions(candidate)}"
            continue
        if not contrast.variants:
            continue
        mean, p99 = allowed(contrast)
        if candidate.mean_kl > mean:
            yield f"{_mean(contrast)}, {_where(mean)}{_positions(candidate)}"
        elif candidate.p99_kl > p99:
            yield (
                f"99th percentile of the KL divergence {candidate.p99_kl:.2g} with {contrast.weights}, "
                f"{_where(p99)}{_positions(candidate)}"
            )


def _drifted(found: OutputComparison) -> Iterator[str]:
    if found.token_ids:
        yield f"other token ids for {counted(len(found.token_ids), 'text')}: {', '.join(found.token_ids)}"
    if found.template:
        yield "the chat template is rendered otherwise"


def _unsaid(gate: OutputGate, found: OutputComparison) -> Iterator[str]:
    if found.reference_not_finite:
        yield (
            f"the reference's own logits are NaN or infinite at {found.reference_not_finite} of "
            f"{counted(found.positions, 'position')}"
        )
    elif gate.max_kl is None and any(not each.variants for each in found.contrasts):
        yield "the reference refuses every variant of its options, so nothing says how far it may be apart"


def headline(judgement: OutputJudgement) -> str:
    """Say in one line what the verdict rests on."""
    if judgement.verdict is not Verdict.PASS:
        kind = "" if judgement.verdict is Verdict.WRONG_OUTPUT else "output: "
        return f"{kind}{judgement.verdict.value}: {'; '.join(judgement.reasons)}"
    found = judgement.comparison
    if found is None:
        return snapshot_verdict.headline(judgement)
    if found.same:
        return f"same output, to the last bit, at {counted(found.positions, 'position')}"
    told = "; ".join(_inside(judgement.gate, each) for each in found.contrasts)
    return (
        f"output differs no more than it may: {told}{_positions(found.contrasts[0].candidate)}{_hint(found)}"
    )


def context(judgement: OutputJudgement) -> list[str]:
    """Say what it was compared with, and what points the same way without proving anything."""
    found = judgement.comparison
    if found is None:
        return snapshot_verdict.context(judgement)
    lines = [f"reference {found.reference}"]
    for each in found.contrasts:
        divergence = each.candidate
        lines.append(
            f"{each.weights}: {counted(divergence.flips, 'other likeliest token')}, log-probabilities "
            f"of the top {judgement.gate.top_k} off by up to {divergence.top_change:.2g} (p99)"
        )
    if found.no_f32:
        lines.append(f"no copy with F32 weights was compared: {found.no_f32}")
    return lines + ([_hint(found).removeprefix("; ")] if _hint(found) else [])


def _inside(gate: OutputGate, contrast: Contrast) -> str:
    limit = f"max_kl allows {gate.max_kl:.2g}" if gate.max_kl is not None else _where(allowed(contrast)[0])
    return f"{_mean(contrast)}, {limit}"


def _mean(contrast: Contrast) -> str:
    return f"mean KL divergence {contrast.candidate.mean_kl:.2g} with {contrast.weights}"


def _where(limit: float) -> str:
    return f"where up to {limit:.2g} is rounding"


def _positions(divergence: Divergence) -> str:
    return f" ({counted(divergence.positions, 'position')})"


def _hint(found: OutputComparison) -> str:
    hints = []
    if found.loops:
        hints.append("it ends up repeating itself, which the reference does not")
    if found.greedy is not None:
        hints.append(f"greedy text differs from token {found.greedy} on")
    return f"; {', '.join(hints)}" if hints else ""
