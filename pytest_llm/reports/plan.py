"""The plan, printed before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.checks.format import counted
from pytest_llm.checks.variants import labels_of
from pytest_llm.measure.plan import captured_seconds
from pytest_llm.records.units import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records import Campaign, Captures, Plan
    from pytest_llm.stats.sequential import Rule


def summary(plan: Plan, rule: Rule) -> str:
    """Return one line on what will be measured and about how long it will take."""
    subjects = {
        each
        for campaign in plan.campaigns
        for each in (campaign.subject, campaign.reference, *campaign.variants)
        if each
    }
    sessions = sum(campaign.sessions for campaign in plan.campaigns)
    at_most = "up to " if any(not each.fixed for each in plan.campaigns) else ""
    benchmarks = counted(len(plan.benchmarks), "benchmark")
    return (
        f"llm-bench plan: {benchmarks} on {counted(len(subjects), 'subject')}, "
        f"{at_most}{counted(sessions, 'session')}, {_times(plan.campaigns, rule, captured_seconds(plan))}"
    )


def lines(plan: Plan, rule: Rule) -> list[str]:
    """Return what will be measured and about how long it will take."""
    found = [summary(plan, rule)]
    for campaign in plan.campaigns:
        options = campaign.subject.load_options
        at_most = "" if campaign.fixed else "up to "
        found.append(
            f"  {campaign.subject.model} on {campaign.subject.build}{_against(campaign)}, "
            f"n_ctx={options.n_ctx}, n_threads={options.n_threads}: {at_most}"
            f"{counted(campaign.sessions, 'session')} of {duration(campaign.planned.session)}, "
            f"{_times([campaign], rule)}"
        )
        for work in campaign.workloads:
            requests = campaign.requests.get(work, 0)
            taken = f", {requests} whole requests a session" if requests > 1 else ""
            found.append(f"    {work}{taken}")
    return found + [_output(each) for each in plan.captures]


def _times(campaigns: Sequence[Campaign], rule: Rule, more: float = 0.0) -> str:
    """Write when a comparison can pass, when a single loss can be called, and when all is over.

    Args:
        campaigns: What is timed.
        rule: Of the comparisons.
        more: Seconds that come first.
    """

    def until(sessions: int) -> str:
        each = [one.planned.until(one.sessions if one.fixed else sessions) for one in campaigns]
        return duration(more + sum(each))

    most = duration(more + sum(each.planned.until(each.sessions) + each.planned.after for each in campaigns))
    if all(each.fixed for each in campaigns):
        return f"about {most}"
    first, called, last = rule.looks[0], rule.least_sessions, rule.looks[-1]
    looks = [f"{until(first)} to the first look ({first})"] if first < called else []
    looks += [f"{until(called)} until a single loss can be called ({called})"]
    looks += [f"{most} to the last look ({last})"] if called < last else []
    return f"about {', '.join(looks)}"


def _output(captures: Captures) -> str:
    against = "what is stored" if captures.reference is None else str(captures.reference.build)
    count = counted(captures.least, "capture")
    more = f", up to {captures.most} if it differs or is new" if captures.most > captures.least else ""
    what = f"output of {captures.subject.model} against {against}"
    return f"  {what}: {count} of {captures.tokens} tokens{more}"


def _against(campaign: Campaign) -> str:
    reference = campaign.reference
    if campaign.variants:
        return f" in turns with {', '.join(labels_of(campaign.variants))}"
    if reference is None:
        return ""
    if campaign.anchored:
        return f" beside the anchor {reference.build}"
    if reference == campaign.subject:
        return " against itself"
    if reference.build != campaign.subject.build:
        return f" against {reference.build}"
    return f" against itself with {reference.load_options.apart(campaign.subject.load_options)}"
