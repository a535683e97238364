"""Whether a machine is qualified: shown by the command, told by runs that compare."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytest_llm.cli import main
from pytest_llm.machine import fingerprint, qualification

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Project, StandIn

pytestmark = pytest.mark.slow
NOT_QUALIFIED = "this machine is not qualified: pytest-llm doctor --qualify"
GATED = """
    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=4)
    @pytest.mark.llm_no_regression()
    def test_gated():
        pass
"""
CLAIMED = """
    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=4)
    @pytest.mark.llm_faster_than("10%", flash_attn="off")
    def test_claimed():
        pass
"""
LIMITED = """
    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=4)
    @pytest.mark.llm_tokens_per_second(min=1000)
    def test_limited():
        pass
"""


@pytest.fixture
def cache(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTEST_LLM_CACHE", str(project.path / "cache"))
    monkeypatch.setenv("PYTEST_LLM_LOCK", str(project.path / "lock"))
    return project.path / "cache"


def qualify(project: Project) -> int:
    return main(["doctor", "--qualify", f"--candidate={project.candidate}", f"--model={project.model}"])


def test_a_machine_that_passes_every_check_is_qualified_from_then_on(
    project: Project, cache: Path, stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.set(token_seconds=0.0001)
    project.write(GATED)
    assert project.measure("--llm-aa").outlines.count(NOT_QUALIFIED) == 1
    capsys.readouterr()

    assert qualify(project) == 0

    out, err = capsys.readouterr()
    found = qualification.read(cache, fingerprint.fingerprint())
    assert found.since is not None
    machine = fingerprint.fingerprint()
    assert out.splitlines()[-1].startswith(f"machine {machine} is qualified: stored in {cache}")
    assert "slowdown: passed" in out.splitlines()
    assert "this takes about 8 minutes: 24 sessions of checks and 30 of sham pairs" in err
    assert out.count("  preloaded library, fixed start order: prompt speed ") == 6
    assert "  left out: realigned build: the settings that " in out
    assert len([line for line in err.splitlines() if " took " in line]) == 24 + 30
    assert not stand_in.alive()
    policies = [each["environment"].get("OMP_WAIT_POLICY") for each in stand_in.processes()]
    assert policies.count("active") == 7  # those of the candidate: to look at it, and one a session
    told = project.measure("--llm-aa", "--llm-json=results.json").outlines
    assert told.count(f"this machine is qualified since {found.since}") == 1
    assert NOT_QUALIFIED not in told
    results = json.loads((project.path / "results.json").read_text(encoding="utf-8"))
    assert results["machine"]["qualified"] == found.since


def test_a_claim_that_fails_on_an_unqualified_machine_ends_with_that_remark(
    project: Project, cache: Path
) -> None:
    project.write(CLAIMED)
    result = project.measure("--llm-json=results.json")
    assert project.texts(result)["test_claimed"].splitlines()[-1] == f"  {NOT_QUALIFIED}"
    assert result.outlines.count(NOT_QUALIFIED) == 1
    results = json.loads((project.path / "results.json").read_text(encoding="utf-8"))
    assert results["machine"]["qualified"] is None
    assert not (cache / "qualified").exists()


def test_a_run_that_compares_nothing_says_nothing_of_it(project: Project, cache: Path) -> None:
    project.write(LIMITED)
    result = project.measure()
    assert "qualified" not in result.stdout.str()
    assert "qualified" not in project.texts(result)["test_limited"]
    assert not cache.exists() or not list(cache.glob("qualified"))
