"""A passed benchmark's letter and word say what its worst verdict is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

GATED = """
    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=8)
    @pytest.mark.llm_no_regression()
    def test_speed():
        pass

    def test_other():
        pass
"""


@pytest.fixture(autouse=True)
def _gated(project: Project) -> None:
    project.write(GATED)


def _record(project: Project, fake: Fake, runs: int) -> None:
    for factor in (1.0, 1.01, 0.99, 1.02, 0.98)[:runs]:
        fake.set(token_seconds=factor / 128)
        project.measure("--llm-update-baselines=append")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runs", "factor", "letter", "word"),
    [
        (0, 1, "b", "NO BASELINE"),
        (1, 1, "?", "INCONCLUSIVE"),
        (5, 1, ".", "PASSED"),
        (5, 0.5, "+", "IMPROVED"),
    ],
)
def test_each_verdict_has_its_own(
    project: Project, fake: Fake, runs: int, factor: float, letter: str, word: str
) -> None:
    _record(project, fake, runs)
    fake.set(token_seconds=factor / 128)

    quiet = project.measure("-q")
    verbose = project.measure("-v")

    assert any(line.startswith(f"{letter}.") for line in quiet.outlines)
    verbose.stdout.re_match_lines([rf"(.*::test_speed )?{word} .*"])
    verbose.stdout.fnmatch_lines(["*::test_other PASSED*"])
    quiet.assert_outcomes(passed=2)


def test_a_failed_one_keeps_pytests_own(project: Project, fake: Fake) -> None:
    _record(project, fake, 5)
    fake.set(token_seconds=4 / 128)

    result = project.measure("-v")

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*FAILED*"])
