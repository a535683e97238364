"""The plan, printed before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.checks.format import counted

if TYPE_CHECKING:
    from pytest_llm.records import Campaign, Captures, Plan


def lines(plan: Plan, seconds: float) -> list[str]:
    """Return what will be measured and about how long it will take."""
    subjects = {
        each for campaign in plan.campaigns for each in (campaign.subject, campaign.reference) if each
    }
    sessions = sum(campaign.sessions for campaign in plan.campaigns)
    at_most = "up to " if any(campaign.reference for campaign in plan.campaigns) else ""
    benchmarks = counted(len(plan.benchmarks), "benchmark")
    found = [
        f"llm-bench plan: {benchmarks} on {counted(len(subjects), 'subject')}, "
        f"{at_most}{sessions} sessions, about {seconds:.0f} s where the model is small"
    ]
    for campaign in plan.campaigns:
        options = campaign.subject.load_options
        at_most = "up to " if campaign.reference else ""
        found.append(
            f"  {campaign.subject.model} on {campaign.subject.build}{_against(campaign)}, "
            f"n_ctx={options.n_ctx}, n_threads={options.n_threads}: {at_most}{campaign.sessions} sessions"
        )
        found += [f"    {work}" for work in campaign.workloads]
    return found + [_output(each) for each in plan.captures]


def _output(captures: Captures) -> str:
    against = "what is stored" if captures.reference is None else str(captures.reference.build)
    count = counted(captures.least, "capture")
    more = f", up to {captures.most} if it differs or is new" if captures.most > captures.least else ""
    what = f"output of {captures.subject.model} against {against}"
    return f"  {what}: {count} of {captures.tokens} tokens{more}"


def _against(campaign: Campaign) -> str:
    reference = campaign.reference
    if reference is None:
        return ""
    if reference == campaign.subject:
        return " against itself"
    if reference.build != campaign.subject.build:
        return f" against {reference.build}"
    return f" against itself with {reference.load_options.apart(campaign.subject.load_options)}"
