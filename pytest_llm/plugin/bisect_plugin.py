"""Plugin for ``pytest-llm bisect``: writes the plan, and shares the error rate among its comparisons.

Only ``-p`` loads it, so other runs do not have its options.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.bisect.pytest_runner import Planned, Selected
from pytest_llm.errors import LLMBenchError
from pytest_llm.measure.plan import estimate
from pytest_llm.plugin.state import PROBLEM, bench_of
from pytest_llm.records.serialization import encode
from pytest_llm.stats.sequential import rule_for

if TYPE_CHECKING:
    from pytest_llm.plugin.session import Bench
    from pytest_llm.records import Benchmark


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the file for the plan, and the number of comparisons that share the error rate."""
    parser.addoption("--llm-write-planned", metavar="FILE", help=argparse.SUPPRESS)
    parser.addoption("--llm-comparisons", metavar="N", type=int, default=1, help=argparse.SUPPRESS)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Make the plan that of one of several comparisons, in which builds may be equal, and write it."""
    bench = bench_of(session.config)
    _share(bench, session.config.getoption("--llm-comparisons"))
    file = session.config.getoption("--llm-write-planned")
    if file is not None:
        selected = encode(_selected(bench, session.items))
        Path(file).write_text(json.dumps(selected), encoding="utf-8")


def _share(bench: Bench, comparisons: int) -> None:
    family = bench.plan.family * comparisons
    sessions = rule_for(bench.settings.effort, family).looks[-1]
    campaigns = tuple(
        replace(each, sessions=sessions, equal=None) if each.reference is not None else each
        for each in bench.plan.campaigns
    )
    bench.plan = replace(bench.plan, family=family, campaigns=campaigns)


def _selected(bench: Bench, items: list[pytest.Item]) -> Selected:
    planned: list[Planned] = []
    problems = [f"{item.nodeid}: {item.stash[PROBLEM]}" for item in items if PROBLEM in item.stash]
    for benchmark in bench.plan.benchmarks:
        try:
            planned.append(_planned(bench, benchmark))
        except LLMBenchError as error:
            problems.append(f"{benchmark.nodeid}: {error}")
    return Selected(tuple(planned), tuple(problems))


def _planned(bench: Bench, benchmark: Benchmark) -> Planned:
    campaigns = [each for each in bench.plan.campaigns if each.subject == benchmark.subject]
    captures = tuple(each for each in bench.plan.captures if each.subject == benchmark.subject)
    return Planned(
        nodeid=benchmark.nodeid,
        model=benchmark.subject.model,
        model_sha256=bench.homes.models.resolve(benchmark.subject.model).sha256,
        load_options=benchmark.subject.load_options,
        workload=benchmark.workload,
        gates=benchmark.gates,
        sessions=max((each.sessions for each in campaigns), default=0),
        seconds=estimate(replace(bench.plan, campaigns=tuple(campaigns), captures=captures)),
    )
