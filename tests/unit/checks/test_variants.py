"""How a variant's speed is told beside the first one's."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llm.checks.findings import Comparison
from pytest_llm.checks.variants import Row, Speed, sentences, word
from pytest_llm.records import Gate, Verdict, Workload
from pytest_llm.records.metrics import METRICS

GATE = Gate(METRICS["generation_tokens_per_second"], 0.05)
NO_RUN: Any = None


def compared(verdict: Verdict, change: float | None, interval: tuple[float, float] | None) -> Comparison:
    return Comparison(verdict, GATE, NO_RUN, change=change, interval=interval)


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
    ],
)
def test_a_speed_is_told_in_a_word(
    verdict: Verdict, change: float | None, interval: tuple[float, float] | None, told: str
) -> None:
    assert word(compared(verdict, change, interval)) == told


def row(label: str, depth: int, comparison: Comparison | None, ram: float) -> Row:
    return Row(label, Workload(depth=depth), (Speed("generation", None, comparison),), {"RAM": ram})


def test_a_sentence_names_depths_only_where_there_are_several() -> None:
    equal = compared(Verdict.PASS, 0.0, (-0.01, 0.01))
    slower = compared(Verdict.REGRESSED, -0.2, (-0.3, -0.1))
    rows = [row("a", 0, None, 1e8), row("b", 0, equal, 1.001e8)]
    assert sentences(only_generation(rows), {}) == ["b against a: generation equal"]
    rows += [row("a", 4096, None, 1e8), row("b", 4096, slower, 2e8)]
    assert sentences(only_generation(rows), {"b": "output KL 0.1"}) == [
        "b against a: generation equal at depth 0, 20.0 % slower at depth 4,096; output KL 0.1"
    ]


def only_generation(rows: list[Row]) -> list[Row]:
    return [each._replace(speeds=(Speed("prompt", None, None), *each.speeds)) for each in rows]


def test_more_memory_is_told_from_one_percent_on() -> None:
    rows = only_generation([row("a", 0, None, 1e8), row("b", 0, compared(Verdict.PASS, 0.0, None), 1.5e8)])
    assert sentences(rows, {}) == ["b against a: generation undecided; 47.7 MiB more RAM"]


def test_a_variant_that_could_not_be_measured_says_why() -> None:
    rows = [row("a", 0, None, 1e8), Row("b", Workload(), problem="it is too large")]
    assert sentences(rows, {}) == ["b against a: not measured: it is too large"]
