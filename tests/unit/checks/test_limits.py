"""Limits: inclusive, judged on the value, explained in words."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pytest_llm.checks import judge_limits
from pytest_llm.checks.explain import context
from pytest_llm.checks.limits import summary
from pytest_llm.records import (
    Build,
    Installed,
    Limit,
    LoadOptions,
    Model,
    Run,
    Series,
    Session,
    Subject,
    Verdict,
    Workload,
)
from pytest_llm.records.device_memory import DEVICE_CHANGE, PER_PROCESS, NoDeviceLibrary
from pytest_llm.records.metrics import METRICS, at_percentile
from tests.golden import assert_golden

GOLDEN = Path(__file__).parent / "golden"
SPEED = METRICS["generation_tokens_per_second"]
RAM = METRICS["peak_ram"]
VALUE = 12 / math.fsum((0.04, 0.032, 0.05))


def a_run() -> Run:
    def session(seconds: float, peak: float) -> Session:
        return Session(
            {
                "generation": Series((seconds,), tokens=4),
                "peak_ram": Series((peak,)),
                "first_token": Series((0.4, 0.5, 0.9) * 5),
            }
        )

    return Run(
        subject=Subject(
            "smollm2-135m",
            Installed("llama-cpp-python"),
            LoadOptions(n_ctx=2048, n_threads=2, n_threads_batch=2),
        ),
        workload=Workload(128, 64, 1024),
        model=Model(
            "smollm2-135m", "x.gguf", "b1", 98362432, "llama", "Q4_1", 134515008, 30, 9, 3, 576, 8192, 49152
        ),
        build=Build("llama-cpp-python", "0.3.36", "0c1e570", "python"),
        effective_options={},
        sessions=(session(0.04, 200.0), session(0.032, 200.0), session(0.05, 200.0)),
        measurements={},
    )


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [
        (Limit(SPEED, VALUE), Verdict.PASS),
        (Limit(SPEED, math.nextafter(VALUE, 200)), Verdict.OVER_LIMIT),
        (Limit(RAM, 200.0), Verdict.PASS),
        (Limit(RAM, 199.0), Verdict.OVER_LIMIT),
        (Limit(at_percentile("first_token_latency", 95), 0.9), Verdict.PASS),
        (Limit(at_percentile("first_token_latency", 95), 0.5), Verdict.OVER_LIMIT),
    ],
)
def test_a_limit_is_inclusive_and_judged_on_the_value(limit: Limit, verdict: Verdict) -> None:
    (judgement,) = judge_limits(a_run(), [limit])
    assert judgement.verdict is verdict


def test_a_limit_on_what_no_one_measured_is_not_covered_and_says_why() -> None:
    (judgement,) = judge_limits(a_run(), [Limit(METRICS["peak_ram_anonymous"], 1.0)])
    assert judgement.verdict is Verdict.NOT_COVERED
    assert judgement.measurement is None
    assert "peak anonymous RAM" in judgement.reason
    assert summary(judgement) == judgement.reason


def test_a_metric_that_one_session_lacks_is_not_covered() -> None:
    run = a_run()
    object.__setattr__(run, "sessions", (*run.sessions, Session({})))
    (judgement,) = judge_limits(run, [Limit(SPEED, 1.0)])
    assert judgement.verdict is Verdict.NOT_COVERED


VRAM = Limit(METRICS["peak_vram"], 700.0)


def with_vram(*series: Series | None) -> Run:
    run = a_run()
    sessions = tuple(Session({} if each is None else {"peak_vram": each}) for each in series)
    object.__setattr__(run, "sessions", sessions)
    return run


def vram(size: float, note: str = PER_PROCESS) -> Series:
    return Series((size,), note=note)


def test_a_ceiling_of_vram_passes_at_its_own_value_and_fails_one_byte_above() -> None:
    verdicts = [judge_limits(with_vram(vram(size)), [VRAM])[0].verdict for size in (700, 701)]
    assert verdicts == [Verdict.PASS, Verdict.OVER_LIMIT]


def test_a_ceiling_of_vram_says_how_it_was_read() -> None:
    (judgement,) = judge_limits(with_vram(vram(2**20, DEVICE_CHANGE), vram(2**20, DEVICE_CHANGE)), [VRAM])
    assert summary(judgement).endswith("(2 sessions, 1.000 MiB … 1.000 MiB; change of the device)")


def test_one_session_is_enough_for_vram() -> None:
    (judgement,) = judge_limits(with_vram(vram(700), None, None), [VRAM])
    assert judgement.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("series", "reason"),
    [
        ([Series((), note="GPU 0: GPU is lost")], "peak VRAM cannot be had: GPU 0: GPU is lost"),
        ([vram(1), Series((), note="GPU 0: GPU is lost")], "peak VRAM cannot be had: GPU 0: GPU is lost"),
        ([NoDeviceLibrary.because("amdsmi is not installed")], "amdsmi is not installed"),
        ([vram(1), vram(1, DEVICE_CHANGE)], "read in two ways, per process and change of the device"),
        ([None, None], "peak VRAM cannot be had from"),
    ],
)
def test_vram_that_cannot_be_believed_is_not_covered_and_says_why(
    series: list[Series | None], reason: str
) -> None:
    (judgement,) = judge_limits(with_vram(*series), [VRAM])
    assert judgement.verdict is Verdict.NOT_COVERED
    assert reason in judgement.reason


def test_the_words_are_those_of_the_golden_file() -> None:
    run = a_run()
    limits = [
        Limit(SPEED, 105.0),
        Limit(SPEED, 90.0),
        Limit(SPEED, VALUE + 0.001),
        Limit(RAM, 150.0),
        Limit(at_percentile("first_token_latency", 95), 0.45),
    ]
    lines = [summary(judgement) for judgement in judge_limits(run, limits)]
    assert_golden(GOLDEN / "limits.txt", "\n".join([*lines, *context(run)]) + "\n")


@pytest.mark.parametrize(("requests", "verdict"), [(14, Verdict.PASS), (13, Verdict.NOT_COVERED)])
def test_a_percentile_of_too_few_observations_is_not_covered(requests: int, verdict: Verdict) -> None:
    run = a_run()
    sessions = tuple(Session({"first_token": Series((0.4,) * requests)}) for _ in run.sessions)
    object.__setattr__(run, "sessions", sessions)
    (judgement,) = judge_limits(run, [Limit(at_percentile("first_token_latency", 95), 0.5)])
    assert judgement.verdict is verdict
    if verdict is Verdict.NOT_COVERED:
        assert judgement.reason == (
            "first-token latency p95 cannot be had: it takes 40 requests, and 39 were timed: name it in a "
            "marker, so that more are timed, or raise --llm-time-limit"
        )


def test_verdicts_are_ordered_worst_first() -> None:
    assert [verdict.value for verdict in Verdict] == [
        "wrong output",
        "regressed",
        "over limit",
        "not judged",
        "drift",
        "unrecorded",
        "inconclusive",
        "no baseline",
        "not covered",
        "improved",
        "pass",
    ]
