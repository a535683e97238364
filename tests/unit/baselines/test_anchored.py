"""Ratios to an anchor: classes of machines, and the spread that all gates of a class share."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_llm.baselines import RecordedRuns, Series
from pytest_llm.baselines.anchored import Offset, class_name, class_of, migrated, pooled_spreads
from pytest_llm.baselines.records import RATIO, Anchor, Conditions
from pytest_llm.records import StoredRun, Verdict
from pytest_llm.records.metrics import METRICS
from tests.unit.baselines.things import CONDITIONS, PROVENANCE

if TYPE_CHECKING:
    from pytest_llm.records import JSON

PROMPT = "prompt_tokens_per_second"
GENERATION = "generation_tokens_per_second"
PARTS: dict[str, JSON] = {
    "cpu": "a CPU",
    "cores": 2,
    "instruction_sets": "avx2 fma",
    "devices": "",
    "system": "Linux x86_64",
}


def recorded(**series: list[StoredRun]) -> RecordedRuns:
    return RecordedRuns(CONDITIONS, {name: Series(RATIO, tuple(runs)) for name, runs in series.items()})


def runs(*values: float) -> list[StoredRun]:
    """Ratios whose whole observation spreads twice as much."""
    return [StoredRun(each, PROVENANCE, whole=2 * each) for each in values]


def test_a_class_is_what_speed_ratios_may_depend_on() -> None:
    assert class_of({**PARTS, "cpu": "another", "cores": 64}) == class_of(PARTS)
    twice = class_of({**PARTS, "devices": "NVIDIA H100, NVIDIA H100"})
    assert twice == class_of({**PARTS, "devices": "NVIDIA H100"})
    others = [twice, *(class_of({**PARTS, name: "other"}) for name in ("instruction_sets", "system"))]
    assert len({class_name(each) for each in [class_of(PARTS), *others]}) == 4


def test_the_spread_is_pooled_over_gates_each_about_its_own_mean() -> None:
    far, near = [0.5, 0.51, 0.52], [0.0, 0.004]
    stored = [recorded(**{PROMPT: runs(*far)}), recorded(**{GENERATION: runs(*near)})]
    typical, whole = pooled_spreads(METRICS[GENERATION], stored)
    squares = 2 * statistics.variance(far) + statistics.variance(near)
    assert typical is not None
    assert whole is not None
    assert (typical.degrees, whole.degrees) == (3, 3)
    assert typical.sd == pytest.approx(math.sqrt(squares / 3))
    assert whole.sd == pytest.approx(2 * typical.sd)


def test_metrics_of_other_units_and_runs_read_otherwise_have_spreads_of_their_own() -> None:
    memory = recorded(peak_ram=runs(0.0, 0.5, 1.0), load_time=runs(0.0, 0.5))
    speeds = recorded(**{GENERATION: runs(0.0, 0.01), "no_metric": runs(0.0, 9.0)})
    typical, _ = pooled_spreads(METRICS[GENERATION], [memory, speeds])
    assert typical is not None
    assert typical.degrees == 1
    otherwise = [replace(each, note="otherwise") for each in runs(0.5, 0.51)]
    mixed, _ = pooled_spreads(METRICS["peak_ram"], [recorded(peak_ram=[*runs(0.0, 0.01), *otherwise])])
    assert mixed is not None
    assert mixed.degrees == 2
    assert mixed.sd == pytest.approx(0.01 / math.sqrt(2))


def test_a_loss_that_was_stored_widens_no_interval() -> None:
    lost = replace(runs(0.3)[0], verdict=Verdict.REGRESSED)
    with_loss = [recorded(**{GENERATION: [*runs(0.0, 0.01, 0.02), lost]})]
    without = [recorded(**{GENERATION: runs(0.0, 0.01, 0.02)})]
    assert pooled_spreads(METRICS[GENERATION], with_loss) == pooled_spreads(METRICS[GENERATION], without)


def test_nothing_stored_has_no_spread() -> None:
    assert pooled_spreads(METRICS[GENERATION], [recorded(**{GENERATION: runs(0.1)})]) == (None, None)


def test_ratios_to_another_anchor_are_shifted_and_know_how_sure_that_is() -> None:
    now = Anchor("llama-cpp-python 0.3.36")
    stored = recorded(**{GENERATION: [*runs(0.1, 0.2), StoredRun(0.3, PROVENANCE)]})
    once = migrated(stored, {GENERATION: Offset(0.1, 0.05, 4)}, now)
    assert once.conditions == replace(CONDITIONS, anchor=now)
    found = once.metrics[GENERATION].runs
    assert [each.value for each in found] == pytest.approx([0.0, 0.1, 0.2])
    assert [each.whole for each in found[:2]] == pytest.approx([0.15, 0.35])
    assert found[2].whole is None
    assert {each.migrated for each in found} == {0.25}
    twice = migrated(once, {GENERATION: Offset(0.1, None, 2)}, now).metrics[GENERATION].runs
    assert {(each.whole, each.migrated) for each in twice} == {(None, 0.75)}


def test_another_anchor_and_another_compilation_are_told() -> None:
    was, now = Anchor("llama-cpp-python 0.3.30", "CPU : AVX2 = 1"), Anchor("llama-cpp-python 0.3.35")

    def difference(one: Anchor | None, other: Anchor | None) -> str:
        return replace(CONDITIONS, anchor=one).difference(replace(CONDITIONS, anchor=other))

    assert difference(was, was) == difference(None, was) == ""
    assert difference(was, now).startswith("recorded with the anchor llama-cpp-python 0.3.30, now ")
    assert "compiled with 'CPU : AVX2 = 1', now with ''" in difference(was, replace(was, compiled_with=""))
    assert Conditions.difference(CONDITIONS, CONDITIONS) == ""
