"""The verdict on an output, and its explanation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.checks.findings import OutputJudgement
from pytest_llm.checks.format import counted
from pytest_llm.records import OutputComparison, OutputGate, Verdict
from pytest_llm.stats.cosine import embedding_tolerance
from pytest_llm.stats.repetition import first_difference
from pytest_llm.stats.tolerance import tolerance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.baselines import Missing
    from pytest_llm.records import Contrast, EmbeddingDistance, OutputSnapshot, StoredSnapshot

# Characters of a template shown on each side of the first difference.
_AROUND = 20


def judge_output(
    gate: OutputGate,
    found: OutputComparison,
    snapshot: OutputSnapshot | None = None,
    stored: StoredSnapshot | None = None,
) -> OutputJudgement:
    """Judge the output of a candidate by its reference's.

    Beyond the tolerance it is wrong, and so are NaN and infinity without any reference. Other token ids and
    another rendering of the chat template are drift: upstream corrects those, too.

    Args:
        gate: What is asked.
        found: What the verdict follows from.
        snapshot: Of the candidate, if the reference is no subject.
        stored: The reference, if it is a snapshot.
    """
    verdicts = {
        Verdict.WRONG_OUTPUT: _wrong(gate, found),
        Verdict.DRIFT: _drifted(found),
        Verdict.UNRECORDED: iter((found.missing,) if found.unrecorded else ()),
        Verdict.NO_BASELINE: iter((found.missing,) if found.missing else ()),
        Verdict.INCONCLUSIVE: _inconclusive(gate, found),
    }
    for verdict, reasons in verdicts.items():
        if given := tuple(reasons):
            return OutputJudgement(verdict, gate, found, given, snapshot, stored)
    return OutputJudgement(Verdict.PASS, gate, found, (), snapshot, stored)


def without_reference(gate: OutputGate, missing: Missing) -> OutputJudgement:
    """Return the verdict on an output that is neither compared nor recorded.

    Args:
        gate: What was asked.
        missing: Why nothing is stored.
    """
    reason = f"{missing.reason}: give --llm-against, or record it with --llm-update-baselines{missing.hint}"
    return judge_output(gate, OutputComparison(0, missing=reason, unrecorded=missing.unrecorded))


def not_covered_output(gate: OutputGate, reason: str) -> OutputJudgement:
    """Return the verdict on an output that an engine cannot show."""
    return OutputJudgement(Verdict.NOT_COVERED, gate, None, (reason,))


def wrong_output(gate: OutputGate | None, reason: str) -> OutputJudgement:
    """Return the verdict on NaN or infinity that was found while a workload was timed."""
    return OutputJudgement(Verdict.WRONG_OUTPUT, gate or OutputGate(), None, (reason,))


def _wrong(gate: OutputGate, found: OutputComparison) -> Iterator[str]:
    if found.not_finite:
        yield f"NaN or infinite logits at {found.not_finite} of {counted(found.positions, 'position')}"
        return
    if found.embeddings is not None and found.embeddings.largest > _distance_limit(gate, found.embeddings):
        yield _distance(gate, found)
    for contrast in found.contrasts:
        candidate, limit = contrast.candidate, tolerance(contrast)
        if gate.max_kl is not None:
            if candidate.mean_kl > gate.max_kl:
                yield f"{_mean(gate, contrast)}{_furthest(contrast)}"
        elif limit is not None and candidate.mean_kl > limit.mean_kl:
            yield f"{_mean(gate, contrast)}{_furthest(contrast)}"
        elif limit is not None and candidate.tail_kl > limit.tail_kl:
            yield (
                f"KL divergence {candidate.tail_kl:.2g} at the furthest positions with {contrast.weights}, "
                f"tolerance {limit.tail_kl:.2g}{_furthest(contrast)}"
            )
    yield from _other_text(found)


def _other_text(found: OutputComparison) -> Iterator[str]:
    limit = tolerance(found.contrasts[0]) if found.contrasts else None
    greedy = found.greedy
    if limit is None or greedy is None or greedy.lead is None or greedy.lead <= limit.lead_change:
        return
    now = greedy.now if greedy.now is not None else "the end"
    yield (
        f"greedy text differs from token {greedy.index} on: {greedy.before}, which led by {greedy.lead:.2g} "
        f"nats, is now {now}, tolerance {limit.lead_change:.2g} nats"
    )


def _drifted(found: OutputComparison) -> Iterator[str]:
    if found.token_ids:
        yield f"other token ids for {counted(len(found.token_ids), 'text')}, first for '{found.token_ids[0]}'"
    elif found.prompts:
        yield "other token ids for the prompts"
    if found.template:
        before, now = found.template
        at = first_difference(before, now) or 0
        part = slice(max(0, at - _AROUND), at + _AROUND)
        yield f"the chat template is rendered as {now[part]!r}, not as {before[part]!r}, at character {at}"


def _inconclusive(gate: OutputGate, found: OutputComparison) -> Iterator[str]:
    again = "; replace it" if found.stored is not None else ""
    if found.reference_not_finite:
        yield (
            f"the reference's own logits are NaN or infinite at {found.reference_not_finite} of "
            f"{counted(found.positions, 'position')}{again}"
        )
    elif gate.max_kl is None and any(not each.variants for each in found.contrasts):
        yield f"no tolerance: the reference takes no benign variant; set max_kl, or name a program{again}"
    elif gate.max_kl is None and found.stored is not None and found.no_f32:
        yield f"the stored output with F32 weights cannot be compared: {found.no_f32}"


def summary(judgement: OutputJudgement) -> str:
    """Return one line with what the verdict rests on."""
    if judgement.verdict is not Verdict.PASS:
        kind = "" if judgement.verdict is Verdict.WRONG_OUTPUT else "output: "
        return f"{kind}{judgement.verdict.value}: {'; '.join(judgement.reasons)}"
    found = judgement.comparison
    assert found is not None, "a pass rests on something"
    if found.same:
        what = "text" if found.embeddings else "position"
        return f"same output, to the last bit, at {counted(found.positions, what)}"
    if found.embeddings is not None:
        return f"output within tolerance: {_distance(judgement.gate, found)}"
    parts = [
        f"{_mean(judgement.gate, each)} ({counted(each.candidate.positions, 'position')})"
        for each in found.contrasts
    ]
    return f"output within tolerance: {'; '.join([*parts, *_hints(found)])}"


def context(judgement: OutputJudgement) -> list[str]:
    """Return what the output was compared with, and what points to an error without proving one."""
    found = judgement.comparison
    if found is None or found.missing:
        return []
    lines = [f"reference {found.reference}"]
    if source := found.stored:
        commit = f" (llama.cpp {source.llama_cpp_commit})" if source.llama_cpp_commit else ""
        lines = [f"reference {source.build}{commit}, recorded {source.recorded[:10]}"]
    if found.compiled_with:
        lines.append(f"the reference was compiled with {found.compiled_with}")
    for each in found.contrasts:
        lines.append(
            f"{each.weights}: {counted(each.candidate.flips, 'other likeliest token')}, log-probabilities of "
            f"the likeliest tokens off by up to {each.candidate.top_change:.2g} (p99)"
        )
    if found.no_f32:
        lines.append(f"no copy with F32 weights was compared: {found.no_f32}")
    return [*lines, *_hints(found)]


def _distance_limit(gate: OutputGate, found: EmbeddingDistance) -> float:
    return embedding_tolerance(found.variants) if gate.max_distance is None else gate.max_distance


def _distance(gate: OutputGate, found: OutputComparison) -> str:
    assert found.embeddings is not None
    limit = _distance_limit(gate, found.embeddings)
    up_to = f"tolerance {limit:.2g}" if gate.max_distance is None else f"max_distance={limit:.2g}"
    return (
        f"cosine distance of embeddings {found.embeddings.largest:.2g}, {up_to} "
        f"({counted(found.positions, 'text')}, furthest is text {found.embeddings.furthest})"
    )


def _mean(gate: OutputGate, contrast: Contrast) -> str:
    limit = tolerance(contrast)
    if gate.max_kl is not None:
        up_to = f", max_kl={gate.max_kl:.2g}"
    else:
        up_to = f", tolerance {limit.mean_kl:.2g}" if limit is not None else ""
    return f"mean KL divergence {contrast.candidate.mean_kl:.2g} with {contrast.weights}{up_to}"


def _furthest(contrast: Contrast) -> str:
    found, positions = contrast.candidate.furthest, counted(contrast.candidate.positions, "position")
    change = f"token {found.token} {_nats(found.before)} → {_nats(found.now)} nats"
    return f" ({positions}, furthest at {found.position}: {change})"


def _nats(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _hints(found: OutputComparison) -> list[str]:
    hints = ["it ends up repeating itself, which the reference does not"] if found.loops else []
    if found.greedy is not None:
        hints.append(f"greedy text differs from token {found.greedy.index} on")
    return hints
