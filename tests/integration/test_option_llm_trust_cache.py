"""``--llm-trust-cache`` believes the hashes of models that earlier runs stored."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from pytest_llm.models import checksums
from tests.gguf_files import GGUF

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Project

BENCHMARK = """
    @pytest.mark.llm_model("pinned")
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_tokens_per_second(min=1)
    def test_speed():
        pass
"""


@pytest.fixture
def forged(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Measure a pinned model, put another file in its place, and forge the record of its hash."""
    monkeypatch.setenv("PYTEST_LLM_CACHE", str(project.path / "cache"))
    model = project.path / "m.gguf"
    content = GGUF().build()
    model.write_bytes(content)
    pin = hashlib.sha256(content).hexdigest()
    project.write(
        f"""
        [tool.pytest_llm.models.pinned]
        source = "./m.gguf"
        sha256 = "{pin}"
        """,
        "pyproject.toml",
    )
    project.write(BENCHMARK)
    project.measure().assert_outcomes(passed=1)
    model.write_bytes(content[:-1] + b"!")
    (record,) = (project.path / "cache" / "verified").iterdir()
    with model.open("rb") as file:
        identity = checksums.identity(file.fileno())
    record.write_text(json.dumps({**json.loads(record.read_text()), "identity": identity}))
    return model


def test_a_forged_record_does_not_count_by_default(project: Project, forged: Path) -> None:
    result = project.measure()

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{forged.name}: its SHA-256 is *, but * is pinned: *"])


def test_records_count_where_the_user_says_so(project: Project, forged: Path) -> None:
    project.measure("--llm-trust-cache").assert_outcomes(passed=1)


def test_works_in_the_ini_file(project: Project, forged: Path) -> None:
    project.measure("-o", "llm_trust_cache=true").assert_outcomes(passed=1)


def test_help_says_who_can_forge_the_hashes(project: Project) -> None:
    assert "every program that can write the cache can forge them" in project.help("--llm-trust-cache")
