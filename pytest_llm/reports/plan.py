"""The plan, told before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llm.records import Plan


def lines(plan: Plan, seconds: float) -> list[str]:
    """Return what will be measured and about how long it will take."""
    count = len(plan.benchmarks)
    processes = sum(campaign.sessions for campaign in plan.campaigns)
    found = [
        f"llm-bench plan: {count} benchmark{'s' if count != 1 else ''} on {len(plan.campaigns)} "
        f"subject{'s' if len(plan.campaigns) != 1 else ''}, {processes} sessions, "
        f"about {seconds:.0f} s where the model is small"
    ]
    for campaign in plan.campaigns:
        options = campaign.subject.load_options
        found.append(
            f"  {campaign.subject.model} on {campaign.subject.build}, n_ctx={options.n_ctx}, "
            f"n_threads={options.n_threads}: {campaign.sessions} sessions"
        )
        for work in campaign.workloads:
            parallel = f", {work.parallel} in parallel" if work.parallel > 1 else ""
            found.append(
                f"    {work.prompt_tokens} prompt tokens, {work.generate_tokens} generated, "
                f"depth {work.depth}{parallel}"
            )
    return found
