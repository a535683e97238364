"""Rows of the summary: their titles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llm.reports.table import shortened


@pytest.mark.parametrize(
    ("paths", "short"),
    [
        (["tests/test_it.py"], ["test_it.py"]),
        (
            ["a/test_it.py", "b/test_it.py", "b/test_more.py"],
            ["a/test_it.py", "b/test_it.py", "test_more.py"],
        ),
        (["x/a/t.py", "y/a/t.py", "y/b/t.py"], ["x/a/t.py", "y/a/t.py", "b/t.py"]),
        (["t.py", "a/t.py"], ["t.py", "a/t.py"]),
        ([], []),
    ],
    ids=str,
)
def test_paths_lose_the_folders_that_do_not_tell_them_apart(paths: list[str], short: list[str]) -> None:
    assert shortened(paths) == dict(zip(paths, short, strict=True))


@given(st.lists(st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map("/".join), unique=True))
def test_short_paths_are_as_unique_as_the_whole_ones(paths: list[str]) -> None:
    short = shortened(paths)
    assert len(set(short.values())) == len(paths)
    assert all(path == each or path.endswith(f"/{each}") for path, each in short.items())
