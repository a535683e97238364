"""Twelve tests on one model: each gets a verdict, whatever the default limits of time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_llm.measure import budgets, sessions

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

TESTS = """
    @pytest.mark.llm_workload(prompt_tokens=[32, 64, 96, 128], generate_tokens=[16, 24, 32])
    @pytest.mark.llm_no_regression()
    def test_speed():
        pass
"""


@pytest.fixture(autouse=True)
def _fewest_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each session take one round, as real ones of twelve workloads do: this engine takes no time."""
    fewest = budgets.Budget(1, 1, 0.0)
    monkeypatch.setattr(sessions, "PAIR", replace(budgets.PAIR, rounds=fewest))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds", "verdict"), [(1 / 21, "pass"), (2 / 21, "regressed")], ids=["equal", "twice as slow"]
)
def test_every_one_is_judged(
    project: Project, reference: str, fake: Fake, seconds: float, verdict: str
) -> None:
    fake.set(token_seconds=seconds, jitter=0.02)
    fake.set_reference(token_seconds=1 / 21, commit="57a9d1235")
    project.write(TESTS)

    results = project.results(f"--llm-against={reference}", "--llm-effort=normal")

    found = Counter(
        each["comparison"]["verdict"]
        for test in results["tests"]
        for each in test["metrics"].values()
        if each["comparison"] is not None
    )
    assert found == {verdict: 24}
