"""A tool beside the server that it runs inside: a third subject splits the difference."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_llm.checks.overhead import costs
from pytest_llm.records.inside import ServerInside
from pytest_llm.reports import recheck
from tests.fake_engine import TOOL

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

SUITE = """
@pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=16)
@pytest.mark.llm_no_regression("inter_token_latency_p50", tolerance="90%")
def test_chat(llm_bench):
    pass
"""


@pytest.mark.parametrize(
    ("tool", "flags", "wrapper", "settings"),
    [(1 / 64, 1 / 128, 1 / 128, 0.0), (1 / 64, 1 / 64, 0.0, 1 / 128), (1 / 32, 1 / 64, 1 / 64, 1 / 128)],
)
def test_the_difference_is_split(
    project: Project,
    fake: Fake,
    reference: str,
    tmp_path: Path,
    tool: float,
    flags: float,
    wrapper: float,
    settings: float,
) -> None:
    fake.set(token_seconds=tool)
    fake.set_reference(token_seconds=1 / 128)
    fake.flags = {"token_seconds": flags}
    stored = str(shutil.copy(project.model, tmp_path / "stored"))
    fake.inside = ServerInside(sys.executable, ("-ub", "16"), {"n_ubatch": 16}, model=stored)
    project.write(SUITE)
    file = tmp_path / "results.json"
    result = project.run(
        "--llm-bench",
        f"--llm-candidate={TOOL}",
        f"--llm-against={reference}",
        f"--llm-model={project.model}",
        "--llm-effort=quick",
        "--llm-drift=warn",
        f"--llm-json={file}",
    )
    text = f"wrapper +{wrapper * 1e3:.2f} ms * settings +{settings * 1e3:.2f} ms *"
    result.stdout.fnmatch_lines([f"*test_chat: a token: *{text}"])
    results, wrong = recheck.read(file)
    assert wrong == []
    (finding,) = recheck.rejudge(results)
    assert finding.run is not None
    assert finding.inside is not None
    assert finding.inside.candidate.subject.build.kind == "cmd"
    # Both servers have loaded the tool's very file.
    assert {finding.inside.candidate.model.path, finding.inside.reference.model.path} == {stored}
    assert finding.run.model.path == str(project.model)
    token, _ = costs(finding.run, finding.inside.reference, finding.inside.candidate)
    assert token.total.mean == pytest.approx(wrapper + settings)
    third = {each.candidate for each in results.pairs.values()}
    assert len(results.pairs) == 2
    assert len(third) == 2


@pytest.mark.parametrize("inside", [None, ServerInside(sys.executable, (), model="/somewhere/else")])
def test_where_nothing_can_be_seen_inside_the_pair_is_as_any_other(
    project: Project, fake: Fake, reference: str, tmp_path: Path, inside: ServerInside | None
) -> None:
    fake.inside = inside
    project.write(SUITE)
    file = tmp_path / "results.json"
    result = project.run(
        "--llm-bench",
        f"--llm-candidate={TOOL}",
        f"--llm-against={reference}",
        f"--llm-model={project.model}",
        "--llm-effort=quick",
        f"--llm-json={file}",
    )
    result.assert_outcomes(passed=1)
    results = recheck.read_sound(file)
    assert (len(results.pairs), results.tests[0].inside) == (1, None)
    assert "wrapper" not in result.stdout.str()
