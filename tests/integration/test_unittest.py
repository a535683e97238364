"""Tests of ``unittest.TestCase``: markers and fixtures work, parameters cannot."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

TESTS = """
    import unittest

    class TestPlain(unittest.TestCase):
        @pytest.mark.llm_model(n_ctx=512, n_threads=1)
        @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=8)
        @pytest.mark.llm_tokens_per_second(min=1)
        def test_speed(self):
            pass

    class TestList(unittest.TestCase):
        @pytest.mark.llm_model(n_ctx=[512, 1024], n_threads=1)
        @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=8)
        @pytest.mark.llm_tokens_per_second(min=1)
        def test_speed(self):
            pass

    @pytest.mark.usefixtures("llm_bench")
    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=8)
    class TestRecord(unittest.TestCase):
        @pytest.fixture(autouse=True)
        def _take(self, llm_bench):
            self.run_record = llm_bench

        def test_speed(self):
            assert self.run_record.generation_tokens_per_second.value > 0

    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=8)
    @pytest.mark.llm_tokens_per_second(min=1_000_000)
    class TestSlow(unittest.TestCase):
        def test_speed(self):
            pass
"""
NO_PARAMETERS = (
    "lists in markers and several --llm-model make parameters, which methods of a unittest.TestCase cannot "
    "have: give one value, or move the test out of the TestCase"
)


def test_markers_of_methods_and_classes_are_judged(project: Project) -> None:
    project.write(TESTS)

    result = project.measure()

    result.assert_outcomes(passed=2, failed=1, errors=1)
    texts = project.texts(result)
    assert texts["TestList::test_speed"] == NO_PARAMETERS
    assert "the limit is at least 1000000 tok/s" in texts["TestSlow::test_speed"]


def test_lists_are_refused_with_their_reason_without_the_flag_too(project: Project) -> None:
    project.write(TESTS)

    result = project.run(f"--llm-model={project.model}")

    result.assert_outcomes(skipped=3, errors=1)
    assert project.texts(result) == {"TestList::test_speed": NO_PARAMETERS}


def test_several_models_of_the_option_are_refused_with_the_same_reason(project: Project) -> None:
    project.write(
        "import unittest\nclass TestIt(unittest.TestCase):\n @pytest.mark.llm_bench\n def test_it(self): pass"
    )

    assert project.failures("--llm-model=smollm2-135m") == {"TestIt::test_it": NO_PARAMETERS}


def test_a_models_autouse_fixture_and_late_markers_work(project: Project, fake: Fake) -> None:
    project.write(
        """
        import unittest

        class TestTalk(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def _model(self, gguf_model, request):
                self.model, self.request = gguf_model, request

            def test_talk(self):
                assert self.model.generate("hello", max_tokens=3).text == "fgh"

            def test_late(self):
                self.request.getfixturevalue("llm_bench")
                self.request.node.add_marker(pytest.mark.llm_tokens_per_second(min=1000))
        """
    )

    (text,) = project.failures().values()
    assert "the limit is at least 1000" in text


def test_a_failure_of_its_own_is_shown_beside_a_limit(project: Project) -> None:
    project.write(
        """
        import unittest

        @pytest.mark.llm_tokens_per_second(min=1000)
        class TestIt(unittest.TestCase):
            def test_it(self):
                self.assertEqual(1, 2)
        """
    )

    result = project.measure("--llm-json=results.json")

    result.stdout.fnmatch_lines(
        ["*AssertionError: 1 != 2", "*beside the failure above*", "generation speed is*"]
    )
    (test,) = json.loads((project.path / "results.json").read_text(encoding="utf-8"))["tests"]
    assert (test["outcome"], test["failed_by_verdict"]) == ("failed", False)
