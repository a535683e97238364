"""What is kept of distributions, and how far two of them are apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_llm.records import LogprobSample, Rounding
from pytest_llm.stats.divergence import kl_divergence, log_softmax
from pytest_llm.stats.logprob_samples import allowed, apart, outside, read, rounding, rows_of, sample

# Two positions of four tokens.
LOGITS = np.log(np.array([[0.5, 0.25, 0.125, 0.125], [0.125, 0.125, 0.25, 0.5]], dtype=np.float64))


def kept(logits: np.ndarray = LOGITS, top_k: int = 2, stored: tuple[str, ...] = ()) -> LogprobSample:
    return LogprobSample("Q4_1 weights", sample(logits, [0, 1], top_k, stored))


def test_a_position_is_a_line_with_the_likeliest_tokens_first() -> None:
    assert kept().likely == ("0 0:-0.693147 1:-1.386294", "1 3:-0.693147 2:-1.386294")
    assert read(kept().likely[0]) == (0, {0: -0.693147, 1: -1.386294})


def test_no_more_than_eight_tokens_are_kept_whatever_is_asked() -> None:
    many = np.arange(40, dtype=np.float64).reshape(2, 20)
    assert [len(read(each)[1]) for each in sample(many, [0, 1], 20)] == [8, 8]


def test_the_tokens_that_it_will_be_compared_by_are_kept_as_well() -> None:
    turned = kept(LOGITS[:, ::-1], 1, kept().likely)
    assert [list(read(each)[1]) for each in turned.likely] == [[3, 0, 1], [0, 3, 2]]


def test_rows_are_spread_evenly_and_hold_the_last_one_of_each_passage() -> None:
    rows = rows_of(1580, [1279, 1343, 1579])
    assert 48 < len(rows) <= 48 + 3
    assert {0, 1279, 1343, 1579} <= set(rows)
    assert all(any(row <= each < row + 34 for each in rows) for row in range(1580 - 34))
    assert rows_of(1, [0]) == [0]
    assert rows_of(3, [2]) == [0, 1, 2]


def test_the_same_is_not_apart() -> None:
    found = apart(kept(), kept())
    assert (found.mean_kl, found.max_kl, found.lead) == (0.0, 0.0, 0.0)


def test_with_every_token_kept_it_is_the_divergence_of_the_whole_distributions() -> None:
    other = np.add(LOGITS, [[0.1, 0, 0, 0], [0, 0, 0, 0.3]])
    found = apart(kept(top_k=4), kept(other, 4))
    whole = kl_divergence(log_softmax(LOGITS), log_softmax(other))
    assert found.mean_kl == pytest.approx(whole.mean(), rel=1e-3)
    assert found.max_kl == pytest.approx(whole.max(), rel=1e-3)


def test_the_furthest_position_and_its_token_are_named() -> None:
    other = np.add(LOGITS, [[0, 0, 0, 0], [0, 0, 0, -3]])
    found = apart(kept(), kept(other, 2, kept().likely))
    assert (found.row, found.token, found.before) == (1, 3, -0.693147)
    assert found.now < -2.5
    assert found.lead == pytest.approx(3.0, abs=1e-5)


def test_what_is_allowed_is_four_times_the_furthest_variant_and_twice_its_lead() -> None:
    reached = Rounding("a", 1e-3, 2e-3, 0.3), Rounding("b", 5e-4, 4e-3, 0.1)
    assert allowed(LogprobSample("", (), reached)) == pytest.approx((4e-3, 1.6e-2, 0.6))
    assert allowed(LogprobSample("", (), ())) is None
    still = allowed(LogprobSample("", (), (Rounding("a", 0.0, 0.0, 0.0),)))
    assert still is not None
    assert min(still) > 0  # digits were cut off


@pytest.mark.parametrize(("nudge", "expected"), [(0.1, False), (0.19, False), (0.21, True), (1.0, True)])
def test_outside_begins_at_twice_the_change_of_a_logarithm(nudge: float, expected: bool) -> None:
    changed = kept(np.add(LOGITS, [[0.1, 0, 0, 0], [0, 0, 0, 0.1]]), 2, kept().likely)
    stored = LogprobSample("", kept().likely, (rounding("benign", kept(), changed),))
    now = kept(np.add(LOGITS, [[nudge, 0, 0, 0], [0, 0, 0, nudge]]), 2, kept().likely)
    assert outside(stored, now) is expected
    assert not outside(LogprobSample("", kept().likely), now)


def test_a_token_that_is_all_but_certain_leaves_no_negative_rest() -> None:
    certain = np.array([[50.0, 0.0], [50.0, 0.0]])
    assert math.isfinite(apart(kept(certain), kept(np.add(certain, [[0.5, 0]]), 2)).max_kl)
