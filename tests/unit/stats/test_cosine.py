"""Cosine distances, and embeddings as text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llm.records import EmbeddingVariant
from pytest_llm.stats.cosine import (
    RESOLUTION,
    cosine_distances,
    embedding_distance,
    embedding_tolerance,
    from_text,
    to_text,
)

VECTORS = st.lists(st.floats(-1e4, 1e4, allow_subnormal=False), min_size=2, max_size=40)


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        ([1, 0], [5, 0], 0.0),
        ([1, 0], [0, 3], 1.0),
        ([1, 0], [-2, 0], 2.0),
        ([1, 0], [1, 1], 1 - math.sqrt(0.5)),
        ([0, 0], [0, 0], 0.0),
        ([0, 0], [1, 0], 1.0),
        ([0, 1e-196], [0, 1], 0.0),
        ([1e-196, 0], [0, 1e200], 1.0),
    ],
)
def test_a_distance_is_that_of_the_angle(first: list[float], second: list[float], distance: float) -> None:
    assert cosine_distances([first], [second]) == pytest.approx([distance], abs=1e-15)


def test_the_furthest_text_is_named() -> None:
    found = embedding_distance([[1, 0], [1, 0], [1, 0]], [[1, 0], [0, 1], [1, 1]])
    assert (found.largest, found.furthest) == (1.0, 1)
    assert found.mean == pytest.approx((1 + 1 - math.sqrt(0.5)) / 3)


@given(VECTORS)
def test_text_keeps_a_vector_within_the_resolution(vector: list[float]) -> None:
    assert cosine_distances([vector], [from_text(to_text(vector))])[0] < RESOLUTION


def test_the_tolerance_is_four_times_the_furthest_benign_variant_but_no_less_than_the_resolution() -> None:
    assert embedding_tolerance([EmbeddingVariant("a", 1e-3), EmbeddingVariant("b", 2e-3)]) == 8e-3
    assert embedding_tolerance([EmbeddingVariant("a", 1e-9)]) == embedding_tolerance([]) == RESOLUTION
