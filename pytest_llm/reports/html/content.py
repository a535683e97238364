"""The content of the page, from results files: rows of the table, and data of the figures."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.records import Workload, metrics
from pytest_llm.records.metrics import (
    EMBEDDING_SPEED,
    MEMORY_BYTES,
    MEMORY_PHASES,
    MEMORY_SECONDS,
    VRAM_BYTES,
    VRAM_SECONDS,
)
from pytest_llm.records.units import BYTES
from pytest_llm.reports.rows import asked_of, failing_lines, rows, verdicts, worst
from pytest_llm.reports.table import titles_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_llm.checks.findings import Difference
    from pytest_llm.records.metric import Metric
    from pytest_llm.reports.document import Results, TestEntry
    from pytest_llm.reports.rows import Row
    from pytest_llm.reports.verdict_entries import ClaimEntry, ComparisonEntry, MetricEntry

    Figure = Mapping[str, Any]
    Series = tuple[str, ...]

_RESIDENT = MEMORY_SECONDS, MEMORY_BYTES, MEMORY_PHASES
_ON_DEVICES = VRAM_SECONDS, VRAM_BYTES
_DIGITS = 6  # more than a screen shows
_SPEEDS = ("prompt_tokens_per_second", "generation_tokens_per_second", EMBEDDING_SPEED)
# The sizes of a workload that tests sweep, as axes call them.
_SWEPT = {"depth": "depth (tokens)", "parallel": "sequences in parallel", "prompt_tokens": "prompt (tokens)"}


class Entry(NamedTuple):
    """A test of the page.

    Attributes:
        title: Its node id, without folders that all can do without.
        model: Its name; "" if nothing was measured.
        build: The candidate; "" if nothing was measured.
        outcome: Pytest's, or "unfinished".
        verdict: The worst one, or "" if nothing was judged.
        failed: Whether the test failed.
        lines: Why it failed; its notes if it did not.
        rows: Of the table.
        drift: How the candidate differs from its reference.
        figures: What its figures show.
    """

    title: str
    model: str
    build: str
    outcome: str
    verdict: str
    failed: bool
    lines: Sequence[str]
    rows: Sequence[Row]
    drift: Sequence[tuple[str, str, str]]
    figures: Sequence[Figure]


class Overview(NamedTuple):
    """A figure over several tests or files, with its heading."""

    title: str
    figure: Figure


class Content(NamedTuple):
    """Everything that the page shows."""

    tests: Sequence[Entry]
    sweeps: Sequence[Overview]
    trends: Sequence[Overview]

    @property
    def models(self) -> Sequence[str]:
        """Return their names, to choose from."""
        return sorted({each.model for each in self.tests if each.model})

    @property
    def builds(self) -> Sequence[str]:
        """Return their names, to choose from."""
        return sorted({each.build for each in self.tests if each.build})

    @property
    def kinds(self) -> Sequence[str]:
        """Return verdicts and, of tests without one, outcomes, to choose from."""
        return sorted({each.verdict or each.outcome for each in self.tests})


def content_of(files: Sequence[Results]) -> Content:
    """Return what a page on some results files shows."""
    titles = titles_of(list(dict.fromkeys(test.nodeid for each in files for test in each.tests)))
    tests = [_entry(titles[test.nodeid], test, each) for each in files for test in each.tests]
    return Content(tests, [*_sweeps(files)], [*_trends(files, titles)] if len(files) > 1 else [])


def _entry(title: str, test: TestEntry, results: Results) -> Entry:
    verdict, failed = worst(verdicts(test)), test.outcome in ("failed", "error")
    return Entry(
        title,
        test.model.name if test.model is not None else "",
        _build(results, test),
        test.outcome or "unfinished",
        verdict.value if verdict is not None else "",
        failed,
        failing_lines(test) if failed else test.notes,
        rows(test),
        [_difference(each) for each in test.drift.differences] if test.drift is not None else [],
        [
            *(each for name in asked_of(test) for each in _figures(metrics.find(name), test.metrics[name])),
            *_memory(results, test),
        ],
    )


def _build(results: Results, test: TestEntry) -> str:
    return results.runs[test.run].build.release if test.run is not None else ""


def _difference(found: Difference) -> tuple[str, str, str]:
    before, now = ("none" if each is None else str(each) for each in (found.before, found.now))
    return found.name, before, now


def _figures(metric: Metric, entry: MetricEntry) -> Iterator[Figure]:
    """Return the sessions of a metric, and the changes of each pair that was judged by them."""
    symbol, scale = metric.unit.suited(entry.value)
    title = _axis(metric, symbol)
    compared = [each for each in (entry.comparison, entry.claim) if each is not None]
    if len(entry.samples) > 1:
        sides = {"candidate": entry.samples}
        for each in compared[:1]:
            sides["reference"] = each.reference_samples
        values = {side: [_short(value / scale) for value in samples] for side, samples in sides.items()}
        yield {"kind": "sessions", "title": f"{metric.title}: sessions", "value": title, **values}
    for pair in compared:
        if len(pair.log_ratios) > 1:
            title = f"{metric.title}: change in each session"
            yield {"kind": "changes", "title": title, **_changes(metric, pair)}


def _memory(results: Results, test: TestEntry) -> Iterator[Figure]:
    """Return the memory of the first session over time."""
    series = results.runs[test.run].sessions[0].series if test.run is not None else {}
    if any(name not in series for name in _RESIDENT):
        return
    seconds, sizes, (loaded, begun, generating) = (series[name].values for name in _RESIDENT)
    moments, taken = (series[name].values if name in series else () for name in _ON_DEVICES)
    symbol, scale = BYTES.suited(max((*sizes, *taken)))
    phases = {"load": (0.0, loaded), "prompt": (begun, generating), "generation": (generating, seconds[-1])}
    yield {
        "kind": "memory",
        "title": f"resident {'and device ' if taken else ''}memory over time",
        "value": f"memory ({symbol})",
        "seconds": seconds,
        "sizes": [_short(size / scale) for size in sizes],
        **({"device": [moments, [_short(size / scale) for size in taken]]} if taken else {}),
        "phases": {phase: stretch for phase, stretch in phases.items() if stretch[1] > stretch[0]},
    }


def _changes(metric: Metric, pair: ComparisonEntry | ClaimEntry) -> Figure:
    whole = pair.observation == "whole" and pair.whole_log_ratios is not None
    ratios = (pair.whole_log_ratios if whole else pair.log_ratios) or ()
    # Log ratios are of times or sizes: of a speed, a larger one is a smaller speed.
    sign = -1 if metric.better == "higher" else 1
    found: dict[str, Any] = {"ratios": [*map(_short, ratios)], "sign": sign}
    if pair.interval is not None:
        found["interval"] = [*map(_short, pair.interval)]
    if pair.change is not None:
        found["estimate"] = _short(pair.change)
    return found


def _sweeps(files: Sequence[Results]) -> Iterator[Overview]:
    """Return a speed over each size of the workload in which tests of one function differ."""
    found: dict[tuple[str, str, str], dict[Series, dict[int, MetricEntry]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for results in files:
        for test in results.tests:
            for size in _SWEPT:
                series = _series(results, test, size)
                for name in _SPEEDS:
                    if name in test.metrics:
                        function = f"{test.key.module}::{test.key.name}"
                        at = getattr(test.workload, size)
                        found[function, size, name][series][at] = test.metrics[name]
    for (function, size, name), lines in found.items():
        swept = {series: points for series, points in lines.items() if len(points) > 1}
        if not swept:
            continue
        metric, labels = metrics.find(name), _labels([*swept])
        values = [
            {"at": at, "series": labels[series], **_value(points[at], 1.0)}
            for series, points in swept.items()
            for at in sorted(points)
        ]
        title = f"{function}: {metric.title} over {_SWEPT[size].partition(' (')[0]}"
        axes = {"at": _SWEPT[size], "value": _axis(metric, metric.unit.base)}
        yield Overview(title, {"kind": "sweep", "title": title, **axes, "values": values})


def _series(results: Results, test: TestEntry, swept: str) -> Series:
    """Return what a line of a sweep has in common: all but the size that is swept."""
    rest = replace(test.workload, **{swept: getattr(Workload(), swept)})
    options = (f"{name}={value}" for name, value in vars(test.load_options).items())
    return test.model.name if test.model is not None else "", _build(results, test), str(rest), *options


def _labels(found: Sequence[Series]) -> dict[Series, str]:
    """Return names of lines: the parts in which they differ, or else the model."""
    apart = [place for place, values in enumerate(zip(*found, strict=True)) if len(set(values)) > 1]
    return {each: ", ".join(each[place] for place in apart or [0]) for each in found}


def _trends(files: Sequence[Results], titles: Mapping[str, str]) -> Iterator[Overview]:
    """Return each metric that was asked of a test of several files, over their dates."""
    found: dict[tuple[str, str], list[tuple[Results, TestEntry]]] = defaultdict(list)
    for results in sorted(files, key=lambda each: each.started):
        for test in results.tests:
            for name in asked_of(test):
                found[titles[test.nodeid], name].append((results, test))
    for (test_title, name), points in found.items():
        if len({results.started for results, _ in points}) < 2:
            continue
        metric = metrics.find(name)
        symbol, scale = metric.unit.suited(points[0][1].metrics[name].value)
        values = [
            {
                "date": results.started,
                "build": _build(results, test),
                "series": results.machine.cpu,
                **_value(test.metrics[name], scale),
            }
            for results, test in points
        ]
        title = f"{test_title}: {metric.title}"
        yield Overview(
            title, {"kind": "trend", "title": title, "value": _axis(metric, symbol), "values": values}
        )


def _value(entry: MetricEntry, scale: float) -> dict[str, float]:
    values = {"value": entry.value, "low": entry.low, "high": entry.high}
    return {name: _short(each / scale) for name, each in values.items()}


def _axis(metric: Metric, symbol: str) -> str:
    return f"{metric.title} ({symbol})" if symbol else metric.title


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
