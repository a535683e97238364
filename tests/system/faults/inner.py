"""Pytest run as a user runs it, on the real engine."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest


def measure(pytester: pytest.Pytester, *arguments: str) -> tuple[pytest.RunResult, dict[str, Any]]:
    """Run the benchmarks of a folder with the fewest sessions; return what pytest said, and the results."""
    found = pytester.path / "results.json"
    found.unlink(missing_ok=True)
    result = pytester.runpytest_subprocess(
        "--llm-bench", "--llm-effort=quick", f"--llm-json={found}", *arguments
    )
    return result, json.loads(found.read_text())


def failure_of(test: str, output: str) -> str:
    """What pytest shows of a failed test; N, TIME and such stand for what differs from run to run."""
    shown = re.search(rf"^_+ {test} _+\n(.*?)^(?:_|=|-)", output, re.MULTILINE | re.DOTALL)
    assert shown is not None, output
    text = re.sub(r"python \d[\w.]* \(llama\.cpp [0-9a-f]+\)", "python VERSION (llama.cpp COMMIT)", shown[1])
    text = re.sub(r"\d+(?:\.\d+)? (?:µs|ms|s)\b", "TIME", text)
    text = re.sub(r"\d{4}-\d\d-\d\d", "DATE", text)
    text = re.sub(r"LD_PRELOAD unset → \S+\.so", "LD_PRELOAD", text)
    text = re.sub(r"[+−]\d+\.\d … [+−]\d+\.\d %", "N … N %", text)
    return re.sub(r"\d+(?:\.\d+)? (tok/s|%)", r"N \1", text)
