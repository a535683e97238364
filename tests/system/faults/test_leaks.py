"""A worker that keeps 0.1 MB of each token fails its limit, and one that does not keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .inner import measure
from .preload import Fault

if TYPE_CHECKING:
    from pathlib import Path

LEAKED = 100_000
LIMITED = """
import pytest

@pytest.mark.llm_model("smollm2-135m", n_ctx=512, n_threads=1)
@pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=16)
@pytest.mark.llm_leak(max="20 kB")
def test_leak(llm_bench):
    pass
"""


def test_a_leak_of_a_tenth_of_a_megabyte_a_token_is_over_its_limit_and_none_is_not(
    pytester: pytest.Pytester, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(test_inner=LIMITED)
    result, healthy = measure(pytester)
    result.assert_outcomes(passed=1)
    assert abs(healthy["tests"][0]["metrics"]["leaked_bytes_per_token"]["value"]) < 2_000

    for name, value in Fault(allocate=LEAKED).environment(library).items():
        monkeypatch.setenv(name, value)
    result, leaking = measure(pytester)
    result.assert_outcomes(failed=1)
    entry = leaking["tests"][0]["metrics"]["leaked_bytes_per_token"]
    assert entry["value"] == pytest.approx(LEAKED, rel=0.05)
    low, high = entry["limit"]["interval"]
    assert low < LEAKED * 1.01
    assert high > LEAKED * 0.99
    result.stdout.fnmatch_lines(["memory leaked per token is 9?.* KiB, the limit is at most 19.53 KiB: *"])
