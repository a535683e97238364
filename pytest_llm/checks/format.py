"""Numbers of verdicts as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llm.records.metric import Metric

NOT_QUALIFIED = "this machine is not qualified: pytest-llm doctor --qualify"


def percent(share: float) -> str:
    """Write a ratio as a signed percentage: "−6.1 %"."""
    text = f"{share * 100:+.1f} %".replace("-", "−")
    return "±0.0 %" if text in {"+0.0 %", "−0.0 %"} else text


def ratio(share: float) -> str:
    """Write a ratio as a plain percentage: "5 %", "2.3 %"."""
    return f"{share * 100:.2g} %" if share < 1 else f"{share * 100:.0f} %"


def counted(number: int, what: str) -> str:
    """Write "1 session", "2 sessions"."""
    return f"{number} {what}{'s' if number != 1 else ''}"


def resting_on(interval: tuple[float, float] | None, confidence: float, number: str) -> str:
    """Write what a change rests on: "99 % interval −7.4 … −4.7 %, 15 sessions"."""
    return number if interval is None else f"{confidence * 100:g} % interval {span(interval)}, {number}"


def span(interval: tuple[float, float]) -> str:
    """Write an interval of ratios: "−7.4 … −4.7 %"."""
    low, high = (percent(edge).removesuffix(" %") for edge in interval)
    return f"{low} … {high} %"


def moved(metric: Metric, before: float, now: float, change: float) -> str:
    """Write how a metric moved: "generation speed fell from 125.9 tok/s to 118.2 tok/s".

    Args:
        metric: Which one.
        before: Its value then, or of the reference.
        now: Its value now.
        change: Of the metric; if it is small, single values may point the other way.
    """
    first, second = metric.unit.format(before), metric.unit.format(now)
    if first == second:
        return f"{metric.title} stayed at {first}"
    if (now > before) != (change > 0):
        return f"{metric.title} went from {first} to {second}"
    return f"{metric.title} {'fell' if now < before else 'rose'} from {first} to {second}"
