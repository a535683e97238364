"""What a subject shows before any timing, against what is stored of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.findings import Difference, Drift

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.records import JSON

# The fact that holds the resolved options, told one by one; and the one that is what the model says.
_OPTIONS = "resolved"
OUTPUT = "greedy_output"


def compare(stored: Mapping[str, JSON], now: Mapping[str, JSON]) -> Drift:
    """Compare facts that both sides have; a fact that only one of them has says nothing."""
    return Drift(
        tuple(
            Difference(name, before, after)
            for name in sorted(stored.keys() & now.keys())
            for name, before, after in _apart(name, stored[name], now[name])
            if before != after
        )
    )


def _apart(name: str, before: JSON, now: JSON) -> list[tuple[str, JSON, JSON]]:
    if name != _OPTIONS or not isinstance(before, dict) or not isinstance(now, dict):
        return [(name, before, now)]
    return [(option, before[option], now[option]) for option in sorted(before.keys() & now.keys())]


def sentence(drift: Drift) -> str:
    """Say in one line whether output and configuration are what they were."""
    if drift.reason:
        return f"output and configuration not compared: {drift.reason}"
    outputs = [each for each in drift.differences if each.name == OUTPUT]
    others = [each for each in drift.differences if each.name != OUTPUT]
    told = ", ".join(_told(each) for each in others)
    return (
        f"{'other' if outputs else 'same'} output; "
        f"{f'configuration differs: {told}' if told else 'same configuration'}"
    )


def _told(difference: Difference) -> str:
    before, now = (str(each) for each in (difference.before, difference.now))
    if len(before) + len(now) > 60:  # token ids, say: the results file has them
        return difference.name
    return f"{difference.name} {before} → {now}"
