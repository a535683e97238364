"""Samples of distributions, and their divergence."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_llm.records import LogprobSample
from pytest_llm.stats.divergence import divergence
from pytest_llm.stats.logprob_samples import read, rows_of, sample, sample_divergence

# Two positions of four tokens.
LOGITS = np.log(np.array([[0.5, 0.25, 0.125, 0.125], [0.125, 0.125, 0.25, 0.5]], dtype=np.float64))


def kept(logits: np.ndarray = LOGITS, top_k: int = 2, stored: tuple[str, ...] = ()) -> LogprobSample:
    return LogprobSample("Q4_1 weights", sample(logits, [0, 1], top_k, stored))


def test_a_position_is_a_line_with_the_likeliest_tokens_first() -> None:
    assert kept().lines == ("0 0:-0.693147 1:-1.386294", "1 3:-0.693147 2:-1.386294")
    assert read(kept().lines[0]) == (0, {0: -0.693147, 1: -1.386294})


def test_no_more_than_eight_tokens_are_kept_whatever_is_asked() -> None:
    many = np.arange(40, dtype=np.float64).reshape(2, 20)
    assert [len(read(each)[1]) for each in sample(many, [0, 1], 20)] == [8, 8]


def test_the_tokens_that_it_will_be_compared_by_are_kept_as_well() -> None:
    turned = kept(LOGITS[:, ::-1], 1, kept().lines)
    assert [list(read(each)[1]) for each in turned.lines] == [[3, 0, 1], [0, 3, 2]]


def test_rows_are_spread_evenly_and_hold_the_last_one_of_each_passage() -> None:
    rows = rows_of(1580, [1279, 1343, 1579])
    assert 48 < len(rows) <= 48 + 3
    assert {0, 1279, 1343, 1579} <= set(rows)
    assert all(any(row <= each < row + 34 for each in rows) for row in range(1580 - 34))
    assert rows_of(1, [0]) == [0]
    assert rows_of(3, [2]) == [0, 1, 2]


def test_equal_samples_do_not_diverge() -> None:
    found = sample_divergence(kept(), kept())
    assert (found.mean_kl, found.tail_kl, found.max_kl) == (0.0, 0.0, 0.0)
    assert (found.flips, found.top_change, found.lead_change) == (0, 0.0, 0.0)


def test_with_every_token_kept_it_is_the_divergence_of_the_whole_distributions() -> None:
    other = np.add(LOGITS, [[0.1, 0, 0, 0], [0, 0, 0, 0.3]])
    found = sample_divergence(kept(top_k=4), kept(other, 4))
    whole = divergence(LOGITS, other, [None, None], top_k=4)
    assert found.mean_kl == pytest.approx(whole.mean_kl, rel=1e-3)
    assert found.tail_kl == found.max_kl == pytest.approx(whole.max_kl, rel=1e-3)
    assert found.top_change == pytest.approx(whole.top_change, abs=1e-5)
    assert found.lead_change == pytest.approx(whole.lead_change, abs=1e-5)
    assert (found.positions, found.flips, found.following_change) == (2, 0, None)
    assert (found.furthest.position, found.furthest.token) == (1, 3)


def test_the_furthest_position_and_its_token_are_named() -> None:
    other = np.add(LOGITS, [[0, 0, 0, 0], [0, 0, 0, -3]])
    found = sample_divergence(kept(), kept(other, 2, kept().lines))
    furthest = found.furthest
    assert (furthest.position, furthest.token, furthest.before) == (1, 3, -0.693147)
    assert furthest.now < -2.5
    assert found.lead_change == pytest.approx(3.0, abs=1e-5)
    assert found.flips == 1
