"""Campaigns of variants, and what they share with those of pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pytest_llm.measure.duration import planned_time
from pytest_llm.measure.requests import requests_for, requests_paired
from pytest_llm.records import Campaign, Question, Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_llm.measure.duration import Speed
    from pytest_llm.records import Benchmark, Claim, Gate, Workload
    from pytest_llm.records.metric import Metric
    from pytest_llm.stats.sequential import Rule

Group: TypeAlias = tuple[Subject, ...]


def groups_of(benchmarks: Sequence[Benchmark]) -> dict[str, Group]:
    """Return by node id the variants that a test is one of, the first one first.

    Variants are the subjects of one function on one workload; the only one of these has no group.
    """
    found: dict[tuple[str, str, str, Workload], dict[Subject, list[str]]] = {}
    for each in benchmarks:
        if each.variants is not None:
            function = (each.home, each.key.module, each.key.name, each.workload)
            found.setdefault(function, {}).setdefault(each.subject, []).append(each.nodeid)
    groups = {
        nodeid: tuple(subjects)
        for subjects in found.values()
        if len(subjects) > 1
        for nodeids in subjects.values()
        for nodeid in nodeids
    }
    return {each.nodeid: groups[each.nodeid] for each in benchmarks if each.nodeid in groups}


def campaigns_of(
    benchmarks: Sequence[Benchmark],
    groups: Mapping[str, Group],
    rule: Rule,
    speed_of: Callable[[Subject], Speed],
    time_limit: float | None,
) -> dict[Group, Campaign]:
    """Return the campaign of each group; functions with equal groups share it."""
    asked: dict[Group, dict[Workload, list[Gate]]] = {}
    outputs: set[Group] = set()
    for each in benchmarks:
        if each.nodeid in groups and each.variants is not None:
            group = groups[each.nodeid]
            gates = asked.setdefault(group, {}).setdefault(each.workload, [])
            gates += [gate for gate in each.variants.gates if gate not in gates]
            outputs |= {group} if each.variants.output else set()

    def campaign(group: Group, found: Mapping[Workload, Sequence[Gate]]) -> Campaign:
        sides = [speed_of(each) for each in group]
        requests = {
            workload: requests_paired(
                [gate.metric for gate in gates],
                [metric for each in group for metric in limited_of(benchmarks, each, workload)],
                workload,
                rule.looks[0],
                fitting(sides, tuple(found), workload, rule.least_sessions, time_limit),
            )
            for workload, gates in found.items()
        }
        first, second, *_ = group
        return Campaign(
            second,
            tuple(found),
            rule.looks[-1],
            first,
            questions_of(found, requests),
            requests=requests,
            planned=planned_time(sides, tuple(found), requests),
            variants=group,
            output=group in outputs,
        )

    return {group: campaign(group, found) for group, found in asked.items()}


def fitting(
    sides: Sequence[Speed],
    workloads: tuple[Workload, ...],
    workload: Workload,
    sessions: int,
    time_limit: float | None,
) -> Callable[[int], bool]:
    """Return what tells if a number of whole requests a session leaves a workload within its time limit."""

    def fits(number: int) -> bool:
        planned = planned_time(sides, workloads, {workload: number})
        return time_limit is None or planned.of(workload, sessions) <= time_limit

    return fits


def limited_of(benchmarks: Sequence[Benchmark], subject: Subject, workload: Workload) -> list[Metric]:
    """Return the metrics of a subject on a workload that have limits."""
    found = [each for each in benchmarks if (each.subject, each.workload) == (subject, workload)]
    return [limit.metric for each in found for limit in each.limits]


def questions_of(
    found: Mapping[Workload, Sequence[Gate | Claim]], requests: Mapping[Workload, int]
) -> tuple[Question, ...]:
    """Return what is asked of a pair, but for percentiles that no session has enough requests for."""
    questions: list[Question] = []
    for workload, asked in found.items():
        answered = [each for each in asked if requests_for(each.metric, workload) <= requests[workload]]
        new = [Question(workload, each) for each in answered]
        questions += [each for index, each in enumerate(new) if each not in new[:index]]
    return tuple(questions)
