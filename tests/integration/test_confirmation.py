"""What regressed by stored values is measured at once beside the release that they are of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytest_llm.builds import BuildStore
from pytest_llm.errors import BuildError

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

NORMAL = 1 / 128
SPREAD = (1.0, 1.01, 0.99, 1.02, 0.98)
TEST = """
    @pytest.mark.llm_model(n_ctx=512)
    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=8)
    @pytest.mark.llm_no_regression("generation_tokens_per_second")
    def test_speed(llm_bench):
        pass
"""
SPEED = "generation_tokens_per_second"


@pytest.fixture(autouse=True)
def _recorded(project: Project, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five stored runs of release 1.0, which can be had again; the candidate is 2.0."""
    monkeypatch.setattr(BuildStore, "ready", lambda *_: "")
    project.write(TEST)
    for factor in SPREAD:
        fake.set(token_seconds=NORMAL * factor)
        project.measure("--llm-update-baselines=append").assert_outcomes(passed=1)
    fake.set(token_seconds=4 * NORMAL, version="2.0")
    fake.set_reference(version="1.0")


def stored_verdicts(project: Project) -> list[str]:
    (path,) = (project.path / "baselines" / "machines").glob("*/test_it.py.json")
    test = json.loads(path.read_text(encoding="utf-8"))["tests"]["test_speed"]
    return [each["verdict"] for each in test["metrics"][SPEED]["runs"]]


def test_a_machine_that_became_slower_is_no_regression(project: Project) -> None:
    result = project.measure("--llm-json=results.json", "--llm-update-baselines=append")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "*::test_speed",
            "  generation speed  32.00 tok/s *pass*",
            "*: regressed by stored runs: measured beside fake@1.0 at once",
            "*: generation speed stayed at 32.00 tok/s*: pass*",
        ]
    )
    metric = json.loads((project.path / "results.json").read_text())["tests"][0]["metrics"][SPEED]
    assert (metric["baseline"]["verdict"], metric["comparison"]["verdict"]) == ("regressed", "pass")
    assert stored_verdicts(project)[-1] == "pass"


@pytest.mark.slow
def test_a_build_that_became_slower_fails_by_both(project: Project, fake: Fake) -> None:
    fake.set_reference(version="1.0", token_seconds=NORMAL)

    text = project.failures("--llm-update-baselines=append")["test_speed"].splitlines()

    assert text[0].startswith(
        "generation speed fell from 128.0 tok/s to 32.00 tok/s, −75.0 % (99 % interval −"
    )
    assert "5 stored runs" in text[0]
    assert text[1].startswith("generation speed fell from 128.0 tok/s to 32.00 tok/s, −75.0 % (")
    assert "session" in text[1]
    assert "  regressed by stored runs: measured beside fake@1.0 at once" in text
    assert "  reference fake 1.0 (llama.cpp 57a9d1234)" in text
    assert stored_verdicts(project)[-1] == "regressed"


@pytest.mark.slow
def test_a_release_that_cannot_be_had_again_leaves_the_verdict_and_is_told(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> str:
        raise BuildError("there is no such release any more")

    monkeypatch.setattr(BuildStore, "ready", gone)

    text = project.failures()["test_speed"].splitlines()

    told = "  regressed by stored runs: not confirmed beside fake@1.0: there is no such release any more"
    assert told in text


@pytest.mark.slow
def test_runs_of_the_same_release_confirm_nothing(project: Project, fake: Fake) -> None:
    fake.set(version="1.0")
    started = len(fake.started)

    text = project.failures()["test_speed"].splitlines()

    assert len(fake.started) == started + 3
    told = "  regressed by stored runs: not confirmed in pairs, because they are of no other release"
    assert any(line.startswith(told) for line in text)
