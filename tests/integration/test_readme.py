"""The README's own example is collected as it says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests import REPOSITORY

if TYPE_CHECKING:
    import pytest

README = REPOSITORY / "README.md"


def test_the_example_is_one_benchmark_and_one_functional_test(pytester: pytest.Pytester) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    pytester.makepyfile(example)
    result = pytester.runpytest_inprocess("--llm-bench", "--collect-only", "-q")
    result.stdout.fnmatch_lines(
        ["llm-bench plan: 1 benchmark on 1 subject*", "*::test_chat", "*::test_answers"]
    )
    assert result.ret == 0


def test_every_option_and_marker_is_in_the_readme() -> None:
    from pytest_llm.plugin.markers import MARKERS
    from pytest_llm.plugin.options import OPTIONS

    text = README.read_text()
    assert [each.flag for each in OPTIONS if f"`{each.flag}" not in text] == []
    assert [name for name in MARKERS if f"`{name}(" not in text] == []
