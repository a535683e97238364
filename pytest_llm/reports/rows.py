"""The rows of reports: one for each thing that a test was asked, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.checks.format import percent, ratio, span
from pytest_llm.records import Verdict, metrics
from pytest_llm.records.metrics import DRAFT_ACCEPTANCE, EMBEDDING_SPEED
from pytest_llm.reports.verdict_entries import BaselineEntry, ClaimEntry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_llm.records.metric import Metric
    from pytest_llm.reports.document import Results, TestEntry
    from pytest_llm.reports.verdict_entries import ComparisonEntry, MetricEntry

    Part = BaselineEntry | ComparisonEntry | ClaimEntry

# Of a test that is asked nothing.
_USUAL = (
    "prompt_tokens_per_second",
    "generation_tokens_per_second",
    EMBEDDING_SPEED,
    "first_token_latency",
    "inter_token_latency_p50",
    "load_time",
    "peak_vram",
    "peak_ram",
)
NOISY = "noisy"


class Row(NamedTuple):
    """One thing that a test was asked, and its answer.

    Attributes:
        metric: Its title, or "output".
        value: Of the run, with the range of its sessions.
        reference: What it was compared with; "" if with nothing.
        change: Of the metric, with its interval; "" if there is none.
        limit: What a marker allows or claims; "" if none does.
        verdict: None if nothing was judged.
    """

    metric: str
    value: str
    reference: str = ""
    change: str = ""
    limit: str = ""
    verdict: Verdict | None = None


def rows(test: TestEntry, *, every: bool = False) -> list[Row]:
    """Return the rows of a test, of what it was asked, if it was asked anything; or of every metric."""
    shown = test.metrics if every else asked_of(test)
    found = [row for name in shown for row in _rows(metrics.find(name), test.metrics[name])]
    if test.output is not None:
        found.insert(0, Row("output", _output(test), verdict=test.output.verdict))
    return found


def asked_of(test: TestEntry) -> list[str]:
    """Return the metrics that a test was asked, or the usual ones if it was asked none."""
    asked = [name for name, entry in test.metrics.items() if _parts(entry) or entry.limit is not None]
    found = asked or [name for name in _USUAL if name in test.metrics]
    # Without it, the speed of a model that drafts says little.
    return [*found, *(name for name in test.metrics if name == DRAFT_ACCEPTANCE and name not in found)]


def verdicts(test: TestEntry) -> list[Verdict]:
    """Return every verdict of a test; of drift only if there is some."""
    found = [test.output.verdict] if test.output is not None else []
    for entry in test.metrics.values():
        found += [each.verdict for each in (entry.limit, *_parts(entry)) if each is not None]
    claims = [entry.claim.drift for entry in test.metrics.values() if entry.claim is not None]
    drifted = [each for each in (test.drift, *claims) if each is not None and each.verdict is Verdict.DRIFT]
    return found + [Verdict.DRIFT for _ in drifted]


def worst(found: Sequence[Verdict]) -> Verdict | None:
    """Return the worst of some verdicts; None if there is none."""
    return next((each for each in Verdict if each in found), None)


def failed(tests: Iterable[TestEntry]) -> list[TestEntry]:
    """Return the tests that failed, for whatever reason."""
    return [each for each in tests if each.outcome in ("failed", "error")]


def shortfall(files: Sequence[Results]) -> str:
    """Return why it proves nothing that no test failed; "" if it does."""
    if not all(each.finished for each in files):
        return "unfinished"
    return "" if any(test.run for each in files for test in each.tests) else "nothing was measured"


def failing_lines(test: TestEntry) -> Sequence[str]:
    """Return why a test failed, a line each."""
    return test.message or (
        *test.notes,
        f"pytest's outcome: {test.outcome}; the test or its set-up failed, see the log of pytest",
    )


def value(metric: Metric, entry: MetricEntry) -> str:
    """Write a value with the range of its sessions: "48.72 tok/s (9.1–167)"."""
    text = metric.unit.format(entry.value)
    if len(entry.samples) > 1 and entry.low != entry.high:
        low, high = metric.unit.format(entry.low, 3), metric.unit.format(entry.high, 3)
        unit = text.partition(" ")[2]
        if low.endswith(f" {unit}") and high.endswith(f" {unit}"):
            low, high = low.removesuffix(f" {unit}"), high.removesuffix(f" {unit}")
        text += f" ({low}–{high})"
    return f"{text} {NOISY}" if entry.noisy else text


def _rows(metric: Metric, entry: MetricEntry) -> Iterator[Row]:
    shown, limit = value(metric, entry), _limit(metric, entry)
    judged = [] if entry.limit is None else [entry.limit.verdict]
    parts: list[Part | None] = [*_parts(entry)]
    for part in parts or [None]:
        verdict = worst([*judged, *([] if part is None else [part.verdict])])
        if isinstance(part, ClaimEntry):
            limit = ", ".join(filter(None, (limit, f"faster by {ratio(part.by)}")))
        yield Row(metric.title, shown, _reference(metric, part), _change(part), limit, verdict)
        shown, limit, judged = "", "", []  # told once


def _parts(entry: MetricEntry) -> list[Part]:
    found = (entry.standing_baseline, entry.comparison, entry.claim)
    return [each for each in found if each is not None]


def _reference(metric: Metric, part: Part | None) -> str:
    if part is None:
        return ""
    if not isinstance(part, BaselineEntry):
        return metric.unit.format(part.reference_value)
    if part.value is None or part.anchored is not None:  # a ratio has no value of its own
        return ""
    return metric.unit.format(part.value)


def _change(part: Part | None) -> str:
    if part is None or part.change is None:
        return ""
    return percent(part.change) + (f" ({span(part.interval)})" if part.interval is not None else "")


def _limit(metric: Metric, entry: MetricEntry) -> str:
    if entry.limit is None:
        return ""
    sign = "≥" if metric.better == "higher" else "≤"
    return f"{sign} {metric.unit.format(entry.limit.bound)}"


def _output(test: TestEntry) -> str:
    judged = test.output
    if judged is None or judged.comparison is None:
        return ""
    if judged.comparison.same:
        return "same to the last bit"
    return "within tolerance" if judged.verdict is Verdict.PASS else ""
