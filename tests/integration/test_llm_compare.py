"""``llm_compare``: the parameters of a test are variants, measured in the same sessions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytest_llm.reports import recheck

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

VARIANTS = """
@pytest.mark.llm_model("{model}", n_ctx=256, {load})
@pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=16, depth=[0, 32])
@pytest.mark.llm_compare({arguments})
def test_batch(llm_bench):
    assert llm_bench.generation_tokens_per_second.value > 0
"""


BATCHES = "n_batch=[64, 128, 256]"
FLASH = "flash_attn=['on', 'off']"


def written(
    project: Project, load: str = BATCHES, arguments: str = "output=False", text: str = VARIANTS
) -> None:
    project.write(text.format(model=project.model, load=load, arguments=arguments))


def test_variants_share_their_sessions_and_nothing_fails(
    project: Project, fake: Fake, tmp_path: Path
) -> None:
    written(project)
    file = tmp_path / "results.json"
    result = project.measure(f"--llm-json={file}")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(
        [
            "llm-bench plan: 6 benchmarks on 3 subjects, up to * sessions*",
            "variant  *depth  prompt  *change  *generation  *change  *RAM",
            "n_batch=64   0 *",
            "n_batch=128  32 *",
            *(
                f"n_batch={each} against n_batch=64: prompt equal at depth 0 and 32; generation equal at "
                "depth 0 and 32"
                for each in (128, 256)
            ),
        ]
    )
    results, wrong = recheck.read(file)
    assert wrong == []
    (sessions,) = {len(run.sessions) for run in results.runs.values()}
    assert len(results.runs) == 6
    # Each of the three once alone, then once a session.
    assert len(fake.started) == 3 * (1 + sessions)
    assert {each.reference for each in results.pairs.values()} <= set(results.runs)
    assert len(results.pairs) == 4


def test_what_differs_is_told_and_does_not_fail(project: Project, fake: Fake, tmp_path: Path) -> None:
    fake.set(flash_gain=1.0)
    written(project, FLASH)
    file = tmp_path / "results.json"
    result = project.measure(f"--llm-json={file}")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        ["flash_attn=off against flash_attn=on: *generation 50.0 % slower at depth 0 and 32*"]
    )
    document = json.loads(file.read_text())
    assert [test["variant"]["against"] for test in document["tests"]].count("") == 2


def test_outputs_are_compared_unless_the_marker_says_no(project: Project, fake: Fake) -> None:
    written(project, arguments="")
    result = project.measure("-k", "64 or 128")
    result.assert_outcomes(passed=4, deselected=2)
    result.stdout.fnmatch_lines(["n_batch=128 against n_batch=64: *; output the same to the last bit"])


def test_the_only_variant_is_measured_alone_and_says_so(project: Project, fake: Fake) -> None:
    written(project)
    result = project.measure("-k", "256")
    result.assert_outcomes(passed=2, deselected=4)
    result.stdout.fnmatch_lines(["*: it is the only variant that runs: nothing to compare it with"])
    assert " against " not in result.stdout.str()


def test_limits_are_judged_as_ever(project: Project, fake: Fake) -> None:
    fake.set(flash_gain=1.0)
    written(
        project,
        FLASH,
        text=VARIANTS.replace(
            "@pytest.mark.llm_compare",
            "@pytest.mark.llm_tokens_per_second(min=200)\n@pytest.mark.llm_compare",
        ),
    )
    result = project.measure()
    result.assert_outcomes(passed=2, failed=2)


def test_a_reference_has_no_part_in_it(project: Project, fake: Fake, reference: str) -> None:
    fake.set_reference(token_seconds=1 / 64)
    written(project)
    result = project.measure(f"--llm-against={reference}")
    result.assert_outcomes(passed=6)
    assert {each.build.where for each in fake.started} == {project.candidate}


@pytest.mark.parametrize(
    ("marker", "told"),
    [
        ("llm_no_regression()", "llm_compare tells how variants differ, and llm_no_regression judges"),
        ("llm_faster_than('5%', n_batch=32)", "llm_compare tells how variants differ, and llm_faster_than"),
        ("llm_leak(max='1 KiB')", "llm_leak needs its subject alone"),
        ("llm_compare('nonsense')", "nonsense"),
        ("llm_compare(output=1)", "llm_compare: output=1 is neither True nor False"),
        ("llm_compare(tolerance='x')", "llm_compare: 'x' is not a ratio"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_runs(
    project: Project, fake: Fake, marker: str, told: str
) -> None:
    line = "" if marker.startswith("llm_compare") else "\n@pytest.mark.llm_compare()"
    text = VARIANTS.replace("@pytest.mark.llm_compare({arguments})", f"@pytest.mark.{marker}{line}")
    written(project, text=text)
    result = project.measure()
    assert told in result.stdout.str()
    assert not fake.started
    assert "passed" not in result.parseoutcomes()
