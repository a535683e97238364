"""Results with a verdict of each kind: limits, stored runs, pairs, claims, and a test that died."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from pytest_llm.baselines import Missing
from pytest_llm.checks import check_stored_runs, compare_runs, judge_limits
from pytest_llm.checks.family import Decisions
from pytest_llm.checks.findings import Difference, Drift, Finding
from pytest_llm.records import (
    ALWAYS_FAILING,
    Benchmark,
    Claim,
    Gate,
    Limit,
    LoadOptions,
    OperatorCase,
    OperatorRun,
    OperatorTimes,
    PairedRun,
    Provenance,
    Run,
    Series,
    Session,
    StoredRun,
    Struck,
    TestKey,
    Turns,
    Workload,
)
from pytest_llm.records.metrics import (
    MEMORY_BYTES,
    MEMORY_PHASES,
    MEMORY_SECONDS,
    METRICS,
    at_percentile,
)
from pytest_llm.reports.document import Machine, Results
from pytest_llm.reports.results import results_of
from pytest_llm.stats.sequential import rule_for
from pytest_llm.stats.summary import summarize_all
from tests.bare import BUILD, RUN

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
MACHINE = Machine("abc", "a CPU", 2, 24, "Linux x86_64", None)
LIMITS = (
    Limit(METRICS["generation_tokens_per_second"], 90.0),
    Limit(at_percentile("first_token_latency", 95), 0.3),
    Limit(METRICS["peak_ram_anonymous"], 1.0),
)


OF_MEMORY = {
    MEMORY_SECONDS: Series((0.0, 0.5, 1.0, 1.5, 2.5, 4.0)),
    MEMORY_BYTES: Series((1e7, 1e8, 3e8, 3e8, 3.5e8, 3.6e8)),
    MEMORY_PHASES: Series((1.0, 1.2, 2.5)),
}


def a_run() -> Run:
    sessions = tuple(
        Session(
            {
                "generation": Series((seconds, 0.04), tokens=4),
                "first_token": Series((0.1 + seconds, 0.2, 0.4) * 5),
                "inter_token": Series(()),
                **(OF_MEMORY if seconds == 0.041 else {}),
            }
        )
        for seconds in (0.041, 0.1 / 3, 0.05)
    )
    return replace(
        RUN,
        build=replace(BUILD, compiled_with="AVX2", environment={"OMP_X": "1"}),
        effective_options={"n_ctx": 4096, "buffers_mib": {"CPU KV": 45.0}},
        sessions=sessions,
        measurements=summarize_all(sessions),
        invariants={"token_ids": [1, 2], "effective_options": {"flash_attn": "on"}},
    )


STORED = tuple(
    StoredRun(
        value, Provenance("llama-cpp-python 0.3.35", "4df29be", "2026-01-01T00:00:00+00:00", "0.1.0"), note
    )
    for value, note in ((120.0, ""), (121.0, ""), (119.0, "as told"), (118.5, ""), (120.5, ""))
)
GATES = (
    Gate(METRICS["generation_tokens_per_second"], 0.05),
    Gate(at_percentile("first_token_latency", 90), 0.2),
    Gate(METRICS["peak_ram"], 0.05),
)
FAMILY = 7
LEFT_OUT = "2 more left out, read in another way: per process"

OPERATORS = OperatorRun(
    "generation",
    times=(
        OperatorTimes(
            OperatorCase("MUL_MAT", "q4_1 576×1536, n=1", 60, "name=ffn_gate-0"),
            (3e-5, 2e-5),
            (3e-5, 3.1e-5, 2.9e-5, 3e-5, 3.05e-5, 3e-5),
            (2e-5,) * 6,
        ),
        OperatorTimes(OperatorCase("ADD", "f32 576", 61, "name=ffn_inp-0"), (1e-6, 1e-6)),
    ),
    not_covered=("ROPE f32 64: the candidate does not support it",),
    seconds=60.0,
)


def findings() -> list[Finding]:
    run = a_run()
    speed, latency, memory = GATES
    baseline_checks = (
        check_stored_runs(run, speed, STORED, FAMILY, left_out=LEFT_OUT),
        check_stored_runs(run, latency, (), FAMILY, Missing("recorded with n_threads=2, now 4")),
        check_stored_runs(run, memory, (), FAMILY),
    )
    drift = Drift((Difference("flash_attn", "off", "on"), Difference("greedy_output", [1], [2])))
    one = Benchmark(
        "t.py::a", TestKey("t", "a"), run.subject, run.workload, LIMITS, file="models/t.py", line=12
    )
    two = Benchmark("t.py::b", TestKey("t", "b", "x=1"), run.subject, run.workload, gates=GATES)
    dead = Benchmark(
        "t.py::c", TestKey("t", "c"), run.subject, Workload(depth=9), file="models/t.py", line=40
    )
    return [
        Finding(
            one,
            run,
            tuple(judge_limits(run, one.limits)),
            outcome="failed",
            failed_by_verdict=True,
            operators=(OPERATORS,),
        ),
        Finding(
            two, run, baseline_checks=baseline_checks, drift=drift, outcome="failed", failed_by_verdict=True
        ),
        Finding(dead, problem="the worker ended", outcome="error"),
    ]


def paired_sessions(log_ratios: Sequence[float], seed: int) -> tuple[Session, ...]:
    drawn = random.Random(seed)
    return tuple(
        Session(
            {
                "generation": Series(tuple(_context(0.04, each, drawn) for _ in range(5)), tokens=4),
                "first_token": Series(tuple(_context(0.3, each, drawn) for _ in range(20))),
                "inter_token": Series(()),
                "load": Series((0.0 if number == 7 else _context(1.0, each, drawn),)),
            }
        )
        for number, each in enumerate(log_ratios)
    )


def _context(seconds: float, log_ratio: float, drawn: random.Random) -> float:
    return seconds * math.exp(log_ratio + drawn.gauss(0, 0.01))


def a_pair(seed: int, of_reference: LoadOptions | None = None) -> PairedRun:
    run = a_run()
    sessions = rule_for("normal", FAMILY).least_sessions + 1
    candidate = replace(run, sessions=paired_sessions([0.1] * sessions, seed))
    candidate = replace(candidate, measurements=summarize_all(candidate.sessions))
    subject = replace(run.subject, load_options=of_reference or run.subject.load_options)
    build = run.build if of_reference else replace(run.build, version="0.3.35", llama_cpp_commit="4df29be")
    reference = replace(
        run, subject=subject, build=build, sessions=paired_sessions([0.0] * sessions, seed + 1)
    )
    struck = {"CPU quota used up": Struck((0,), ()), "CPU steal above 5%": Struck((1,), (1,))}
    turns = tuple({"generation": Turns("01", struck if number == 2 else {})} for number in range(sessions))
    return PairedRun(
        candidate,
        reference,
        turns,
        not_interleaved=seed % 2 == 1,
        cut_off="no time" * (seed % 2),
    )


COMPARED = (
    Gate(METRICS["generation_tokens_per_second"], 0.05),
    Gate(at_percentile("first_token_latency", 90), 0.2),
    Gate(METRICS["load_time"], 0.3),
    Gate(METRICS["peak_ram"], 0.05),
)


def the_pairs() -> tuple[PairedRun, PairedRun, PairedRun]:
    pair, slower = a_pair(2), a_pair(4, LoadOptions(flash_attn="off", n_ubatch=64))
    last = a_pair(5)
    deep = (replace(each, workload=Workload(depth=5)) for each in (last.candidate, last.reference))
    deep_candidate, deep_reference = deep
    last = replace(last, candidate=deep_candidate, reference=deep_reference)
    return pair, replace(slower, campaign=1), last


def asked_of(pairs: tuple[PairedRun, PairedRun, PairedRun]) -> list[tuple[PairedRun, Gate | Claim]]:
    pair, slower, not_interleaved = pairs
    claim = Claim(METRICS["total_tokens_per_second"], 0.1, slower.reference.subject)
    return [
        *((pair, gate) for gate in COMPARED),
        *((slower, each) for each in (replace(claim, metric=COMPARED[0].metric), claim)),
        (not_interleaved, COMPARED[0]),
    ]


def compared_findings() -> list[Finding]:
    pairs = the_pairs()
    return findings_of(pairs, Decisions(rule_for("normal", FAMILY), asked_of(pairs)))


def findings_of(pairs: tuple[PairedRun, PairedRun, PairedRun], decisions: Decisions) -> list[Finding]:
    pair, slower, not_interleaved = pairs
    claims = tuple(asked for _, asked in asked_of(pairs) if isinstance(asked, Claim))
    both = Benchmark("t.py::d", TestKey("t", "d"), pair.candidate.subject, Workload(), (), COMPARED, claims)
    one = Benchmark(
        "t.py::e", TestKey("t", "e"), not_interleaved.candidate.subject, Workload(depth=5), (), COMPARED[:1]
    )
    return [
        Finding(
            both,
            pair.candidate,
            comparisons=(
                *(compare_runs(pair, gate, decisions) for gate in COMPARED),
                *(compare_runs(slower, each, decisions) for each in claims),
            ),
            drift=Drift(),
            outcome="failed",
            failed_by_verdict=True,
        ),
        Finding(
            one,
            not_interleaved.candidate,
            comparisons=(compare_runs(not_interleaved, COMPARED[0], decisions),),
            drift=Drift((Difference("flash_attn", "off", "on"),)),
            outcome="failed",
        ),
    ]


def results_of_pairs() -> Results:
    pairs, rule = the_pairs(), rule_for("normal", FAMILY)
    found = findings_of(pairs, Decisions(rule, asked_of(pairs)))
    return results_of(found, NOW, NOW, MACHINE, rule, questions=asked_of(pairs), failing=ALWAYS_FAILING)


def some_results() -> Results:
    return results_of(findings(), NOW, NOW, MACHINE, rule_for("normal", FAMILY), failing=ALWAYS_FAILING)


def many_results(count: int) -> Results:
    """Results of as many tests, each with the gates and claims of a pair."""
    found = results_of_pairs()
    first, second = found.tests
    tests = [
        replace(each, nodeid=f"tests/test_{number % 7}.py::test_speed[{number}]")
        for number, each in zip(range(count), itertools.cycle((first, second)), strict=False)
    ]
    return replace(found, tests=tuple(tests))


def swept_results() -> Results:
    """Results of one test at three depths, with two models."""
    found = results_of_pairs()
    speed = "generation_tokens_per_second"
    (first, *_), tests = found.tests, []
    assert first.model is not None
    for model, depth in itertools.product(("small.gguf", "large.gguf"), (0, 4096, 16384)):
        entry, slower = first.metrics[speed], 1 + depth / 8192
        values = {name: getattr(entry, name) / slower for name in ("value", "low", "high")}
        tests.append(
            replace(
                first,
                nodeid=f"t.py::depth[{model}-{depth}]",
                key=TestKey("t", "depth", f"{model}-{depth}"),
                model=replace(first.model, name=model),
                workload=Workload(depth=depth),
                outcome="passed",
                message=(),
                metrics={speed: replace(entry, **values, comparison=None, claim=None)},
            )
        )
    return replace(found, tests=tuple(tests))


def later(results: Results, days: int) -> Results:
    """The same results, so many days later."""
    return replace(results, started=(NOW + timedelta(days=days)).isoformat(timespec="seconds"))
