"""Slices are cut out of requests: their speed is that of a request's own tokens."""

from __future__ import annotations

import math
from statistics import fmean, median
from typing import TYPE_CHECKING

import pytest

from pytest_llm.machine.environment import measurement_context
from pytest_llm.measure import TimeLimits
from pytest_llm.measure.budgets import Budget, Budgets
from pytest_llm.measure.rounds import cut, measure_rounds, pace_of
from pytest_llm.records import Workload
from pytest_llm.reports.progress import ProgressDisplay

if TYPE_CHECKING:
    from tests.system.engines.conftest import Start

ONCE = Budgets(Budget(1, 1, 0.0), Budget(1, 1, 0.0))
MOST_BATCHES = 5
ONE = pytest.approx(1, abs=0.1)
# Those of tests/regression, and how many requests make a batch.
WORKLOADS = [(Workload(128, 64), 5), (Workload(1280, 16), 3), (Workload(128, 64, depth=1024), 3)]


@pytest.mark.timed
@pytest.mark.parametrize(("workload", "times"), WORKLOADS, ids=["chat", "long prompt", "deep"])
def test_generation_speed_times_inter_token_latency_is_one(
    start: Start, workload: Workload, times: int
) -> None:
    loaded = start(n_ctx=2048)
    slices = cut(workload, [pace_of(loaded, loaded.rehearse(workload))])
    context = measurement_context(ProgressDisplay(lambda _: None), TimeLimits(workload=math.inf))
    products: list[float] = []
    # On a busy machine single products spread by a fifth: a median that is off is taken again, of more.
    while len(products) < MOST_BATCHES * times and not (products and median(products) == ONE):
        for _ in range(times):
            (series,), _ = measure_rounds([loaded], workload, slices, ONCE, context, requests=1)
            generation = series["generation"]
            speed = sum(generation.each_tokens()) / sum(generation.values)
            products.append(speed * fmean(series["inter_token"].values))
    # Slices at another depth miss it by more than half; benchmarks/agreement.py asks for 3 %.
    assert median(products) == ONE, products
