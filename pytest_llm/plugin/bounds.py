"""Values in markers that decide a verdict: each is read, and refused if no run could fail it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llm.errors import UnitError, UsageError
from pytest_llm.records import Gate, Limit, OutputGate
from pytest_llm.records.metrics import METRICS, at_percentile
from pytest_llm.records.units import BYTES, RATIO
from pytest_llm.stats.label_bias import least_tolerance, refuses
from pytest_llm.system.text import as_written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records.metric import Metric
    from pytest_llm.records.units import Unit

# A tenth of the speed is no matter of tolerance.
_MOST_TOLERANCE = 0.9
_MOST_TOKENS = 1_000_000  # more than any vocabulary has
# Nats between a model and one that picks tokens at random; cosine distance of random vectors.
_RANDOM = {"max_kl": 10.0, "max_distance": 1.0}
_KINDS = {"max_kl": "number of nats", "max_distance": "distance"}


def limit(marker: str, metric: str, bound: str | float) -> Limit:
    """Return a limit on the metric of this name; raises as :func:`bounded`."""
    return bounded(marker, METRICS[metric], bound)


def limit_at(marker: str, family: str, percentile: float, bound: str | float) -> Limit:
    """Return a limit on a percentile of a latency; raises as :func:`bounded`."""
    try:
        metric = at_percentile(family, percentile)
    except UsageError as error:
        raise UsageError(f"{marker}: {error}") from None
    return bounded(marker, metric, bound)


def bounded(marker: str, metric: Metric, bound: str | float) -> Limit:
    """Return a limit on a metric.

    Raises:
        UsageError: The bound is not a quantity of the metric's unit, or every run keeps it.
    """
    value = _parsed(marker, metric.unit, bound)
    if metric.better == "higher" and not value:
        raise UsageError(
            f"{marker}: min={as_written(bound)} cannot fail, because {metric.title} is never below it: write "
            f"min='40 {metric.unit.base}', say"
        )
    return Limit(metric, value)


def tolerance(marker: str, value: str | float, metrics: Sequence[Metric]) -> float:
    """Return a tolerance as a ratio; 0 only if all metrics are counts.

    Raises:
        UsageError: It is not a ratio, or out of range.
    """
    ratio = _parsed(marker, RATIO, value)
    varying = next((each for each in metrics if each.tolerance), None)
    if ratio > _MOST_TOLERANCE or (not ratio and varying is not None):
        example = "0.5%" if varying is None or varying.exact else "5%"
        raise UsageError(
            f"{marker}: tolerance={as_written(value)} is not above 0 and at most "
            f"{100 * _MOST_TOLERANCE:.0f} %; write '{example}'"
        )
    return ratio


def negligible(value: str | float, gates: Sequence[Gate]) -> tuple[Gate, ...]:
    """Return gates that a loss up to a ratio does not fail.

    Raises:
        UsageError: It is not a ratio, or not above 0 and below the tolerance of each gate.
    """
    ratio = _parsed("llm_no_regression", RATIO, value)
    for gate in gates:
        if gate.metric.exact:
            raise UsageError(
                f"llm_no_regression: negligible={as_written(value)} means nothing to {gate.metric.title}, "
                "a count, which fails above its tolerance: leave it out, or gate counts in their own marker"
            )
        if not 0 < ratio < gate.tolerance:
            raise UsageError(
                f"llm_no_regression: negligible={as_written(value)} is not above 0 and below the tolerance "
                f"of {gate.metric.title}, {100 * gate.tolerance:g} %: leave it out for a fifth of that"
            )
    return tuple(replace(gate, negligible=ratio) for gate in gates)


def check_holds(gates: Sequence[Gate], tau: float) -> None:
    """Refuse gates of times whose tolerance this machine cannot hold.

    Args:
        gates: That a reference decides.
        tau: The spread of label-bound bias, in logarithms.

    Raises:
        UsageError: Three times the spread is more than half of a tolerance.
    """
    for gate in gates:
        if not gate.metric.exact and gate.metric.unit is not BYTES and refuses(tau, gate.tolerance):
            raise UsageError(
                f"llm_no_regression: equal builds may differ by {300 * tau:.2g} % on this machine, too much "
                f"for a tolerance of {100 * gate.tolerance:.2g} % of {gate.metric.title}: make it "
                f"{100 * least_tolerance(tau):.2g} % or more, or reduce the bias (pytest-llm doctor)"
            )


def claimed(value: str | float) -> float:
    """Return the ratio that ``llm_faster_than`` claims.

    Raises:
        UsageError: It is not a ratio above 0.
    """
    ratio = _parsed("llm_faster_than", RATIO, value)
    if not ratio > 0:
        raise UsageError(f"llm_faster_than: by={as_written(value)} is not above 0; write '10%', say")
    return ratio


def output_gate(
    prompts: Sequence[str] | str | None, top_k: int, max_kl: float | None, max_distance: float | None
) -> OutputGate:
    """Return what ``llm_output`` asks for.

    Raises:
        UsageError: A value is of the wrong kind, or random output would pass.
    """
    texts = [prompts] if isinstance(prompts, str) else list(prompts) if prompts is not None else []
    if (prompts is not None and not texts) or not all(isinstance(text, str) and text for text in texts):
        raise UsageError(
            f"llm_output: prompts={as_written(prompts)} is neither a text nor a list of texts: write a text, "
            "or leave prompts out"
        )
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= _MOST_TOKENS:
        raise UsageError(
            f"llm_output: top_k={as_written(top_k)} is not a whole number above 0 and at most "
            f"{_MOST_TOKENS}: write top_k=20, say"
        )
    return OutputGate(tuple(texts), top_k, _most("max_kl", max_kl), _most("max_distance", max_distance))


def _most(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise UsageError(
            f"llm_output: {name}={as_written(value)} is not a {_KINDS[name]}, 0 or more: write "
            f"{name}=0.01, say"
        )
    if value >= _RANDOM[name]:
        raise UsageError(
            f"llm_output: {name}={as_written(value)} cannot fail, because random output is no further away "
            f"than {_RANDOM[name]:g}: write {name}=0.01, say"
        )
    return float(value)


def _parsed(marker: str, unit: Unit, value: str | float) -> float:
    try:
        return unit.parse(value)
    except UnitError as error:
        raise UnitError(f"{marker}: {error}") from None
