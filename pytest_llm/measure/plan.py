"""The plan: campaigns, sessions and verdicts that share the error rate, all known before anything loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.measure.duration import Size, Speed, planned_time
from pytest_llm.measure.requests import requests_alone, requests_paired
from pytest_llm.measure.variants_plan import (
    campaigns_of,
    fitting,
    groups_of,
    limited_of,
    questions_of,
)
from pytest_llm.records import (
    MAX_FILLED_TOKENS,
    Campaign,
    Captures,
    Plan,
    Subject,
    Workload,
)
from pytest_llm.stats.sequential import rule_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pytest_llm.measure.variants_plan import Group
    from pytest_llm.records import Benchmark, Claim, Gate
    from pytest_llm.records.metric import Metric

SESSIONS: Mapping[str, int] = {"quick": 3, "normal": 5, "thorough": 10}
# Beside the anchor, whatever the effort: stored ratios are compared with ratios of as many sessions.
ANCHORED_SESSIONS = 5

# Tokens of the prompt that outputs are compared on, and of what follows it.
_CAPTURE_TOKENS = 1536
_CAPTURE_SECONDS, _TOKEN_SECONDS = 1.5, 0.01
# With a reference: both, its variants, and both once more with each copy that rounds less, and its variants.
# Alone: the same of the subject and of one copy, where they are recorded.
_CAPTURES_PAIRED, _CAPTURES_RECORDING, _CAPTURES_STORED = 15, 8, 2


def alone(_: Subject) -> None:
    """Return no reference: the subject is measured alone."""


def small(_: Subject) -> Speed:
    """Return the speed of a small model on a small computer."""
    return Speed.of(Size(), None)


def make_plan(
    benchmarks: Sequence[Benchmark],
    effort: str,
    reference_of: Callable[[Subject], Subject | None] = alone,
    *,
    anchor_of: Callable[[Subject], Subject | None] = alone,
    records_output: bool = False,
    equal: bool | None = None,
    speed_of: Callable[[Subject], Speed] = small,
    time_limit: float | None = None,
) -> Plan:
    """Group benchmarks by subject, in the order in which the subjects first appear.

    Args:
        benchmarks: In the order of the tests.
        effort: "quick", "normal" or "thorough".
        reference_of: Returns the reference of a subject; None if it is measured alone.
        anchor_of: Returns what a subject without a reference is measured beside on gated workloads, or None.
        records_output: Whether output is captured even if none is stored.
        equal: Whether a subject and its reference must be the same code; None if they may be.
        speed_of: Returns how fast a subject is thought to be.
        time_limit: Seconds that each workload may take, None for any number; percentiles that take longer are
            not covered.
    """
    groups = groups_of(benchmarks)
    family = _family(benchmarks, groups)
    rule = rule_for(effort, family)
    workloads: dict[tuple[Subject, Subject | None], dict[Workload, list[Gate | Claim]]] = {}
    gated = {(each.subject, each.workload) for each in benchmarks if each.gates}
    anchored: set[tuple[Subject, Subject | None]] = set()

    def beside(benchmark: Benchmark) -> Subject | None:
        reference, asked = reference_of(benchmark.subject), (benchmark.subject, benchmark.workload)
        return anchor_of(benchmark.subject) if reference is None and asked in gated else reference

    for benchmark in benchmarks:
        if benchmark.nodeid in groups:
            continue
        reference = None if benchmark.variants is not None else beside(benchmark)
        asked = workloads.setdefault((benchmark.subject, reference), {}).setdefault(benchmark.workload, [])
        asked += [gate for gate in benchmark.gates if reference is not None]
        if reference is not None and reference_of(benchmark.subject) is None:
            anchored.add((benchmark.subject, reference))
        for claim in benchmark.claims:
            pair = workloads.setdefault((benchmark.subject, claim.than), {})
            pair.setdefault(benchmark.workload, []).append(claim)
    order: dict[Subject, int] = {}
    for benchmark in benchmarks:
        order.setdefault(benchmark.subject, len(order))

    def campaign(
        subject: Subject, reference: Subject | None, found: Mapping[Workload, Sequence[Gate | Claim]]
    ) -> Campaign:
        beside_anchor = (subject, reference) in anchored
        main = beside_anchor or reference == reference_of(subject)
        sides = [speed_of(each) for each in (subject, reference) if each is not None]
        fixed = SESSIONS[effort] if reference is None else ANCHORED_SESSIONS if beside_anchor else None
        needed = fixed or rule.least_sessions
        requests: dict[Workload, int] = {}
        for workload, asked in found.items():
            fits = fitting(sides, tuple(found), workload, needed, time_limit)
            limited = limited_of(benchmarks, subject, workload) if main else []
            if reference is None:
                metrics = [*limited, *_gated(benchmarks, subject, workload)]
                requests[workload] = requests_alone(metrics, workload, needed, fits)
            else:
                metrics = [each.metric for each in asked]
                requests[workload] = requests_paired(metrics, limited, workload, fixed or rule.looks[0], fits)
        leaks = _leaks(benchmarks, subject, reference, beside)
        return Campaign(
            subject,
            tuple(found),
            fixed or rule.looks[-1],
            reference,
            questions_of(found, requests),
            leaks,
            equal if reference == reference_of(subject) else None,
            requests,
            beside_anchor,
            planned_time(sides, tuple(found), requests, leaks),
        )

    beside_others = campaigns_of(benchmarks, groups, rule, speed_of, time_limit)
    return Plan(
        tuple(sorted(benchmarks, key=lambda benchmark: order[benchmark.subject])),
        (*(campaign(*sides, found) for sides, found in workloads.items()), *beside_others.values()),
        family,
        _captures(benchmarks, reference_of, records_output, beside_others.values()),
        {nodeid: beside_others[subjects] for nodeid, subjects in groups.items()},
    )


def _captures(
    benchmarks: Sequence[Benchmark],
    reference_of: Callable[[Subject], Subject | None],
    records: bool,
    variants: Iterable[Campaign],
) -> tuple[Captures, ...]:
    """Return the captures of outputs; tests with the same gate share them."""
    found: dict[object, Captures] = {}
    for each in benchmarks:
        if each.output is None:
            continue
        reference, options = reference_of(each.subject), each.subject.load_options
        room = options.n_ctx if options.kv_unified else options.n_ctx // options.n_seq_max
        least = 1 if reference is None else 2
        most = (
            _CAPTURES_PAIRED
            if reference is not None
            else _CAPTURES_RECORDING
            if records
            else _CAPTURES_STORED
        )
        limit = each.output.max_distance if each.workload.embed else each.output.max_kl
        key = (each.subject, each.output, each.workload.parallel, each.workload.embed)
        found[key] = Captures(
            each.subject,
            reference,
            least,
            least if limit is not None else most,
            min(room, _CAPTURE_TOKENS) + min(room, MAX_FILLED_TOKENS),
        )
    each_once = [
        Captures(subject, None, 1, 1, min(subject.load_options.n_ctx, _CAPTURE_TOKENS))
        for campaign in variants
        if campaign.output
        for subject in campaign.variants
    ]
    return (*found.values(), *each_once)


def _leaks(
    benchmarks: Sequence[Benchmark],
    subject: Subject,
    reference: Subject | None,
    beside: Callable[[Benchmark], Subject | None],
) -> tuple[Workload, ...]:
    """Return the workloads of a campaign on which a limit is set to what leaks."""
    found = [
        each.workload
        for each in benchmarks
        if each.subject == subject
        and beside(each) == reference
        and any(limit.metric.slope for limit in each.limits)
    ]
    return tuple(dict.fromkeys(found))


def _gated(benchmarks: Sequence[Benchmark], subject: Subject, workload: Workload) -> list[Metric]:
    found = [each for each in benchmarks if (each.subject, each.workload) == (subject, workload)]
    return [gate.metric for each in found for gate in each.gates]


def _family(benchmarks: Sequence[Benchmark], groups: Mapping[str, Group]) -> int:
    """Return how many verdicts share the error rate: the distinct metrics gated or claimed, at least 1.

    What repeats exactly is not judged by chance.
    """
    asked: set[tuple[object, ...]] = set()
    for each in benchmarks:
        group = groups.get(each.nodeid, (each.subject,))
        if each.variants is not None and each.subject != group[0]:
            told = [gate.metric for gate in each.variants.gates if not gate.metric.exact]
            asked |= {(each.subject, group[0], each.workload, metric.name) for metric in told}
        counted = [gate.metric for gate in each.gates if not gate.metric.exact]
        asked |= {(each.subject, None, each.workload, metric.name) for metric in counted}
        asked |= {(each.subject, claim.than, each.workload, claim.metric.name) for claim in each.claims}
    return max(1, len(asked))


def captured_seconds(plan: Plan) -> float:
    """Return about how many seconds the captures of outputs take."""
    # Alone it takes as many as it may; a pair is mostly the same.
    captures = ((each.most if each.reference is None else each.least, each.tokens) for each in plan.captures)
    return sum(count * (_CAPTURE_SECONDS + _TOKEN_SECONDS * tokens) for count, tokens in captures)


def estimate(plan: Plan) -> float:
    """Return about how many seconds measuring takes at most."""
    campaigns = sum(each.planned.until(each.sessions) + each.planned.after for each in plan.campaigns)
    return campaigns + captured_seconds(plan)
