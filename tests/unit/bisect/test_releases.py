"""The releases between two."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llm.bisect import build_range
from pytest_llm.builds.reference import parse_build
from pytest_llm.errors import UsageError

LISTED = ["0.3.10", "0.3.9", "0.3.2", "0.3.9rc1", "0.3.1", "0.2.90", "0.3"]


def all_between(good: str, bad: str) -> list[str]:
    found = build_range.builds(
        good, bad, None, lambda text: parse_build(text, Path.cwd()), versions=lambda: LISTED
    )
    return [each.removeprefix("llama-cpp-python@") for each in found]


def test_numbers_order_them_and_both_ends_are_in() -> None:
    assert all_between("0.3.1", "0.3.10") == ["0.3.1", "0.3.2", "0.3.9", "0.3.10"]


def test_a_zero_at_the_end_says_nothing() -> None:
    assert all_between("0.3.0", "0.3.2") == ["0.3", "0.3.1", "0.3.2"]


def test_all_are_written_as_the_ends_are() -> None:
    good, bad = "0.3.2[-DX=1]", "0.3.9[-DX=1]"
    assert all_between(f"llama-cpp-python@{good}", bad) == [good, bad]


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ("0.3.9", "0.3.2", "--good 0.3.9 is not older than --bad 0.3.2"),
        ("0.3.2", "0.3.2", "is not older than"),
        ("0.3.3", "0.3.9", "there is no llama-cpp-python 0.3.3 in the package index"),
        ("0.3.2", "0.3.11", "there is no llama-cpp-python 0.3.11 in the package index"),
        ("0.3.2[-DX=1]", "0.3.9", "are built otherwise"),
    ],
)
def test_ends_that_make_no_row_are_refused(good: str, bad: str, told: str) -> None:
    with pytest.raises(UsageError, match=told.replace("[", r"\[")):
        all_between(good, bad)


@pytest.mark.parametrize("text", ["llama-cpp-python", "venv:/", "0.3.1rc1"])
def test_between_other_builds_nothing_is_listed(text: str) -> None:
    assert all_between(text, "0.3.10") == [text, "0.3.10"]
