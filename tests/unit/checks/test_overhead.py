"""What a tool costs, from the requests of sessions that it shared with two servers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_llm.checks.findings import Comparison, Finding
from pytest_llm.checks.overhead import costs, lines, notes, settings_apart
from pytest_llm.engines import LLAMA_SERVER, LM_STUDIO, OLLAMA
from pytest_llm.records import (
    JSON,
    Benchmark,
    Gate,
    Installed,
    PairedRun,
    Run,
    Series,
    Session,
    TestKey,
    Verdict,
)
from pytest_llm.records.metrics import METRICS
from tests.bare import RUN


def run(token: float, first: float, *, held: int = 1) -> Run:
    """Return two requests of four tokens in each of three sessions; so many tokens come in one chunk."""
    gaps = [token * held if number % held == 0 else 0.0 for number in range(4)]
    sessions = tuple(
        Session(
            {
                "first_token": Series((first + noise, first + 2 * noise)),
                "inter_token": Series(tuple(each + noise * bool(each) for each in (*gaps, *gaps))),
            }
        )
        for noise in (0.0, 1e-5, 2e-5)
    )
    return replace(RUN, sessions=sessions)


def test_a_difference_is_split_into_wrapper_and_settings() -> None:
    token, first = costs(run(0.023, 0.5), run(0.020, 0.3), run(0.021, 0.4))
    assert (token.what, first.what) == ("a token", "the first token")
    assert token.total.mean == pytest.approx(0.003)
    assert token.wrapper is not None
    assert token.settings is not None
    assert token.wrapper.mean == pytest.approx(0.002)
    assert token.settings.mean == pytest.approx(0.001)
    assert token.wrapper.mean + token.settings.mean == pytest.approx(token.total.mean)
    assert first.total.interval == pytest.approx((0.2, 0.2))


def test_tokens_that_come_together_have_their_mean_time() -> None:
    token, _ = costs(run(0.02, 0.5, held=2), run(0.02, 0.5), None)
    assert token.total.mean == pytest.approx(0.0, abs=1e-5)
    assert token.wrapper is None


def test_a_cost_is_told_in_milliseconds_and_percent() -> None:
    told = lines(costs(run(0.022, 0.5), run(0.020, 0.5), run(0.020, 0.5)))
    assert told[0] == (
        "a token: 20.01 ms → 22.01 ms, +2.00 ms (+2.00 … +2.00), +10.0 %: wrapper +2.00 ms (+2.00 … +2.00), "
        "settings +0.00 ms (+0.00 … +0.00)"
    )
    assert "wrapper" not in lines(costs(run(0.022, 0.5), run(0.020, 0.5), None))[0]


def test_of_another_engine_the_difference_is_told_and_why_it_is_not_split() -> None:
    assert told_of(OLLAMA, LLAMA_SERVER)[0].startswith("a token: 20.01 ms → 22.01 ms, +2.00 ms ")
    assert told_of(OLLAMA, LLAMA_SERVER)[-1].startswith("the llama-server inside cannot be seen, ")
    assert len(told_of(LM_STUDIO, LLAMA_SERVER)) == 2
    assert len(told_of("of another plugin", LLAMA_SERVER)) == 2
    assert told_of(LLAMA_SERVER, LLAMA_SERVER) == []


def test_without_sessions_or_requests_nothing_is_told() -> None:
    slices = Session({"generation": Series((0.1,))})
    for sessions in ((), (slices,)):
        assert told_of(OLLAMA, LLAMA_SERVER, sessions) == []


def told_of(tool: str, server: str, sessions: tuple[Session, ...] | None = None) -> list[str]:
    ours, theirs = (
        replace(
            found,
            subject=replace(found.subject, build=Installed(engine)),
            sessions=found.sessions if sessions is None else sessions,
        )
        for engine, found in ((tool, run(0.022, 0.5)), (server, run(0.020, 0.5)))
    )
    gate = Gate(METRICS["inter_token_latency_p50"], 0.1)
    benchmark = Benchmark("t", TestKey("m", "t"), ours.subject, ours.workload, (), (gate,))
    compared = Comparison(Verdict.PASS, gate, PairedRun(ours, theirs))
    return notes(Finding(benchmark, ours, comparisons=(compared,)))


def test_settings_that_a_tool_has_otherwise_are_named() -> None:
    tool: dict[str, JSON] = {"n_batch": 512, "flash_attn": "auto", "n_ctx": 1024, "unknown": 1}
    server: dict[str, JSON] = {"n_batch": 2048, "flash_attn": "on", "n_ctx": 1024}
    assert settings_apart(tool, server) == ["n_batch 2048 → 512"]
