"""The registry of metrics."""

from __future__ import annotations

import pytest

from pytest_llm.errors import UnknownNameError, UsageError
from pytest_llm.records import metrics


def test_every_metric_says_what_it_is_and_where_that_comes_from() -> None:
    for name, metric in metrics.METRICS.items():
        assert metric.name == name
        assert metric.title
        assert len(metric.definition) > 40
        assert metric.source


def test_names_are_those_of_the_results_format() -> None:
    assert set(metrics.METRICS) == {
        "prompt_tokens_per_second",
        "generation_tokens_per_second",
        "embedding_tokens_per_second",
        "total_tokens_per_second",
        "first_token_latency",
        "inter_token_latency_p50",
        "inter_token_latency_p90",
        "inter_token_latency_p99",
        "load_time",
        "peak_vram",
        "energy_per_token",
        "peak_ram",
        "peak_ram_anonymous",
        "peak_ram_file",
        "leaked_bytes_per_token",
        "graph_splits",
        "graph_splits_prompt",
        "graph_nodes",
        "graph_nodes_prompt",
        "graphs_reused",
        "kv_cells",
        "draft_acceptance",
        "instructions_per_token",
    }


@pytest.mark.parametrize("name", [*metrics.METRICS, "first_token_latency_p95", "inter_token_latency_p99.9"])
def test_a_metric_is_found_by_its_name(name: str) -> None:
    assert metrics.find(name).name == name


@pytest.mark.parametrize("name", ["generation_tokens_per_secnd", "load_time_p50", "first_token_latency_p"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown metric"):
        metrics.find(name)


def test_the_median_of_a_latency_is_the_declared_metric() -> None:
    assert metrics.at_percentile("first_token_latency", 50) is metrics.METRICS["first_token_latency"]
    assert metrics.at_percentile("inter_token_latency", 90) is metrics.METRICS["inter_token_latency_p90"]


def test_any_other_percentile_is_a_metric_of_its_own() -> None:
    found = metrics.at_percentile("first_token_latency", 95)
    assert (found.name, found.percentile, found.pooled) == ("first_token_latency_p95", 95, True)
    assert found.title == "first-token latency p95"


@pytest.mark.parametrize("percentile", [0, 100, -1, 250, True, "95", float("nan")])
def test_a_percentile_that_is_none_is_refused(percentile: float) -> None:
    with pytest.raises(UsageError, match="percentile"):
        metrics.at_percentile("first_token_latency", percentile)


def test_ram_is_tolerated_by_less_than_all_else() -> None:
    measured = {name: metric for name, metric in metrics.METRICS.items() if not metric.exact}
    own = {name: metric.tolerance for name, metric in measured.items() if metric.tolerance != 0.05}
    assert own == {"peak_ram": 0.03, "peak_ram_anonymous": 0.03, "peak_ram_file": 0.03}
    assert metrics.at_percentile("first_token_latency", 95).tolerance == 0.05
