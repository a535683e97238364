"""Variants side by side: one table, and in a sentence what a person wanted to know of each."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from pytest_llm.checks.format import percent, span
from pytest_llm.records import Verdict, Workload, metrics
from pytest_llm.records.units import BYTES, SECONDS
from pytest_llm.reports.table import flush_left

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_llm.reports.document import Results, TestEntry
    from pytest_llm.reports.verdict_entries import ComparisonEntry

_SHORT = {"prompt_tokens_per_second": "prompt", "generation_tokens_per_second": "generation"}
_MEMORY = {"peak_ram": "RAM", "peak_vram": "VRAM"}
_SAME_MEMORY = 0.01  # a share: one build differs from itself by less


def lines_of(results: Results) -> list[str]:
    """Return the tables and sentences of all functions with variants; none if there are none."""
    found: list[str] = []
    for group in groups(results):
        found += ["", *table(group), "", *sentences(group)]
    return found[1:]


def groups(results: Results) -> list[list[TestEntry]]:
    """Return the tests of each function with several variants."""
    found: dict[tuple[str, str, str], list[TestEntry]] = {}
    for test in results.tests:
        if test.variant is not None:
            found.setdefault((test.home, test.key.module, test.key.name), []).append(test)
    return [_by_work(each) for each in found.values() if len({_label(test) for test in each}) > 1]


def _by_work(tests: Sequence[TestEntry]) -> list[TestEntry]:
    works = [test.workload for test in tests]
    return sorted(tests, key=lambda test: works.index(test.workload))


def table(tests: Sequence[TestEntry]) -> list[str]:
    """Return a table of variants, in the order of the tests."""
    names = asked(tests)
    memory = [name for name in _MEMORY if name not in names and any(name in test.metrics for test in tests)]
    works = _works(tests)
    outputs = any(test.variant and test.variant.output for test in tests)
    head = ["variant", *([works[0]] if works[0] else [])]
    head += [title for name in names for title in (_title(name), "change")]
    head += [*(_MEMORY[name] for name in memory), *(["output"] if outputs else [])]
    rows = [head]
    for test in tests:
        cells = [_label(test), *([_work(test, works[1])] if works[0] else [])]
        for name in names:
            cells += [_value(test, name), _change(test, name)]
        cells += [_value(test, name) for name in memory]
        rows.append([*cells, *([_output(test)] if outputs else [])])
    return flush_left(rows)


def asked(tests: Sequence[TestEntry]) -> list[str]:
    """Return the metrics in which variants are compared; the speeds, if none could be."""
    found = dict.fromkeys(name for test in tests for name, entry in test.metrics.items() if entry.variant)
    order = list(metrics.METRICS)
    known = sorted(found, key=lambda name: order.index(name) if name in order else len(order))
    return known or [*_SHORT]


def sentences(tests: Sequence[TestEntry]) -> list[str]:
    """Return a sentence on each variant but the first."""
    others = dict.fromkeys(_label(test) for test in tests if test.variant and test.variant.against)
    return [_sentence([test for test in tests if _label(test) == label], tests) for label in others]


def word(compared: ComparisonEntry, better: str = "higher", unit: str = "tok/s") -> str:
    """Return how a metric compares: "12 % faster", "equal", "undecided".

    Args:
        compared: With the first variant.
        better: Which way is better.
        unit: The base unit of the metric.
    """
    change, interval = compared.change, compared.interval
    if change is None or compared.verdict in (Verdict.NOT_COVERED, Verdict.NOT_JUDGED):
        return "not covered"
    words = ("faster", "slower") if better == "higher" else ("more", "less")
    words = ("longer", "shorter") if unit == SECONDS.base else words
    size = f"{percent(abs(change)).lstrip('+')} {words[change <= 0]}"
    if compared.verdict in (Verdict.REGRESSED, Verdict.IMPROVED):
        return size
    if interval is None:
        return "equal" if change == 0 and not compared.tolerance else "undecided"
    low, high = interval
    if -compared.tolerance <= low and high <= compared.tolerance:
        return "equal"
    return size if low > 0 or high < 0 else "undecided"


def _sentence(own: Sequence[TestEntry], tests: Sequence[TestEntry]) -> str:
    assert own[0].variant is not None
    against = own[0].variant.against
    missing = next((test for test in own if test.run is None), None)
    if missing is not None:
        return f"{_label(missing)} against {against}: not measured: {'; '.join(missing.notes)}"
    parts = [part for name in asked(tests) for part in _compared(name, own, _works(tests)[1])]
    first = next(test for test in tests if test.workload == own[0].workload and _label(test) == against)
    parts += _memory(own[0], first)
    output = _output(own[0])
    parts += [f"output {output}"] if output else []
    return f"{_label(own[0])} against {against}: {'; '.join(parts)}"


def _compared(name: str, own: Sequence[TestEntry], works: Sequence[str]) -> Iterator[str]:
    told: dict[str, list[str]] = {}
    for test in own:
        entry = test.metrics.get(name)
        if entry is not None and entry.variant is not None:
            what = word(entry.variant, entry.better, entry.unit)
            told.setdefault(what, []).append(_work(test, works))
    if told:
        at = f" at {works[0]} " if len(works) == 1 else " at "
        each = [f"{what}{at}{' and '.join(places)}" if works else what for what, places in told.items()]
        yield f"{_title(name)} {', '.join(each)}"


def _memory(own: TestEntry, first: TestEntry) -> Iterator[str]:
    for name, title in _MEMORY.items():
        entry, before = own.metrics.get(name), first.metrics.get(name)
        if entry is None or before is None or entry.variant is not None:
            continue
        if abs(entry.value - before.value) > _SAME_MEMORY * before.value:
            which = "more" if entry.value > before.value else "less"
            yield f"{BYTES.format(abs(entry.value - before.value), 3)} {which} {title}"


def _works(tests: Sequence[TestEntry]) -> tuple[str, list[str]]:
    """Return the head of the column of workloads, and the arguments in which they differ; "" if in none."""
    differ = [
        each.name
        for each in fields(Workload)
        if len({getattr(test.workload, each.name) for test in tests}) > 1
    ]
    return (differ[0] if len(differ) == 1 else "workload" if differ else ""), differ


def _work(test: TestEntry, differ: Sequence[str]) -> str:
    values = [getattr(test.workload, name) for name in differ]
    if len(differ) == 1:
        return f"{values[0]:,}"
    return ", ".join(f"{name}={value}" for name, value in zip(differ, values, strict=True))


def _label(test: TestEntry) -> str:
    return test.variant.label if test.variant is not None else ""


def _title(name: str) -> str:
    return _SHORT.get(name) or _MEMORY.get(name) or metrics.find(name).title


def _value(test: TestEntry, name: str) -> str:
    entry = test.metrics.get(name)
    if entry is None:
        return "not measured" if test.run is None and name in _SHORT else ""
    return metrics.find(name).unit.format(entry.value)


def _change(test: TestEntry, name: str) -> str:
    entry = test.metrics.get(name)
    found = entry.variant if entry is not None else None
    if found is None:
        return ""
    if found.change is None:
        return found.reason
    return percent(found.change) + (f" ({span(found.interval)})" if found.interval is not None else "")


def _output(test: TestEntry) -> str:
    return str(test.variant.output) if test.variant is not None and test.variant.output else ""
