"""Subtests: a test is what all its reports say, not the last one alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

pytestmark = pytest.mark.skipif(pytest.version_tuple < (9,), reason="older pytest has no fixture subtests")
SHORT = "@pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)"
GATED = f"{SHORT}\n@pytest.mark.llm_no_regression()"
UNITTEST = """
import unittest

class TestIt(unittest.TestCase):
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_no_regression()
    def test_it(self):
        for speed in (128, {speed}):
            with self.subTest(speed=speed):
                assert speed == 128
"""
FIXTURE = """
@pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
@pytest.mark.llm_no_regression()
def test_it(llm_bench, subtests):
    for speed in (128, {speed}):
        with subtests.test(speed=speed):
            assert llm_bench.generation_tokens_per_second.value == speed
"""
both = pytest.mark.parametrize("source", [FIXTURE, UNITTEST], ids=["fixture", "unittest"])


def _stored(project: Project) -> bool:
    return any((project.path / "baselines").rglob("*.json"))


@both
def test_a_failed_subtest_fails_the_test_and_teaches_no_baseline(project: Project, source: str) -> None:
    project.write(source.format(speed=1))

    result = project.measure("--llm-json=r.json", "--llm-update-baselines=append")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert not _stored(project)
    assert project.results()["tests"][0]["outcome"] == "failed"


@both
def test_passed_subtests_teach_it(project: Project, source: str) -> None:
    project.write(source.format(speed=128))

    result = project.measure("--llm-update-baselines=append")

    assert result.ret == pytest.ExitCode.OK
    assert _stored(project)
    assert project.results()["tests"][0]["outcome"] == "passed"


def test_a_failed_subtest_does_not_hide_the_verdict(project: Project) -> None:
    project.write(
        f"""
        {SHORT}
        @pytest.mark.llm_tokens_per_second(min=1000)
        def test_it(subtests):
            with subtests.test():
                assert False, "the user's own words"
        """
    )

    result = project.measure()

    result.stdout.fnmatch_lines(["*the user's own words*", "*the limit is at least 1000 tok/s*"])


def test_a_skipped_subtest_is_no_failure(project: Project) -> None:
    project.write(
        f"""
        {SHORT}
        def test_it(llm_bench, subtests):
            with subtests.test():
                pytest.skip("not here")
        """
    )

    assert project.results()["tests"][0]["outcome"] == "passed"


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("def test_it(llm_bench, late): pass", "error"),
        ("def test_it(llm_bench, late): assert False", "failed"),
        ("@pytest.mark.xfail\ndef test_it(llm_bench): assert False", "skipped"),
    ],
    ids=["a fixture that fails at its end", "test and fixture", "expected"],
)
def test_what_failed_beside_the_verdicts_teaches_no_baseline(
    project: Project, body: str, outcome: str
) -> None:
    """Even if the verdict is "no baseline", which alone would teach one."""
    project.write(
        "@pytest.fixture\ndef late():\n    yield\n    assert False\n\n"
        "@pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)\n@pytest.mark.llm_no_regression()\n"
        + body
    )

    found = project.results("--llm-update-baselines=append")

    assert found["tests"][0]["outcome"] == outcome
    assert not _stored(project)
