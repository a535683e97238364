"""What a tool costs, from the requests of sessions that it shared with two servers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_llm.checks.overhead import costs, lines, settings_apart
from pytest_llm.records import JSON, Run, Series, Session
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


def test_settings_that_a_tool_has_otherwise_are_named() -> None:
    tool: dict[str, JSON] = {"n_batch": 512, "flash_attn": "auto", "n_ctx": 1024, "unknown": 1}
    server: dict[str, JSON] = {"n_batch": 2048, "flash_attn": "on", "n_ctx": 1024}
    assert settings_apart(tool, server) == ["n_batch 2048 → 512"]
