"""How variants are told beside the first one: a table, and a sentence each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pytest

from pytest_llm.records import Divergence, TestKey, VariantOutput, Verdict, Workload
from pytest_llm.records.output import Furthest
from pytest_llm.reports.document import TestEntry, VariantEntry
from pytest_llm.reports.variants import groups, sentences, table, word
from pytest_llm.reports.verdict_entries import ComparisonEntry, MetricEntry
from tests.bare import MODEL, SUBJECT
from tests.unit.reports.examples import some_results

if TYPE_CHECKING:
    from collections.abc import Mapping

GENERATION = "generation_tokens_per_second"


def compared(
    verdict: Verdict, change: float | None, interval: tuple[float, float] | None, tolerance: float = 0.05
) -> ComparisonEntry:
    nothing = dict.fromkeys(("bound", "p_regressed", "p_improved", "p_ok", "mde"), None)
    return ComparisonEntry(
        verdict,
        "pair-1",
        100.0,
        (100.0,),
        (),
        None,
        (),
        5,
        "typical",
        change,
        interval,
        reason="a reason" if change is None else "",
        tolerance=tolerance,
        negligible=0.01,
        negligible_asked=None,
        **nothing,
    )


@pytest.mark.parametrize(
    ("verdict", "change", "interval", "told"),
    [
        (Verdict.PASS, 0.001, (-0.02, 0.03), "equal"),
        (Verdict.PASS, 0.08, (0.02, 0.11), "8.0 % faster"),
        (Verdict.PASS, 0.04, (-0.01, 0.09), "undecided"),
        (Verdict.PASS, 0.0, None, "undecided"),
        (Verdict.REGRESSED, -0.126, (-0.14, -0.11), "12.6 % slower"),
        (Verdict.IMPROVED, 0.126, (0.11, 0.14), "12.6 % faster"),
        (Verdict.INCONCLUSIVE, -0.03, (-0.09, 0.02), "undecided"),
        (Verdict.INCONCLUSIVE, -0.03, (-0.06, -0.01), "3.0 % slower"),
        (Verdict.NOT_COVERED, None, None, "not covered"),
        (Verdict.NOT_JUDGED, -0.2, (-0.3, -0.1), "not covered"),
    ],
)
def test_a_speed_is_told_in_a_word(
    verdict: Verdict, change: float | None, interval: tuple[float, float] | None, told: str
) -> None:
    assert word(compared(verdict, change, interval)) == told


def test_a_time_is_longer_and_a_size_is_more() -> None:
    more = compared(Verdict.REGRESSED, 0.5, (0.4, 0.6))
    assert word(more, "lower", "s") == "50.0 % longer"
    assert word(more, "lower", "B") == "50.0 % more"
    assert word(compared(Verdict.IMPROVED, -0.5, (-0.6, -0.4)), "lower", "s") == "50.0 % shorter"
    assert word(compared(Verdict.PASS, 0.0, None, tolerance=0.0), "lower", "") == "equal"


def metric(value: float, variant: ComparisonEntry | None = None, unit: str = "tok/s") -> MetricEntry:
    better: Literal["higher", "lower"] = "higher" if unit == "tok/s" else "lower"
    return MetricEntry(
        value, unit, better, "generation", 50, False, (value,), value, value, False, variant=variant
    )


def entry(
    label: str,
    metrics: Mapping[str, MetricEntry],
    depth: int = 0,
    output: VariantOutput | None = None,
    note: str = "",
) -> TestEntry:
    return TestEntry(
        nodeid=f"t.py::t[{label}-{depth}]",
        key=TestKey("t.py", "t", f"{label}-{depth}"),
        outcome="passed",
        failed_by_verdict=False,
        model=MODEL,
        load_options=SUBJECT.load_options,
        effective_options={},
        workload=Workload(depth=depth),
        run=None if note else "run-1",
        metrics=metrics,
        drift=None,
        output=None,
        operators=(),
        memory=None,
        notes=(note,) if note else (),
        variant=VariantEntry(label, "" if label == "a" else "a", output, ""),
    )


def speed(value: float, verdict: Verdict | None = None, change: float = 0.0) -> dict[str, MetricEntry]:
    found = compared(verdict, change, (change - 0.01, change + 0.01)) if verdict is not None else None
    return {GENERATION: metric(value, found)}


def test_a_sentence_names_depths_only_where_there_are_several() -> None:
    tests = [entry("a", speed(100)), entry("b", speed(100, Verdict.PASS))]
    assert sentences(tests) == ["b against a: generation equal"]
    divergence = Divergence(100, 0.1, 0.2, 0.3, 7, 0.1, 0.1, Furthest(1, 1, -0.1, -0.2))
    away = VariantOutput(divergence)
    tests = [
        entry("a", speed(100)),
        entry("b", speed(100, Verdict.PASS), output=away),
        entry("a", speed(80), 4096),
        entry("b", speed(64, Verdict.REGRESSED, -0.2), 4096, output=away),
    ]
    assert sentences(tests) == [
        "b against a: generation equal at depth 0, 20.0 % slower at depth 4,096; "
        "output KL 0.1, 7 of 100 other tokens"
    ]


def test_more_memory_is_told_from_one_percent_on() -> None:
    def with_ram(label: str, ram: float) -> TestEntry:
        own = speed(100, None if label == "a" else Verdict.PASS)
        return entry(label, {**own, "peak_ram": metric(ram, unit="B")})

    tests = [with_ram("a", 1e8), with_ram("b", 1.001e8), with_ram("c", 1.5e8)]
    assert sentences(tests) == [
        "b against a: generation equal",
        "c against a: generation equal; 47.7 MiB more RAM",
    ]
    assert table(tests)[0].split() == ["variant", "generation", "change", "RAM"]
    assert table(tests)[3].split()[-2:] == ["143.1", "MiB"]


def test_a_variant_that_could_not_be_measured_says_why() -> None:
    tests = [entry("a", speed(100)), entry("b", {}, note="it is too large")]
    assert sentences(tests) == ["b against a: not measured: it is too large"]
    assert "not measured" in table(tests)[2]


def test_a_reason_stands_where_a_change_would() -> None:
    tests = [
        entry("a", speed(100)),
        entry("b", {GENERATION: metric(90, compared(Verdict.NOT_COVERED, None, None))}),
    ]
    assert table(tests)[2].endswith("a reason")


def test_tests_of_one_function_are_a_group_unless_there_is_one_variant() -> None:
    results = replace(
        some_results(), tests=(entry("a", speed(1)), entry("b", speed(1)), entry("a", speed(1), 9))
    )
    assert [len(each) for each in groups(results)] == [3]
    assert groups(replace(results, tests=results.tests[::2])) == []
