"""``llm_faster_than``: whether the load options of a test are worth it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

HEAD = """
    pytestmark = [
        pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2),
        pytest.mark.llm_model(flash_attn="on"),
    ]
"""


def _of(project: Project, *marker: str) -> dict[str, str]:
    """Return what tests with these markers show, without measuring: they fail before."""
    tests = [f"    @pytest.mark.{each}\n    def test_{n}(): pass\n" for n, each in enumerate(marker)]
    project.write(HEAD + "".join(tests))
    return project.failures()


def test_a_claim_that_holds_passes_and_one_that_does_not_fails(project: Project, fake: Fake) -> None:
    fake.set(flash_gain=0.3)
    project.write(
        HEAD
        + """
    @pytest.mark.llm_faster_than("20%", flash_attn="off")
    def test_kept(): pass

    @pytest.mark.llm_faster_than(0.2, phase="prompt", flash_attn="off", n_ctx=512)
    def test_kept_by_prompts(): pass

    @pytest.mark.llm_faster_than("40%", flash_attn="off")
    def test_not_kept(): pass
    """
    )

    result = project.measure("--llm-json=results.json", "--junitxml=junit.xml")

    result.assert_outcomes(passed=2, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = project.texts(result)["test_not_kept"].splitlines()
    assert text[0].startswith("generation speed rose from 128.0 tok/s to 166.4 tok/s, +30.0 % (")
    assert text[0].endswith("): not as claimed, faster by 40 %")
    assert "  reference the same build with flash_attn=off" in text
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_not_kept",
            "  generation speed *  over limit",
            "test_it.py::test_kept: generation speed rose *: as claimed, faster by 20 %",
            "test_it.py::test_kept_by_prompts: prompt speed rose *: as claimed, faster by 20 %",
        ]
    )
    properties = ElementTree.parse(project.path / "junit.xml").iterfind(
        ".//property[@name='llm_claim_verdicts']"
    )
    found = [json.loads(each.attrib["value"]) for each in properties]
    for verdict in ("pass", "over limit"):
        assert {"generation_tokens_per_second": verdict} in found


def test_two_claims_about_the_same_two_subjects_share_their_sessions(project: Project, fake: Fake) -> None:
    project.write(
        HEAD
        + """
    @pytest.mark.llm_faster_than("20%", flash_attn="off")
    def test_one(): pass

    @pytest.mark.llm_faster_than("30%", phase="total", flash_attn="off")
    def test_other(): pass
    """
    )

    project.measure()

    alone, together = 3, 2 * (1 + 6)
    assert len(fake.started) == alone + together


def test_the_claim_is_one_about_every_parameter(project: Project, fake: Fake) -> None:
    fake.set(flash_gain=0.3)
    project.write(
        """
        @pytest.mark.llm_workload(prompt_tokens=[4, 8], generate_tokens=2)
        @pytest.mark.llm_model(flash_attn=["on", "auto"])
        @pytest.mark.llm_faster_than("20%", flash_attn="off")
        def test_claim(): pass
        """
    )

    result = project.measure()

    result.assert_outcomes(passed=2, failed=2)
    assert set(project.texts(result)) == {
        "test_claim[flash_attn=auto-prompt_tokens=4]",
        "test_claim[flash_attn=auto-prompt_tokens=8]",
    }


def test_the_plan_shows_both_sides(project: Project) -> None:
    project.write(
        HEAD + "    @pytest.mark.llm_faster_than('20%', flash_attn='off', n_ubatch=64)\n    def test(): pass"
    )

    plan = project.plan(*project.measuring())

    assert " on 2 subjects, up to 9 sessions, " in plan[0]
    assert [line.rpartition(": ")[2].partition(" of ")[0] for line in plan if "n_ctx" in line] == [
        "3 sessions",
        "up to 6 sessions",
    ]
    assert " against itself with n_ubatch=64, flash_attn=off, n_ctx=" in plan[3]


@pytest.mark.parametrize(
    ("marker", "reason"),
    [
        ("llm_faster_than()", "missing a required argument: 'by'"),
        ("llm_faster_than('10%')", "than what? name a load option: llm_faster_than('10%', flash_attn='off')"),
        ("llm_faster_than('10%', flash_attn='on')", "the test itself is loaded with flash_attn='on'"),
        (
            "llm_faster_than('10%', flash_atn='off')",
            "unknown load option 'flash_atn': did you mean flash_attn?",
        ),
        (
            "llm_faster_than('10%', flash_attn='maybe')",
            "llm_faster_than: flash_attn='maybe' is not one of auto, on, off",
        ),
        ("llm_faster_than('10%', phase='both', n_ctx=512)", "unknown phase of llm_faster_than 'both'"),
        ("llm_faster_than('-3%', flash_attn='off')", "-3%"),
        ("llm_faster_than(0, flash_attn='off')", "by=0 is not above 0; write '10%', say"),
        ("llm_faster_than('fast', flash_attn='off')", "'fast' is not a"),
        ("llm_faster_than('10%', 'prompt', 'off')", "too many positional arguments"),
        ("llm_faster_than('10%', n_ctx=4)", "the context is too small"),
        ("llm_faster_than('10%', n_ubatch=[64, 128])", "lists make parameters only where a test is defined"),
    ],
)
def test_a_claim_that_makes_no_sense_fails_its_test_in_one_line(
    project: Project, fake: Fake, marker: str, reason: str
) -> None:
    (told,) = _of(project, marker).values()

    assert reason in told
    assert "\n" not in told
    assert fake.started == []


def test_the_marker_and_its_signature_are_in_pytests_list(project: Project) -> None:
    project.run("--markers").stdout.fnmatch_lines(
        ["@pytest.mark.llm_faster_than(by, phase='generation', ?*load_options): Fail unless this is faster*"]
    )
