"""KL divergence and what goes with it, against scipy, brute force and identities."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import log_softmax as scipy_log_softmax
from scipy.special import rel_entr, softmax

from pytest_llm.stats.divergence import (
    divergence,
    kl_divergence,
    log_softmax,
    not_finite,
    read_logits,
    same_bits,
)
from pytest_llm.stats.summary import percentile

if TYPE_CHECKING:
    from pathlib import Path

LOGITS = hnp.arrays(np.float32, (3, 5), elements=st.floats(-30, 30, width=32))


def drawn(rows: int, columns: int, seed: int, spread: float = 3.0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(0, spread, (rows, columns)).astype(np.float32)


def test_it_is_what_scipy_says() -> None:
    one, other = drawn(70, 101, 1), drawn(70, 101, 2)

    assert log_softmax(one) == pytest.approx(scipy_log_softmax(one.astype(float), axis=1), abs=1e-12)
    expected = rel_entr(softmax(one.astype(float), axis=1), softmax(other.astype(float), axis=1)).sum(axis=1)
    assert kl_divergence(log_softmax(one), log_softmax(other)) == pytest.approx(expected, rel=1e-12)


def test_it_is_what_the_definition_says_over_several_blocks_of_rows() -> None:
    one, other = drawn(150, 7, 3), drawn(150, 7, 4)
    following = [None if row % 50 == 49 else row % 7 for row in range(150)]

    found = divergence(one, other, following, top_k=3)

    kl, top, leads, onward, flips = [], [], [], [], 0
    for row, token in enumerate(following):
        p, q = (_probabilities(each[row].tolist()) for each in (one, other))
        kl.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
        best = sorted(range(7), key=lambda each: -p[each])[:3]
        top.append(max(abs(math.log(q[each] / p[each])) for each in best))
        first, second = best[:2]
        leads.append(abs(math.log(p[first] / p[second]) - math.log(q[first] / q[second])))
        flips += p.index(max(p)) != q.index(max(q))
        if token is not None:
            onward.append(math.log(q[token] / p[token]))
    assert found.positions == 150
    assert found.mean_kl == pytest.approx(sum(kl) / 150, rel=1e-9)
    assert found.tail_kl == pytest.approx(percentile(kl, 99), rel=1e-9)
    assert found.max_kl == pytest.approx(max(kl), rel=1e-9)
    assert found.flips == flips > 50
    assert found.top_change == pytest.approx(percentile(top, 99), rel=1e-9)
    assert found.lead_change == pytest.approx(max(leads), rel=1e-9)
    assert found.following_change == pytest.approx(sum(onward) / len(onward), rel=1e-9)


def test_the_furthest_position_and_its_token_are_named_in_any_block_of_rows() -> None:
    one = drawn(150, 7, 3, spread=0.1)
    other = one.copy()
    other[20, 1] += 1
    other[140, 5] -= 3

    furthest = divergence(one, other, [None] * 150, top_k=1).furthest

    assert (furthest.position, furthest.token) == (140, 5)
    assert furthest.before == pytest.approx(log_softmax(one)[140, 5])
    assert furthest.now == pytest.approx(log_softmax(other)[140, 5])


def _probabilities(logits: list[float]) -> list[float]:
    weights = [math.exp(each) for each in logits]
    return [each / sum(weights) for each in weights]


def test_more_top_tokens_than_there_are_means_all() -> None:
    one, other = drawn(2, 5, 5), drawn(2, 5, 6)
    following = [None, None]
    assert divergence(one, other, following, 99) == divergence(one, other, following, 5)


@given(LOGITS)
def test_nothing_is_apart_from_itself(logits: np.ndarray[Any, Any]) -> None:
    found = divergence(logits, logits, [0, 1, None], top_k=2)
    assert (found.mean_kl, found.max_kl, found.flips, found.top_change) == (0.0, 0.0, 0, 0.0)
    assert found.lead_change == 0.0


@given(LOGITS, LOGITS)
def test_it_is_never_negative(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> None:
    assert (kl_divergence(log_softmax(one), log_softmax(other)) >= 0).all()


@given(LOGITS, LOGITS, st.floats(-20, 20))
def test_what_is_added_to_all_logits_of_a_position_is_nothing(
    one: np.ndarray[Any, Any], other: np.ndarray[Any, Any], shift: float
) -> None:
    shifted = other.astype(float) + shift
    plain = kl_divergence(log_softmax(one), log_softmax(other))
    assert kl_divergence(log_softmax(one), log_softmax(shifted)) == pytest.approx(plain, abs=1e-9)


@given(LOGITS, LOGITS, st.permutations(range(5)))
def test_the_order_of_the_vocabulary_does_not_matter(
    one: np.ndarray[Any, Any], other: np.ndarray[Any, Any], order: list[int]
) -> None:
    plain = kl_divergence(log_softmax(one), log_softmax(other))
    other_order = kl_divergence(log_softmax(one[:, order]), log_softmax(other[:, order]))
    assert other_order == pytest.approx(plain, abs=1e-9)


def test_a_small_difference_is_not_lost_in_rounding() -> None:
    """KL is then half the variance of the difference under the reference: here 1e-12."""
    logits = np.zeros((1, 2))
    moved = np.array([[1e-6 * math.sqrt(2), -1e-6 * math.sqrt(2)]])
    assert kl_divergence(log_softmax(logits), log_softmax(moved))[0] == pytest.approx(1e-12, rel=1e-3)


def test_rows_that_are_not_finite_are_counted() -> None:
    logits = drawn(130, 4, 7)
    logits[3, 0] = np.nan
    logits[100, 1:3] = np.inf
    logits[129, 2] = -np.inf
    assert not_finite(logits) == 3


def test_bits_are_the_same_or_not(tmp_path: Path) -> None:
    logits = drawn(130, 4, 8)
    logits[5, 0] = np.nan
    (tmp_path / "logits").write_bytes(logits.tobytes())
    read = read_logits(tmp_path / "logits", 130)

    assert same_bits(read, logits)
    other = logits.copy()
    other[129, 3] = np.nextafter(other[129, 3], np.float32(np.inf))
    assert not same_bits(read, other)
    assert not same_bits(np.zeros((130, 4), np.float32), np.zeros((129, 4), np.float32))
