"""A slow build turns a test red: the whole chain from llama.cpp's graphs to pytest's message is real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.errors import WorkerDiedError
from pytest_llm.records import Workload
from tests.golden import assert_golden

from .inner import failure_of, measure
from .preload import Fault, compile_library, installed_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_llm.engines.llama_cpp_python.client import LoadedModel

    from .conftest import Start

GOLDEN = Path(__file__).parent / "golden"
WORKLOAD = Workload(prompt_tokens=16, generate_tokens=16)
ROUNDS = 31
STEPS = 4

HEAD = """
import pytest

pytestmark = [
    pytest.mark.llm_model("smollm2-135m", n_ctx=512, n_threads=1),
    pytest.mark.llm_workload(prompt_tokens=8, generate_tokens=8),
]
"""

MEASURED = """
def test_speed(llm_bench):
    pass
"""

# Half way, in logarithms, between the installed build and one whose every graph takes nine times as long: the
# runs follow one another, and a shared machine gives half its speed for a minute to another.
FACTOR = 3.0
SLOW = Fault(slowdown=FACTOR**2 - 1)
LIMITED = """
@pytest.mark.llm_tokens_per_second(min={low_prompt!r}, phase="prompt")
@pytest.mark.llm_tokens_per_second(min={low_generation!r})
@pytest.mark.llm_inter_token_latency(max={high_latency!r})
def test_kept(llm_bench):
    pass

@pytest.mark.llm_tokens_per_second(min={high_generation!r})
def test_exceeded(llm_bench):
    pass
"""


def prompt_seconds(subject: LoadedModel) -> float:
    seconds = subject.prompt_slice(WORKLOAD.prompt_tokens)[1]
    subject.end_round()
    return seconds


def generation_seconds(subject: LoadedModel) -> float:
    seconds = subject.generation_slice(STEPS)[1]
    subject.end_round()
    return seconds


def slowdown(
    slow: LoadedModel,
    normal: LoadedModel,
    seconds_of: Callable[[LoadedModel], float],
    rounds: int = ROUNDS,
) -> float:
    """How many times as long one takes: the median over rounds in which each goes first as often."""
    ratios = []
    for number in range(rounds):
        order = (slow, normal) if number % 2 else (normal, slow)
        seconds = {each.pid: seconds_of(each) for each in order}
        ratios.append(seconds[slow.pid] / seconds[normal.pid])
    return median(ratios)


@pytest.mark.timed
@pytest.mark.parametrize("phase", ["prompt", "generation"])
def test_graphs_that_take_twice_the_time_double_the_time_of_a_slice(phase: str, start: Start) -> None:
    normal, slow = start(), start(Fault(slowdown=1.0))
    for each in normal, slow:
        each.rehearse(WORKLOAD)
    seconds_of = prompt_seconds if phase == "prompt" else generation_seconds
    assert 1.5 < slowdown(slow, normal, seconds_of) < 2.7


@pytest.mark.timed
def test_a_worker_that_is_only_watched_by_the_library_is_not_slower(start: Start) -> None:
    normal, watched = start(), start(Fault(slowdown=1.0, begin=10**9))
    for each in normal, watched:
        each.rehearse(WORKLOAD)
    assert 0.75 < slowdown(watched, normal, generation_seconds) < 1.33


@pytest.mark.timed
def test_a_slowdown_begins_at_the_graph_that_it_is_told(start: Start) -> None:
    rehearsal, a_slice = WORKLOAD.generate_tokens, STEPS + 1  # graphs: one prompt or one token each
    subject = start(Fault(slowdown=3.0, begin=rehearsal + 12 * a_slice))
    subject.rehearse(WORKLOAD)
    seconds = [generation_seconds(subject) for _ in range(24)]
    assert 2.5 < median(seconds[13:]) / median(seconds[:11]) < 6


@pytest.mark.timed
@pytest.mark.parametrize("flash_attn", ["on", "off"])
def test_only_graphs_deeper_than_told_are_slowed(flash_attn: str, start: Start) -> None:
    normal = start(n_ctx=512, flash_attn=flash_attn)
    slow = start(Fault(slowdown=1.0, deeper_than=256), n_ctx=512, flash_attn=flash_attn)
    for depth, low, high in (0, 0.75, 1.33), (256, 1.5, 2.7):
        for each in normal, slow:
            each.rehearse(replace(WORKLOAD, depth=depth))
        assert low < slowdown(slow, normal, generation_seconds, rounds=15) < high, depth


def test_a_depth_is_never_read_by_the_header_of_another_ggml(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = tmp_path / "headers"
    shutil.copytree(installed_headers(), headers)
    header = headers / "ggml.h"
    with_a_field_more = header.read_text().replace("struct ggml_tensor {", "struct ggml_tensor { long more;")
    header.write_text(with_a_field_more)
    for name, value in Fault(deeper_than=512).environment(compile_library(tmp_path, headers)).items():
        monkeypatch.setenv(name, value)
    subject = start(load=False)
    with pytest.raises(WorkerDiedError, match="exit status 70") as caught:
        subject.load()
    reason = "graph_compute: ggml.h lays a tensor out otherwise than the libggml-base that runs"
    assert caught.value.log[-1] == reason


def test_a_build_says_which_library_was_preloaded(start: Start, library: Path) -> None:
    environment = start(Fault(slowdown=0.05), load=False).build.environment
    assert {"LD_PRELOAD": str(library), "GGML_FAULT_SLOWDOWN": "0.05"}.items() <= environment.items()


def test_a_process_without_llama_cpp_heeds_no_fault(library: Path) -> None:
    every_fault = Fault(slowdown=1.0, hang=True, allocate=2**40).environment(library)
    command = [sys.executable, "-c", "import ctypes; print('fine')"]
    done = subprocess.run(command, env={**os.environ, **every_fault}, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"fine\n", b"")


def run(pytester: pytest.Pytester, source: str) -> tuple[pytest.RunResult, dict[str, Any]]:
    pytester.makepyfile(test_inner=HEAD + source)
    return measure(pytester)


def values(results: Mapping[str, Any]) -> dict[str, float]:
    return {name: metric["value"] for name, metric in results["tests"][0]["metrics"].items()}


def limited(measured: Mapping[str, float]) -> str:
    return LIMITED.format(
        low_prompt=measured["prompt_tokens_per_second"] / FACTOR,
        low_generation=measured["generation_tokens_per_second"] / FACTOR,
        high_latency=measured["inter_token_latency_p50"] * FACTOR,
        high_generation=measured["generation_tokens_per_second"] * FACTOR,
    )


@pytest.mark.timed
def test_a_limit_holds_on_the_installed_build_and_breaks_on_a_slow_one(
    pytester: pytest.Pytester, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, measured = run(pytester, MEASURED)
    result.assert_outcomes(passed=1)
    assert all(run["control"]["arithmetic"] > 1e8 for run in measured["runs"].values())
    limits = limited(values(measured))

    result, healthy = run(pytester, limits)
    result.assert_outcomes(passed=1, failed=1)
    outcomes = {test["key"]["name"]: test["outcome"] for test in healthy["tests"]}
    assert outcomes == {"test_kept": "passed", "test_exceeded": "failed"}
    shown = failure_of("test_exceeded", result.stdout.str())
    assert_golden(GOLDEN / "over_limit.txt", shown)

    for name, value in SLOW.environment(library).items():
        monkeypatch.setenv(name, value)
    result, slow = run(pytester, limits)
    result.assert_outcomes(failed=2)
    assert slow["candidate"]["environment"]["GGML_FAULT_SLOWDOWN"] == "8.0"
    shown = failure_of("test_kept", result.stdout.str())
    assert_golden(GOLDEN / "three_limits.txt", shown)
