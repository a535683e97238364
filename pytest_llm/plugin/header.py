"""Lines of pytest's header: homes, variables that do not reach llama.cpp, an incomplete sandbox; the plan."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_llm.engines.environment import PASS, not_passed, refused
from pytest_llm.errors import UsageError
from pytest_llm.plugin.homes import line
from pytest_llm.plugin.state import PROBLEM
from pytest_llm.reports.plan import lines, summary
from pytest_llm.system.sandbox import Policy
from pytest_llm.system.text import LONGEST_LINE, clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from pytest_llm.plugin.session import Bench


def lines_of(bench: Bench, showing: str) -> list[str]:
    """Return the header's lines; ``showing`` is the option with which pytest shows something, or ""."""
    found = [line(home) for home in bench.homes.named()]
    if showing:
        found.append(f"llm-bench: {showing} measures nothing, so nothing was judged")
    dropped = not_passed(os.environ)
    if dropped:
        found.append(f"llm-bench: not passed to llama.cpp: {', '.join(dropped)} ({PASS} names more)")
    secret = refused(os.environ)
    if secret:
        found.append(
            f"llm-bench: not passed to llama.cpp, as they look like credentials: {', '.join(secret)} "
            "(rename what is none)"
        )
    policy = Policy(bench.settings.sandbox)
    if policy.mode == "off":
        found.append("llm-bench: sandbox off: code in a model or a build can do what you can")
    elif policy.lacking:
        found.append(
            f"llm-bench: sandbox incomplete: {policy.lacking}, so code in a model or a build can do more "
            "than it should (--llm-sandbox=strict refuses)"
        )
    return [clean(each, LONGEST_LINE) for each in found]


def planned(bench: Bench, items: Sequence[pytest.Item], showing: str) -> list[str]:
    """Return the homes that the header has not named, and the plan: in one line if tests run."""
    homes = {each.home: bench.homes.called(each.home) for each in bench.plan.benchmarks}
    found = [line(home) for home in homes.values() if home not in bench.homes.named()]
    if not showing:
        return [
            *found,
            *([summary(bench.plan, bench.measuring.rule(bench.plan))] if bench.plan.campaigns else []),
        ]
    found += lines(bench.plan, bench.measuring.rule(bench.plan))
    try:
        bench.check_limits()
    except UsageError as error:
        found.append(f"  refused: {error}")
    return found + [
        f"  cannot run: {item.nodeid}: {item.stash[PROBLEM]}" for item in items if PROBLEM in item.stash
    ]
