"""Fixtures of ours that a test requests while it runs, and those that wider fixtures take."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

BY_NAME = """
    def test_speed(request):
        run = request.getfixturevalue("llm_bench")
        assert run.generation_tokens_per_second.value == 128
        assert (run.workload.prompt_tokens, run.workload.generate_tokens) == (128, 64)
        assert len(run.sessions) == 3
"""


class TestLLMBench:
    """Measured then and there."""

    def test_is_the_default_workload(self, project: Project) -> None:
        project.write(BY_NAME)

        results = project.results()

        (test,) = results["tests"]
        assert (test["outcome"], test["workload"]["prompt_tokens"]) == ("passed", 128)

    def test_has_no_baseline_that_is_left_over(self, project: Project) -> None:
        project.write("[pytest]\n", "pytest.ini")
        project.write(f"{BY_NAME}\n    def test_planned(llm_bench): pass\n")
        project.measure("--llm-update-baselines=replace")

        assert "no longer exist" not in project.measure().stdout.str()

    def test_is_skipped_without_the_flag(self, project: Project, fake: Fake) -> None:
        project.write(BY_NAME)

        project.run().assert_outcomes(skipped=1)
        assert fake.started == []

    def test_is_solo_beside_a_reference(self, project: Project, fake: Fake, reference: str) -> None:
        project.write(f"{BY_NAME}\n    def test_planned(llm_bench): pass")

        project.measure(f"--llm-against={reference}", "-k", "speed").assert_outcomes(passed=1)

        assert len(fake.started) == 3

    def test_takes_the_model_and_the_options_of_the_marker(self, project: Project) -> None:
        project.write(
            """
            @pytest.fixture
            def speed(request):
                return request.getfixturevalue("llm_bench")

            @pytest.mark.llm_model(n_ctx=512)
            def test_speed(speed):
                assert speed.effective_options["n_ctx"] == 512
            """
        )

        project.measure().assert_outcomes(passed=1)

    def test_is_measured_once_and_beside_planned_workloads_of_the_subject(
        self, project: Project, fake: Fake
    ) -> None:
        project.write(
            f"""
            @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
            def test_planned(llm_bench): pass
            {BY_NAME}
            def test_again(request):
                assert request.getfixturevalue("llm_bench") is request.getfixturevalue("llm_bench")
            """.replace("\n    ", "\n            ").replace("\n                    ", "\n            ")
        )

        project.measure().assert_outcomes(passed=3)

        assert len(fake.started) == 6

    def test_is_what_late_limits_are_judged_on(self, project: Project) -> None:
        project.write(
            """
            def test_speed(request):
                request.getfixturevalue("llm_bench")
                request.node.add_marker(pytest.mark.llm_tokens_per_second(min=1000))
            """
        )

        (text,) = project.failures().values()
        assert "the limit is at least 1000" in text

    def test_works_in_a_doctest(self, project: Project) -> None:
        project.write(">>> getfixture('llm_bench').workload.prompt_tokens\n128\n", "test_it.txt")

        project.measure().assert_outcomes(passed=1)

    def test_that_cannot_be_measured_fails_the_test(self, project: Project, fake: Fake) -> None:
        fake.set(fault="load")
        project.write(BY_NAME)

        result = project.measure("--llm-json=results.json")

        (text,) = project.texts(result).values()
        assert "it refused to load" in text
        assert "the only benchmark was broken before anything was measured" in result.stdout.str()
        (test,) = json.loads((project.path / "results.json").read_text(encoding="utf-8"))["tests"]
        assert (test["outcome"], test["metrics"]) == ("failed", {})

    def test_that_ran_otherwise_than_it_was_asked_to_is_drift(self, project: Project, fake: Fake) -> None:
        fake.set(flash_attention="off")
        project.write(f"@pytest.mark.llm_model(flash_attn='on')\n{textwrap.dedent(BY_NAME)}")

        (text,) = project.failures().values()
        assert "flash_attn" in text

    def test_several_models_need_one_that_is_named(self, project: Project) -> None:
        project.write(BY_NAME)

        (text,) = project.failures("--llm-model=smollm2-135m").values()
        assert "this test asks for a model while it runs: name one with llm_model" in text


class TestGGUFModel:
    """Loaded then and there."""

    def test_is_the_model_of_the_option(self, project: Project) -> None:
        project.write(
            """
            def test_talk(request):
                model = request.getfixturevalue("gguf_model")
                assert model.generate("hello", max_tokens=3).text == "fgh"
                assert request.getfixturevalue("llm_memory").held(model.pid) > 0
            """
        )

        arguments = (f"--llm-candidate={project.candidate}", f"--llm-model={project.model}")
        project.run(*arguments).assert_outcomes(passed=1)

    def test_without_any_model_says_how_to_name_one(self, project: Project) -> None:
        project.write("def test_talk(request): request.getfixturevalue('gguf_model')")

        (text,) = project.texts(project.run()).values()
        assert text == "no model: name one in the llm_model marker, or give --llm-model NAME_OR_FILE"


def test_fixtures_of_a_wider_scope_are_led_to_the_factory(project: Project) -> None:
    project.write(
        """
        @pytest.fixture(scope="session")
        def bot(gguf_model):  # loading takes long: once for all tests
            return gguf_model

        @pytest.fixture(scope="session")
        def answers(request):
            model = request.getfixturevalue("gguf_model")
            return {text: model.generate(text, max_tokens=3).text for text in ("a", "b")}

        @pytest.fixture(scope="module")
        def record(request):
            return request.getfixturevalue("llm_bench")
        """,
        "conftest.py",
    )
    project.write(
        """
        def test_talk(bot):
            assert bot.generate("hello", max_tokens=3).text

        def test_answers(answers):
            assert answers

        def test_late(request):
            request.getfixturevalue("bot")

        def test_record(record):
            assert record
        """
    )

    texts = project.texts(project.run(f"--llm-candidate={project.candidate}", f"--llm-model={project.model}"))

    factory = (
        "gguf_model belongs to one test, whose markers name it; for a module or a whole run, take llm_load: "
        "def bot(llm_load): return llm_load('smollm2-135m', n_ctx=2048)"
    )
    assert texts.pop("test_talk") == f"the fixture bot has a wider scope than gguf_model has: {factory}"
    assert all(text.startswith("ScopeMismatch: You tried to access the function") for text in texts.values())
    hints = {name: text.splitlines()[-1] for name, text in texts.items()}
    assert hints.pop("test_record").startswith("llm_bench is the run record of one test: take it in the test")
    assert hints == dict.fromkeys(["test_answers", "test_late"], factory)


def test_fixtures_of_a_wider_scope_are_told_so_before_a_model_is_missed(project: Project) -> None:
    project.write(
        """
        @pytest.fixture(scope="module")
        def bot(gguf_model): return gguf_model

        @pytest.fixture
        def talk(bot): return bot

        def test_talk(talk): pass

        @pytest.fixture(scope="class")
        def record(llm_bench): return llm_bench

        def test_record(record): pass
        """
    )

    texts = project.texts(project.run())

    assert texts["test_talk"].startswith("the fixture bot has a wider scope than gguf_model has: ")
    assert texts["test_record"].startswith("the fixture record has a wider scope than llm_bench has: ")


def test_fixtures_that_hide_ours_need_nothing_of_ours(project: Project, fake: Fake) -> None:
    project.write(
        f"""
        @pytest.fixture(scope="session")
        def gguf_model(llm_load):
            return llm_load({str(project.model)!r})

        @pytest.fixture
        def llm_bench():
            return "theirs"

        def test_talk(gguf_model, llm_bench):
            assert gguf_model.generate("hello", max_tokens=3).text == "fgh"
            assert llm_bench == "theirs"

        class TestThatUsesBoth:
            @pytest.fixture
            def gguf_model(self, gguf_model):
                return gguf_model

            def test_talk(self, gguf_model):
                assert gguf_model.alive
        """
    )

    project.run(f"--llm-candidate={project.candidate}").assert_outcomes(passed=2)
    assert len(fake.started) == 1


def test_a_fixture_that_hides_and_takes_ours_makes_a_benchmark(project: Project) -> None:
    project.write(
        """
        @pytest.fixture
        def llm_bench(llm_bench):
            return llm_bench.generation_tokens_per_second.value

        def test_speed(llm_bench):
            assert llm_bench == 128
        """
    )

    project.run().assert_outcomes(skipped=1)
    project.measure().assert_outcomes(passed=1)
