"""A tool beside the server that it runs inside: a third subject splits the difference."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_llm.checks import notes
from pytest_llm.checks.overhead import costs, not_split
from pytest_llm.records.inside import ServerInside
from pytest_llm.reports import recheck
from tests.fake_engine import LIBRARY_TOOL, TOOL

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


def run(project: Project, tool: str, reference: str, *more: str) -> pytest.RunResult:
    project.write(SUITE)
    return project.run(
        "--llm-bench",
        f"--llm-candidate={tool}",
        f"--llm-against={reference}",
        f"--llm-model={project.model}",
        "--llm-effort=quick",
        *more,
    )


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
    file = tmp_path / "results.json"
    result = run(project, TOOL, reference, "--llm-drift=warn", f"--llm-json={file}")
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


@pytest.mark.parametrize(
    "inside",
    [
        None,
        ServerInside(sys.executable, (), model="/somewhere/else"),
        ServerInside("/somewhere/else", (), model=__file__),
    ],
)
def test_where_nothing_can_be_seen_inside_the_pair_is_as_any_other(
    project: Project, fake: Fake, reference: str, tmp_path: Path, inside: ServerInside | None
) -> None:
    fake.inside = inside
    file = tmp_path / "results.json"
    result = run(project, TOOL, reference, f"--llm-json={file}")
    result.assert_outcomes(passed=1)
    results = recheck.read_sound(file)
    assert (len(results.pairs), results.tests[0].inside) == (1, None)
    assert "wrapper" not in result.stdout.str()
    result.stdout.fnmatch_lines(
        [
            "*test_chat: a token: 7.81 ms → 7.81 ms, +0.00 ms (+0.00 … +0.00), ±0.0 %",
            f"*test_chat: {not_split(TOOL)}",
        ]
    )


def test_the_cost_of_one_that_starts_no_server_is_told_whole(
    project: Project, fake: Fake, reference: str, tmp_path: Path
) -> None:
    file = tmp_path / "results.json"
    fake.set(token_seconds=1 / 64)
    fake.set_reference(token_seconds=1 / 128)
    result = run(project, LIBRARY_TOOL, reference, f"--llm-json={file}")
    lines = ["*test_chat: a token: 7.81 ms → 15.62 ms, +7.81 ms (+7.81 … +7.81), +100.0 %"]
    result.stdout.fnmatch_lines(lines)
    result.stdout.no_fnmatch_line("*not split*")
    (read,) = recheck.rejudge(recheck.read_sound(file))
    assert [each for each in notes(read) if each.startswith("a token: 7.81 ms → 15.62 ms")]


def test_a_tool_that_has_loaded_other_bytes_is_not_measured(
    project: Project, fake: Fake, reference: str
) -> None:
    fake.inside = ServerInside(sys.executable, (), model=__file__)
    result = run(project, TOOL, reference)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [f"*{__file__} has other content than {project.model}: give both the same file*"]
    )
