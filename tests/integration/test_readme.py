"""The examples of README and docs are collected as they say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests import REPOSITORY

if TYPE_CHECKING:
    import pytest


def examples(name: str) -> list[str]:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(import pytest\n.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_readme_s_example_is_one_benchmark(pytester: pytest.Pytester) -> None:
    (example,) = examples("README.md")
    pytester.makepyfile(example)
    result = pytester.runpytest_inprocess("--llm-bench", "--collect-only", "-q")
    result.stdout.fnmatch_lines(["llm-bench plan: 1 benchmark on 1 subject*", "*::test_chat"])
    assert result.ret == 0


def test_the_example_of_markers_is_one_functional_test(pytester: pytest.Pytester) -> None:
    (example,) = examples("docs/markers.md")
    pytester.makepyfile(example)
    result = pytester.runpytest_inprocess("--llm-bench", "--collect-only", "-q")
    result.stdout.fnmatch_lines(["llm-bench plan: 0 benchmarks *", "*::test_answers"])
    assert result.ret == 0
