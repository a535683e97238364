"""The ready-made speed suite, in-process and through a real llama-server, with no file of a user's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timed
@pytest.mark.parametrize(
    ("engine", "chosen", "passed"), [("llama-cpp-python", "chat", 1), ("llama-server", "", 4)]
)
def test_the_quick_part_of_the_speed_suite_needs_a_model_alone(
    engine: str, chosen: str, passed: int, pytester: pytest.Pytester, server_program: Path
) -> None:
    candidate = engine if engine == "llama-cpp-python" else f"{engine}@bin:{server_program}"
    result = pytester.runpytest_subprocess(
        "--llm-bench",
        "--llm-effort=quick",
        *("--pyargs", "pytest_llm.suite.speed"),
        *("--llm-model", "smollm2-135m", "-m", "llm_quick", "-k", chosen or "not parallel"),
        f"--llm-candidate={candidate}",
    )
    result.assert_outcomes(passed=passed, deselected=10 - passed)
    measured = ["prompt speed *tok/s*", "generation speed *tok/s*", "first-token latency *"]
    result.stdout.fnmatch_lines(["*test_speed::test_chat", *(f"  {each}" for each in measured)])
    if not chosen:
        result.stdout.fnmatch_lines(
            [
                "*llm speed*",
                "  load from disk: * s (median of 3)",
                "  largest context: 8192 of 8192 tokens, a KV cache of 180 MiB",
                "  it goes on: *",
            ]
        )


def test_what_a_model_was_not_trained_for_is_not_covered(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess(
        *("--llm-bench", "--pyargs", "pytest_llm.suite.speed", "--llm-model", "smollm2-135m"),
        *("-k", "depth_16k", "--llm-none-measured=warn"),
    )
    result.assert_outcomes(skipped=1, deselected=9)
    result.stdout.fnmatch_lines(["*test_depth_16k takes 16896 tokens, the model was trained for 8192"])
