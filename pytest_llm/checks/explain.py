"""Findings as text: every verdict, the worst of them, and what to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.checks import baseline, confirmation, counts, drift, limits, overhead, unmet, variants
from pytest_llm.checks import comparison as paired
from pytest_llm.checks.format import NOT_QUALIFIED
from pytest_llm.checks.operators import explain as operators
from pytest_llm.checks.output import verdict as output
from pytest_llm.records import LoadOptions, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from pytest_llm.checks.findings import BaselineCheck, Comparison, Drift, Finding
    from pytest_llm.records import Run


_PLACES = ("n_cpu_moe", "tensor_buft_overrides", "tensor_split", "numa")


def verdicts(finding: Finding) -> list[Verdict]:
    """Return every verdict of a finding; of drift only if there is some."""
    found = [finding.output.verdict] if finding.output is not None else []
    found += [each.verdict for each in finding.judgements]
    found += [each.verdict for each in confirmation.standing(finding)]
    found += [each.verdict for each in finding.comparisons]
    found += [each for each in (unmet.verdict(finding.unmet),) if each is not None]
    return found + [Verdict.DRIFT for each in drifts(finding) if each.verdict is Verdict.DRIFT]


def drifts(finding: Finding) -> list[Drift]:
    """Return the drift that all gates of a finding share, and those of its claims."""
    found = [finding.drift, *(each.drift for each in finding.comparisons)]
    return [each for each in found if each is not None]


def worst(found: Collection[Verdict]) -> Verdict | None:
    """Return the worst verdict, or None if nothing was judged."""
    order = list(Verdict)
    return min(found, key=order.index, default=None)


def failing(finding: Finding, that_fail: Collection[Verdict]) -> bool:
    """Return true if a verdict of a finding fails its test."""
    return any(verdict in that_fail for verdict in verdicts(finding))


def notes(finding: Finding) -> list[str]:
    """Return lines on a finding that the summary shows even if its test passed."""
    if finding.problem:
        return [finding.problem]
    if finding.run is None:
        return []
    lines = [output.summary(finding.output)] if finding.output is not None else []
    lines += _unknown_types(finding.run)
    lines += baseline.notes(finding.baseline_checks)
    lines += confirmation.explained(finding)
    step = baseline.next_step(_open(finding), finding.run, finding.benchmark.nodeid)
    lines += [step] if step else []
    lines += [paired.summary(each) for each in finding.comparisons]
    lines += variants.notes(finding.variant) if finding.variant is not None else []
    lines += overhead.notes(finding)
    lines += _counts(finding)
    lines += _operators(finding)
    lines += [unmet.sentence(finding.unmet)] if finding.unmet else []
    return lines + _sentences(each for each in drifts(finding) if each.differences)


def _unknown_types(run: Run) -> list[str]:
    types = ", ".join(run.model.unknown_types)
    return [f"the model has tensors of {types}, unknown here: its memory is not predicted"] if types else []


def explain(finding: Finding, that_fail: Collection[Verdict], *, qualified: bool = True) -> str:
    """Return the message of a failed benchmark: failing verdicts, then what was measured.

    Args:
        finding: At least one of its verdicts fails.
        that_fail: The verdicts that fail a test.
        qualified: Whether the machine is qualified for comparisons.
    """
    assert finding.run is not None
    outputs = [each for each in (finding.output,) if each is not None and each.verdict in that_fail]
    broken = [limits.summary(each) for each in finding.judgements if each.verdict in that_fail]
    screened = [each for each in confirmation.standing(finding) if each.verdict in that_fail]
    compared = [each for each in finding.comparisons if each.verdict in that_fail]
    drifted = [each for each in drifts(finding) if each.verdict in that_fail]
    not_in_effect = finding.unmet if unmet.verdict(finding.unmet) in that_fail else ()
    heads = [
        *(output.summary(each) for each in outputs),  # first: the speed of a wrong model is worth nothing
        *([unmet.sentence(not_in_effect)] if not_in_effect else []),
        *broken,
        *(baseline.summary(each) for each in screened),
        *(paired.summary(each) for each in compared),
    ]
    remarks = _sentences([*_beside(finding, screened, compared), *drifted])
    lines = context(finding.run)
    # The candidate first, then what it was compared with.
    beside = [line for each in outputs for line in output.context(each)]
    lines[1:1] = dict.fromkeys([*beside, *_compared_with(finding, screened, compared, drifted)])
    lines += remarks if heads else []
    lines += confirmation.explained(finding) if screened else []
    lines += [*_counts(finding), *_operators(finding)] if compared else []
    if finding.output is not None and not outputs:
        lines.append(output.summary(finding.output))
    lines += [unmet.next_step(not_in_effect)] if not_in_effect else []
    lines += [drift.next_step(each, finding.run, finding.benchmark.nodeid) for each in drifted]
    nodeid = finding.benchmark.nodeid
    doubtful = [each for each in _open(finding) if each in screened]
    steps = (baseline.next_step(doubtful, finding.run, nodeid), paired.next_step(compared, nodeid))
    lines += [step for step in steps if step]
    if compared and not qualified:
        lines.append(NOT_QUALIFIED)
    return "\n".join([*(heads or remarks), *(f"  {line}" for line in lines)])


def _counts(finding: Finding) -> list[str]:
    """Return the counts that may explain why a metric regressed; a gate on a count shows its own."""
    found = [each for each in finding.comparisons if each.verdict is Verdict.REGRESSED]
    lines = [counts.differences(each.run) for each in found if not each.asked.metric.exact]
    return list(dict.fromkeys(filter(None, lines)))


def _open(finding: Finding) -> list[BaselineCheck]:
    """Return the baseline checks that a pair might settle."""
    unconfirmed = confirmation.unconfirmed(finding)
    return [
        each
        for each in finding.baseline_checks
        if each.verdict is not Verdict.REGRESSED or each.anchored is not None or each in unconfirmed
    ]


def _operators(finding: Finding) -> list[str]:
    return [line for run in finding.operators for line in operators.lines(run)]


def _sentences(found: Iterable[Drift]) -> list[str]:
    return list(dict.fromkeys(drift.sentence(each) for each in found))


def _beside(
    finding: Finding, screened: Sequence[BaselineCheck], compared: Sequence[Comparison]
) -> list[Drift]:
    """Return the drift that is shown with speed, even if it fails nothing."""
    shared = [finding.drift] if screened or any(each.drift is None for each in compared) else []
    return [each for each in (*shared, *(each.drift for each in compared)) if each is not None]


def _compared_with(
    finding: Finding,
    screened: Sequence[BaselineCheck],
    compared: Sequence[Comparison],
    drifted: Sequence[Drift],
) -> Iterator[str]:
    for baseline_check in screened:
        yield from baseline.context(baseline_check)
    for comparison in finding.comparisons:
        of_drift = comparison.drift if comparison.drift is not None else finding.drift
        if comparison in compared or of_drift in drifted:
            yield from paired.context(comparison)
    for each in drifted:
        yield from drift.context(each)


def _placed(run: Run) -> str:
    """Return the load options that say where tensors lie and what is added to them, if any was asked for."""
    usual = LoadOptions()
    asked = {name: getattr(run.subject.load_options, name) for name in _PLACES}
    found = [f"{name}={value}" for name, value in asked.items() if value != getattr(usual, name)]
    found += [
        f"adapter {each.name} of SHA-256 {each.sha256[:12]}… times {each.scale:g}"
        for each in run.model.adapters
    ]
    draft = run.model.draft
    found += [f"draft model {draft.name} of SHA-256 {draft.sha256[:12]}…"] if draft else []
    return "".join(f", {each}" for each in found)


def context(run: Run) -> list[str]:
    """Return lines on the build, model and workload of a run."""
    model, options = run.model, run.subject.load_options
    return [
        f"candidate {run.build}",
        f"model {model.name} ({model.architecture}, {model.quantization}, "
        f"{model.parameters / 1e6:.1f} M parameters), n_ctx={options.n_ctx}, "
        f"n_threads={options.n_threads}{_placed(run)}",
        f"workload {run.workload}",
    ]
