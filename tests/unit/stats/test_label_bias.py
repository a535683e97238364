"""The spread of label-bound bias: exact cases, and known truths over many simulated machines."""

from __future__ import annotations

import random
from statistics import fmean

import pytest

from pytest_llm.stats.label_bias import label_bias_spread


def test_without_noise_it_is_the_root_of_the_mean_square_of_the_biases() -> None:
    pairs = [[0.003] * 5, [-0.003] * 5, [0.006] * 5, [-0.006] * 5]
    assert label_bias_spread([pairs]) == pytest.approx(((0.003**2 + 0.006**2) / 2) ** 0.5, rel=1e-4)


def test_what_sampling_explains_is_no_bias() -> None:
    # Means of 0.01 and -0.01 from sessions of sd 0.0316: a sampling error of 0.0141.
    pairs = [[0.01 + 0.0316, 0.01 - 0.0316, 0.01 + 0.0316, 0.01 - 0.0316, 0.01]]
    pairs.append([-each for each in pairs[0]])
    assert label_bias_spread([pairs]) == 0.0


def test_which_side_is_which_changes_nothing() -> None:
    pairs = [[0.01, 0.012, 0.008], [0.001, -0.002, 0.003], [-0.02, -0.018, -0.021]]
    turned = [[-each for each in pairs[0]], *pairs[1:]]
    assert label_bias_spread([pairs]) == pytest.approx(label_bias_spread([turned]))


def test_a_common_bias_of_all_pairs_counts() -> None:
    assert label_bias_spread([[[0.01, 0.0101, 0.0099]] * 6]) == pytest.approx(0.01, rel=0.01)


def test_a_noisy_metric_weighs_less_than_a_quiet_one() -> None:
    quiet = [[0.004, 0.0041, 0.0039]] * 6
    noisy = [[0.5, -0.5, 0.01], [-0.5, 0.5, -0.01]] * 3
    assert label_bias_spread([quiet, noisy]) == pytest.approx(0.004, rel=0.05)


@pytest.mark.parametrize("true", [0.0, 0.004, 0.01])
def test_it_is_right_on_average(true: float) -> None:
    source = random.Random(5)

    def machine() -> float:
        metrics = []
        for spread in (0.024, 0.015):  # of a session, as measured on two shared cores
            biases = [source.gauss(0, true) for _ in range(6)]
            metrics.append([[source.gauss(bias, spread) for _ in range(5)] for bias in biases])
        return label_bias_spread(metrics)

    squares = [machine() ** 2 for _ in range(400)]
    # Negative estimates are cut off at 0, so that the mean of a small one is too large.
    assert fmean(squares) ** 0.5 == pytest.approx(true, abs=0.0045 if true < 0.005 else 0.001)
