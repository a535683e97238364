"""Compare the output of a candidate with a reference's, before anything is timed.

The candidate decodes the reference's token ids, and what both hold likely at each position is compared: first
to the last bit. If it differs, the tolerance is how far the reference itself moves under benign options. A
quantised model makes that wide, since activations rounded to a few bits amplify every small change; so copies
of the model that round less are compared as well. A stored snapshot is a reference with fewer positions, and
with its tolerance.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.checks.output.benign_variants import Step, measure_variants, steps
from pytest_llm.checks.output.capture import CaptureSession
from pytest_llm.checks.output.embeddings import capture_embeddings, embedding_variants, stored_vectors
from pytest_llm.checks.output.f32_copies import NoF32Error
from pytest_llm.checks.output.prompts import plan_prompts
from pytest_llm.checks.output.snapshot import add_samples, contrast
from pytest_llm.records import Contrast, GreedyDifference, OutputComparison, StoredSnapshot
from pytest_llm.records.side import Side
from pytest_llm.stats.cosine import embedding_distance
from pytest_llm.stats.divergence import read_logits, same_bits
from pytest_llm.stats.repetition import first_difference
from pytest_llm.stats.tolerance import outside

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_llm.checks.output.capture import Capture
    from pytest_llm.checks.output.embeddings import EmbeddingCapture
    from pytest_llm.checks.output.f32_copies import F32Copies
    from pytest_llm.records import (
        Divergence,
        EmbeddingVariant,
        OutputGate,
        OutputSnapshot,
        Run,
        Workload,
    )

_OTHER_CORPUS = "the stored output is of other texts; replace it"


class OutputRun(NamedTuple):
    """How an output compares with its reference's.

    Attributes:
        comparison: With the reference.
        run: The candidate's, without sessions.
        snapshot: Of the candidate, if the reference is no subject.
    """

    comparison: OutputComparison
    run: Run
    snapshot: OutputSnapshot | None = None


def compare_outputs(
    candidate: Side,
    reference: Side | StoredSnapshot | None,
    gate: OutputGate,
    workload: Workload,
    copies: F32Copies,
    on_progress: Callable[[str], None] = lambda _: None,
) -> OutputRun:
    """Compare the output of a subject with a reference's.

    Args:
        candidate: The subject that is judged.
        reference: The subject or the snapshot to compare with; None to record a snapshot.
        gate: What is asked.
        workload: How many parallel sequences there will be.
        copies: Of models, with F32 weights.
        on_progress: Called with what is captured, before each capture.

    Raises:
        EngineError: An engine does not start, or refuses its subject or a request.
    """
    if workload.embed:
        return _compare_embeddings(candidate, reference, gate, workload, on_progress)
    sides = (candidate, reference) if isinstance(reference, Side) else (candidate,)
    plan = plan_prompts(sides, gate, workload)
    with tempfile.TemporaryDirectory(prefix="pytest-llm-") as folder:
        session = CaptureSession(plan, Path(folder), on_progress)
        captured = session.capture(candidate, "candidate", "candidate")
        run = captured.run(candidate, workload)
        if isinstance(reference, Side):
            return OutputRun(_compare_captures(session, candidate, captured, reference, gate, copies), run)
        snapshot = captured.snapshot
        if not snapshot.not_finite:
            stored = None if reference is None else reference.snapshot
            snapshot = add_samples(session, candidate, captured, gate, copies, stored)
    return OutputRun(compare_with_stored(snapshot, reference), run, snapshot)


def _compare_embeddings(
    candidate: Side,
    reference: Side | StoredSnapshot | None,
    gate: OutputGate,
    workload: Workload,
    on_progress: Callable[[str], None],
) -> OutputRun:
    if isinstance(reference, Side):
        theirs = capture_embeddings(reference, gate, None, lambda: on_progress("output of the reference"))
        ours = capture_embeddings(candidate, gate, theirs.ids, lambda: on_progress("output of the candidate"))
        found = replace(
            _compare_text(ours.snapshot, theirs.snapshot),
            reference=theirs.build,
            same=ours.vectors == theirs.vectors,
        )
        known = found.same or gate.max_distance is not None
        variants = () if known else _variants(reference, gate, theirs, on_progress)
        found = replace(found, embeddings=embedding_distance(theirs.vectors, ours.vectors, variants))
        return OutputRun(found, ours.run(candidate, workload))
    ours = capture_embeddings(candidate, gate, None, lambda: on_progress("output of the candidate"))
    snapshot = ours.snapshot
    if reference is None and gate.max_distance is None:
        assert snapshot.embeddings is not None
        variants = _variants(candidate, gate, ours, on_progress)
        snapshot = replace(snapshot, embeddings=replace(snapshot.embeddings, variants=variants))
    return OutputRun(compare_with_stored(snapshot, reference), ours.run(candidate, workload), snapshot)


def _variants(
    side: Side, gate: OutputGate, captured: EmbeddingCapture, on_progress: Callable[[str], None]
) -> tuple[EmbeddingVariant, ...]:
    return embedding_variants(side, gate, captured, lambda name: on_progress(f"output with {name}"))


def compare_with_stored(
    now: OutputSnapshot, stored: StoredSnapshot | None, missing: str = ""
) -> OutputComparison:
    """Compare a snapshot with a stored one.

    Args:
        now: Of the candidate.
        stored: The reference.
        missing: Why there is none.
    """
    if stored is None or stored.snapshot.corpus != now.corpus:
        return OutputComparison(
            now.positions,
            missing=missing if stored is None else _OTHER_CORPUS,
            not_finite=now.not_finite,
            not_covered=now.not_covered,
        )
    before = stored.snapshot
    if now.embeddings is not None and before.embeddings is not None:
        found = replace(_compare_text(now, before), stored=stored.provenance)
        if now.prompts != before.prompts:
            return found
        vectors = stored_vectors(before.embeddings), stored_vectors(now.embeddings)
        return replace(found, embeddings=embedding_distance(*vectors, before.embeddings.variants))
    samples = {each.weights: each for each in now.samples} if now.prompts == before.prompts else {}
    return replace(
        _compare_text(now, before),
        stored=stored.provenance,
        contrasts=tuple(
            contrast(each, samples[each.weights]) for each in before.samples if each.weights in samples
        ),
        no_f32=now.no_f32 if len(before.samples) > len(now.samples) else "",
    )


def _compare_text(now: OutputSnapshot, before: OutputSnapshot) -> OutputComparison:
    # Stored ids are sorted by their texts; the torture set begins with the plainest.
    texts = {**before.token_ids, **now.token_ids}
    if now.token_ids and before.token_ids:  # not every engine takes what is no UTF-8
        texts = {name: each for name, each in now.token_ids.items() if name in before.token_ids}
    return OutputComparison(
        now.positions,
        compiled_with=before.compiled_with if now.compiled_with != before.compiled_with else "",
        not_finite=now.not_finite,
        reference_not_finite=before.not_finite,
        token_ids=tuple(each for each in texts if now.token_ids.get(each) != before.token_ids.get(each)),
        prompts=now.prompts != before.prompts,
        template=(before.template, now.template) if _renders_otherwise(now, before) else (),
        greedy=_compare_greedy(now, before) if now.prompts == before.prompts else None,
        loops=now.loops and not before.loops,
        not_covered=before.not_covered if _unrendered(before) and not _unrendered(now) else now.not_covered,
    )


def _renders_otherwise(now: OutputSnapshot, before: OutputSnapshot) -> bool:
    return now.template != before.template and not (_unrendered(now) or _unrendered(before))


def _unrendered(snapshot: OutputSnapshot) -> bool:
    return not snapshot.template and bool(snapshot.not_covered)


def _compare_greedy(now: OutputSnapshot, before: OutputSnapshot) -> GreedyDifference | None:
    index = first_difference(before.greedy.tokens, now.greedy.tokens)
    if index is None:
        return None
    leads = before.greedy.leads
    return GreedyDifference(
        index,
        before=_at(before.greedy.tokens, index),
        now=_at(now.greedy.tokens, index),
        lead=leads[index] if index < len(leads) else None,
    )


def _at(tokens: Sequence[int], index: int) -> int | None:
    return tokens[index] if index < len(tokens) else None


def _compare_captures(
    session: CaptureSession,
    candidate: Side,
    ours: Capture,
    reference: Side,
    gate: OutputGate,
    copies: F32Copies,
) -> OutputComparison:
    theirs = session.capture(reference, "reference", "reference")
    positions = session.plan.positions()
    found = replace(
        _compare_text(ours.snapshot, theirs.snapshot),
        reference=theirs.build,
        same=same_bits(*(read_logits(each.logits, positions) for each in (ours, theirs))),
    )
    if ours.build.engine != theirs.build.engine:  # each renders chats in its own way, in every version
        found = replace(found, template=())
    if found.same or found.not_finite or found.reference_not_finite:
        return found
    contrasts: list[Contrast] = []
    try:
        for step in steps(session, (candidate, reference), (ours, theirs), copies):
            broken = [each.snapshot.not_finite for each in step.captures]
            found = replace(found, not_finite=broken[0], reference_not_finite=broken[1])
            if any(broken):
                break
            contrasts.append(_contrast(step, gate))
            if gate.max_kl is not None or outside(contrasts[-1]):
                break
    except NoF32Error as error:
        found = replace(found, no_f32=str(error))
    return replace(found, contrasts=tuple(contrasts))


def _contrast(step: Step, gate: OutputGate) -> Contrast:
    ours, theirs = step.captures

    def compare(other: Capture) -> Divergence:
        return step.session.divergence(theirs, other, gate.top_k)

    variants = measure_variants(step, compare) if gate.max_kl is None else ()
    return Contrast(step.weights, compare(ours), variants)
