"""The page without a browser: what it takes to make it, and its first words."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import pytest

from pytest_llm.errors import UsageError
from pytest_llm.reports import html

from .examples import some_results


@pytest.mark.parametrize("name", ["jinja2", "vl_convert"])
def test_without_the_extra_it_is_one_line_with_the_fix(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.import_module

    def find(asked: str) -> Any:
        if asked == name:
            raise ImportError
        return found(asked)

    html._library.cache_clear()
    monkeypatch.setattr(importlib, "import_module", find)
    with pytest.raises(UsageError) as caught:
        html.render([some_results()])
    told = f"--html needs {name}, which is not installed: pip install 'pytest-llm-bench[html]'"
    assert str(caught.value) == told


def test_a_run_that_was_killed_has_not_passed() -> None:
    results = some_results()
    passed = tuple(replace(each, outcome="passed", message=()) for each in results.tests)
    for finished, badge in ((True, 'badge good">passed'), (False, 'badge open">unfinished')):
        assert badge in html.render([replace(results, tests=passed, finished=finished)])
