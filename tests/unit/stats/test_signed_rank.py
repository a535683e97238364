"""The signed-rank test against scipy, against every pattern of signs, and against itself."""

from __future__ import annotations

import itertools
import math
from statistics import median

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from pytest_llm.stats.signed_rank import critical_sum, hodges_lehmann, interval, p_value, walsh_averages

numbers = st.floats(-1, 1).filter(lambda value: abs(value) > 1e-6)
untied = st.lists(numbers, min_size=1, max_size=30, unique_by=abs)
# Few values, so that nearly every sample has ties and many have zeros.
coarse = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=9)


def by_enumeration(values: list[float]) -> float:
    """The p-value from all sign patterns of the sizes that are not zero."""
    sizes = [abs(value) for value in values if value]
    ranks: list[float] = stats.rankdata(sizes).tolist()
    observed = sum(rank for rank, value in zip(ranks, filter(None, values), strict=True) if value > 0)
    patterns = list(itertools.product([0, 1], repeat=len(sizes)))
    reached = sum(sum(itertools.compress(ranks, signs)) >= observed for signs in patterns)
    return reached / len(patterns)


@given(untied)
def test_without_ties_it_is_scipys_exact_test(values: list[float]) -> None:
    expected = stats.wilcoxon(values, alternative="greater", method="exact").pvalue
    assert p_value(values) == pytest.approx(expected, rel=1e-9)


@given(coarse)
def test_with_ties_and_zeros_every_sign_pattern_is_counted(values: list[float]) -> None:
    assert p_value(values) == by_enumeration(values)


def test_known_samples() -> None:
    assert p_value([1.0, 2.0, 3.0]) == 1 / 8
    assert p_value([-1.0, 2.0, 3.0]) == 2 / 8
    assert p_value([-1.0, 1.0, 2.0]) == 3 / 8  # midranks 1.5, 1.5 and 3: 4.5 or more in 3 of 8 patterns
    assert p_value([0.0, 0.0, 5.0]) == 1 / 2


@pytest.mark.parametrize("values", [[], [0.0], [0.0, -0.0]])
def test_nothing_but_zeros_is_no_evidence(values: list[float]) -> None:
    assert p_value(values) == 1.0


@pytest.mark.parametrize("count", [53, 60, 80])
def test_counts_are_exact_beyond_what_a_float_holds(count: int) -> None:
    all_but_the_least = [-0.5, *(float(each) for each in range(1, count))]
    assert p_value(all_but_the_least) == 2 / 2**count
    assert p_value([-value for value in all_but_the_least]) == (2**count - 1) / 2**count


@given(untied, st.data())
def test_a_value_that_rises_never_weakens_the_evidence(values: list[float], data: st.DataObject) -> None:
    which = data.draw(st.integers(0, len(values) - 1))
    risen = list(values)
    risen[which] = data.draw(st.floats(values[which], 2))
    assume(risen[which] != 0 and len({abs(value) for value in risen}) == len(risen))
    assert p_value(risen) <= p_value(values)


@given(coarse)
def test_both_sides_together_count_the_observed_pattern_twice(values: list[float]) -> None:
    assert p_value(values) + p_value([-value for value in values]) > 1


@given(st.lists(numbers, min_size=1, max_size=12))
def test_the_order_and_the_scale_of_values_do_not_matter(values: list[float]) -> None:
    assert p_value(sorted(values)) == p_value(values)
    assert p_value([2 * value for value in values]) == p_value(values)


@given(st.integers(1, 30), st.floats(1e-6, 0.5))
def test_the_critical_sum_is_the_least_that_is_significant(count: int, level: float) -> None:
    found = critical_sum(count, level)
    if found is None:
        assert 0.5**count > level
        return
    assert _p_of_sum(count, found) <= level
    assert found == 0 or _p_of_sum(count, found - 1) > level


def _p_of_sum(count: int, rank_sum: int) -> float:
    """The p-value of a sample of that size whose positive ranks sum up so."""
    left, signs = rank_sum, {}
    for rank in range(count, 0, -1):
        signs[rank] = 1 if rank <= left else -1
        left -= rank if rank <= left else 0
    return p_value([float(rank * sign) for rank, sign in signs.items()])


@given(untied)
def test_positive_walsh_averages_are_as_many_as_the_positive_ranks_sum_to(values: list[float]) -> None:
    above = sum(average > 0 for average in walsh_averages(values))
    ranks = stats.rankdata([abs(value) for value in values])
    assert above == sum(rank for rank, value in zip(ranks, values, strict=True) if value > 0)


def test_the_estimate_is_the_median_of_all_pairs_means() -> None:
    values = [1.0, 2.0, 6.0]
    assert walsh_averages(values) == [1.0, 1.5, 2.0, 3.5, 4.0, 6.0]
    assert hodges_lehmann(values) == median([1.0, 1.5, 2.0, 3.5, 4.0, 6.0])


@given(st.lists(st.floats(-1, 1), min_size=6, max_size=14), st.sampled_from([0.5, 0.9, 0.95]))
def test_the_estimate_lies_in_its_interval_and_both_mirror(values: list[float], confidence: float) -> None:
    ends = interval(values, confidence)
    assert ends is not None
    assert ends[0] <= hodges_lehmann(values) <= ends[1]
    mirrored = [-value for value in values]
    assert interval(mirrored, confidence) == (-ends[1], -ends[0])
    assert hodges_lehmann(mirrored) == -hodges_lehmann(values)


@given(
    st.lists(numbers, min_size=8, max_size=12, unique=True),
    st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_the_interval_is_where_neither_side_rejects(values: list[float], confidence: float) -> None:
    ends = interval(values, confidence)
    assert ends is not None
    level = (1 - confidence) / 2
    averages = walsh_averages(values)
    assume(all(high - low > 1e-9 for low, high in itertools.pairwise(averages)))
    # Nothing changes between neighbouring Walsh averages, so one centre between each two is all there is.
    grid = [averages[0] - 1, *((a + b) / 2 for a, b in itertools.pairwise(averages)), averages[-1] + 1]
    for centre in grid:
        above = p_value([value - centre for value in values])
        below = p_value([centre - value for value in values])
        assert (ends[0] < centre < ends[1]) == (above > level and below > level)


def test_too_few_values_for_the_confidence_have_no_interval() -> None:
    values = [float(value) for value in range(7)]
    assert interval(values, 0.99) is None
    assert interval([*values, 7.0], 0.99) == (0.0, 7.0)
    assert interval([], 0.99) is None


def test_the_interval_of_a_published_table() -> None:
    # Tables of the test: for n = 10, P(T+ >= 47) = 0.024, so the ends are the 9th smallest and the 9th
    # largest of the 55 Walsh averages.
    values = [math.exp(each / 3) for each in range(10)]
    averages = walsh_averages(values)
    assert interval(values, 0.95) == (averages[8], averages[-9])
