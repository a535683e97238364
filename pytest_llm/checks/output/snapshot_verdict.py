"""What a candidate says against what is stored of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.checks.findings import OutputJudgement
from pytest_llm.checks.format import counted
from pytest_llm.records import Verdict
from pytest_llm.stats.logprob_samples import allowed, apart
from pytest_llm.stats.repetition import first_difference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.records import LogprobSample, OutputGate, OutputSnapshot, StoredSnapshot
    from pytest_llm.stats.logprob_samples import Apart

# So much of a template on each side of where it differs.
_AROUND = 20


def judge_snapshot(
    gate: OutputGate, said: OutputSnapshot, stored: StoredSnapshot | None, missing: str = ""
) -> OutputJudgement:
    """Judge what a candidate says by what is stored of it.

    Further from it than it is from itself is wrong, and so is NaN whatever is stored; other token ids and
    another rendering of the chat template are drift.

    Args:
        gate: What was asked.
        said: What it says.
        stored: What is stored; None if nothing is.
        missing: Why nothing is stored.
    """
    before = stored.snapshot if stored is not None and stored.snapshot.corpus == said.corpus else None
    if stored is not None and before is None:
        missing = "what is stored was said on other texts; replace it"
    wrong = list(_wrong(gate, said, before))
    drifted = list(_drifted(said, before)) if before is not None else []
    unsaid = list(_unsaid(gate, said, before)) if before is not None else [missing]
    for verdict, reasons in (
        (Verdict.WRONG_OUTPUT, wrong),
        (Verdict.DRIFT, drifted),
        (Verdict.INCONCLUSIVE if before is not None else Verdict.NO_BASELINE, unsaid),
    ):
        if reasons:
            return OutputJudgement(verdict, gate, None, tuple(reasons), said, stored)
    return OutputJudgement(Verdict.PASS, gate, None, (), said, stored)


def _wrong(gate: OutputGate, said: OutputSnapshot, before: OutputSnapshot | None) -> Iterator[str]:
    if said.not_finite:
        yield f"NaN or infinite logits at {said.not_finite} of {counted(said.positions, 'position')}"
    if before is None or said.not_finite or said.prompts != before.prompts:
        return
    for then, now in _common(before, said):
        yield from _too_far(gate, then, now)
    yield from _other_text(before, said)


def _too_far(gate: OutputGate, then: LogprobSample, now: LogprobSample) -> Iterator[str]:
    found, limit = apart(then, now), allowed(then)
    if gate.max_kl is not None:
        if found.mean_kl > gate.max_kl:
            yield f"{_mean(found, then)}, where max_kl allows {gate.max_kl:.2g}{_furthest(found)}"
    elif limit is None:
        return
    elif found.mean_kl > limit.mean_kl:
        yield f"{_mean(found, then)}, where up to {limit.mean_kl:.2g} is rounding{_furthest(found)}"
    elif found.max_kl > limit.max_kl:
        yield (
            f"KL divergence {found.max_kl:.2g} from what is stored with {then.weights} at one position, "
            f"where up to {limit.max_kl:.2g} is rounding{_furthest(found)}"
        )


def _other_text(before: OutputSnapshot, said: OutputSnapshot) -> Iterator[str]:
    index = first_difference(before.greedy, said.greedy)
    lead = _lead(before)
    if index is None or lead is None or index >= len(before.leads) or before.leads[index] <= lead:
        return
    now = said.greedy[index] if index < len(said.greedy) else "the end"
    yield (
        f"greedy text differs from token {index} on: {before.greedy[index]}, which led by "
        f"{before.leads[index]:.2g} nats, is now {now}, where a lead of up to {lead:.2g} is rounding"
    )


def _lead(before: OutputSnapshot) -> float | None:
    limit = allowed(before.samples[0]) if before.samples else None
    return limit.lead if limit else None


def _drifted(said: OutputSnapshot, before: OutputSnapshot) -> Iterator[str]:
    then, now = before.token_ids, said.token_ids  # stored ones are sorted, and not by how plain they are
    others = [text for text in {**now, **then} if now.get(text) != then.get(text)]
    if others:
        yield f"other token ids for {counted(len(others), 'text')}, the first of which is '{others[0]}'"
    elif said.prompts != before.prompts:
        yield "other token ids for the prompts"
    if said.template != before.template:
        yield f"the chat template is rendered otherwise: {_context(before.template, said.template)}"


def _context(before: str, now: str) -> str:
    """Show two texts where they first differ."""
    at = first_difference([*map(ord, before)], [*map(ord, now)]) or 0
    part = slice(max(0, at - _AROUND), at + _AROUND)
    return f"{before[part]!r} → {now[part]!r}, at character {at}"


def _unsaid(gate: OutputGate, said: OutputSnapshot, before: OutputSnapshot) -> Iterator[str]:
    if before.not_finite:
        yield "what is stored has NaN or infinite logits itself; replace it"
    elif gate.max_kl is None and any(not each.rounding for each in before.samples):
        yield "nothing says how far it may be from what is stored: every variant was refused; replace it"
    elif gate.max_kl is None and said.no_f32 and len(before.samples) > len(said.samples):
        yield f"what is stored with F32 weights cannot be compared: {said.no_f32}"


def _common(before: OutputSnapshot, said: OutputSnapshot) -> Iterator[tuple[LogprobSample, LogprobSample]]:
    now = {each.weights: each for each in said.samples}
    return ((each, now[each.weights]) for each in before.samples if each.weights in now)


def headline(judgement: OutputJudgement) -> str:
    """Say of a pass in one line what it rests on."""
    said, stored = judgement.snapshot, judgement.stored
    assert said is not None
    assert stored is not None, "a pass rests on something"
    told = "; ".join(_inside(judgement.gate, *each) for each in _common(stored.snapshot, said))
    hints = _hints(stored.snapshot, said)
    return f"output as stored: {told}{'; ' if hints else ''}{', '.join(hints)}"


def _inside(gate: OutputGate, then: LogprobSample, now: LogprobSample) -> str:
    limit = allowed(then)
    up_to = (
        f"max_kl allows {gate.max_kl:.2g}"
        if gate.max_kl is not None or limit is None
        else f"where up to {limit.mean_kl:.2g} is rounding"
    )
    found = apart(then, now)
    return f"{_mean(found, then)}, {up_to} ({counted(len(then.likely), 'position')})"


def _hints(before: OutputSnapshot, said: OutputSnapshot) -> list[str]:
    hints = []
    if said.loops and not before.loops:
        hints.append("it ends up repeating itself, which what is stored does not")
    index = first_difference(before.greedy, said.greedy)
    if index is not None and said.prompts == before.prompts:
        hints.append(f"greedy text differs from token {index} on")
    return hints


def context(judgement: OutputJudgement) -> list[str]:
    """Say what it was compared with, and what points the same way without proving anything."""
    said, stored = judgement.snapshot, judgement.stored
    if said is None or stored is None:
        return []
    source, before = stored.provenance, stored.snapshot
    commit = f" (llama.cpp {source.llama_cpp_commit})" if source.llama_cpp_commit else ""
    lines = [f"output of {source.build}{commit}, recorded {source.recorded[:10]}"]
    if said.compiled_with != before.compiled_with:
        lines.append(f"that build was compiled with {before.compiled_with}")
    hints = _hints(before, said)
    return [*lines, *([", ".join(hints)] if hints else [])]


def _mean(found: Apart, then: LogprobSample) -> str:
    return f"mean KL divergence {found.mean_kl:.2g} from what is stored with {then.weights}"


def _furthest(found: Apart) -> str:
    change = f"token {found.token} {_nats(found.before)} → {_nats(found.now)} nats"
    return f" (furthest at position {found.row}: {change})"


def _nats(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")
