"""Numbers with a unit."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llm.errors import UnitError
from pytest_llm.records.units import BYTES, RATIO, SECONDS, TOKENS_PER_SECOND, Unit

UNITS = [SECONDS, BYTES, TOKENS_PER_SECOND, RATIO]
positive = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
everyday = st.floats(min_value=1e-6, max_value=1e12)


@pytest.mark.parametrize(
    ("unit", "text", "value"),
    [
        (BYTES, "5.8 GiB", 5.8 * 2**30),
        (BYTES, "500MB", 500e6),
        (BYTES, "1_000 B", 1000),
        (SECONDS, "150 ms", 0.15),
        (SECONDS, " 1.5 s ", 1.5),
        (SECONDS, "20 µs", 20e-6),
        (SECONDS, "1e-3", 1e-3),
        (SECONDS, "10 min", 600),
        (TOKENS_PER_SECOND, "40 tok/s", 40),
        (TOKENS_PER_SECOND, 40, 40),
        (RATIO, "5%", 0.05),
        (RATIO, 0.05, 0.05),
    ],
)
def test_a_quantity_is_read_in_base_units(unit: Unit, text: str | float, value: float) -> None:
    assert unit.parse(text) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        (BYTES, "10MBfoo"),
        (BYTES, "ten MB"),
        (BYTES, ""),
        (BYTES, "MB"),
        (BYTES, "5 ms"),
        (BYTES, "1 2 MB"),
        (BYTES, "1,5 GB"),
        (SECONDS, "-1 s"),
        (SECONDS, "5 GiB"),
        (SECONDS, "٣ s"),
        (SECONDS, math.nan),
        (SECONDS, math.inf),
        (SECONDS, "1e999"),
        (SECONDS, True),
        (SECONDS, None),
        (TOKENS_PER_SECOND, "40 tok"),
    ],
)
def test_anything_else_is_refused_in_one_line_that_shows_how_to_write_it(unit: Unit, text: object) -> None:
    with pytest.raises(UnitError) as caught:
        unit.parse(text)  # type: ignore[arg-type]
    assert repr(text) in str(caught.value)
    assert "write '" in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.sampled_from(UNITS), positive)
def test_the_exact_form_reads_back_as_the_same_number(unit: Unit, value: float) -> None:
    assert unit.parse(unit.exact(value)) == value


@given(st.sampled_from(UNITS), everyday)
def test_the_form_for_people_reads_back_within_its_digits(unit: Unit, value: float) -> None:
    assert unit.parse(unit.format(value)) == pytest.approx(value, rel=1e-3)


@given(st.sampled_from(UNITS), everyday, st.floats(min_value=1 + 1e-12, max_value=2))
def test_two_numbers_that_differ_are_written_apart(unit: Unit, value: float, factor: float) -> None:
    first, second = unit.format_apart(value, value * factor)
    assert first != second


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        (SECONDS, 0.0451, "45.10 ms"),
        (SECONDS, 0.0, "0 s"),
        (SECONDS, 2.5, "2.500 s"),
        (BYTES, 214 * 2**20, "214.0 MiB"),
        (BYTES, 5, "5.000 B"),
        (TOKENS_PER_SECOND, 118.24, "118.2 tok/s"),
        (RATIO, 0.05, "5.000 %"),
    ],
)
def test_the_form_for_people_has_four_digits_and_the_unit_that_suits(
    unit: Unit, value: float, text: str
) -> None:
    assert unit.format(value) == text
