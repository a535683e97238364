"""Models for a module or a whole run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fake_engine import FakeSubject

if TYPE_CHECKING:
    from pytest_llm.records import Workload
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project, StandIn


@pytest.fixture
def arguments(project: Project) -> list[str]:
    """What a run without the flag needs."""
    return [f"--llm-candidate={project.candidate}", f"--llm-model={project.model}"]


def test_one_model_serves_fixtures_of_any_scope(project: Project, fake: Fake, arguments: list[str]) -> None:
    project.write(
        """
        @pytest.fixture(scope="session")
        def bot(llm_load):
            return llm_load()

        @pytest.fixture(scope="session")
        def answers(request):
            model = request.getfixturevalue("llm_load")()
            return {text: model.generate(text, max_tokens=3).text for text in ("a", "b")}
        """,
        "conftest.py",
    )
    project.write(
        """
        from pytest_llm import GGUFModel

        def test_talk(bot):
            assert isinstance(bot, GGUFModel)
            assert bot.generate("hello", max_tokens=3).text == "fgh"

        def test_answers(answers):
            assert answers == {"a": "bcd", "b": "bcd"}

        def test_own(gguf_model, bot):
            assert gguf_model is bot
        """
    )

    project.run(*arguments).assert_outcomes(passed=3)

    assert len(fake.started) == 1
    assert fake.alive() == []


def test_equal_arguments_share_a_model_and_others_do_not(
    project: Project, fake: Fake, arguments: list[str]
) -> None:
    project.write(
        f"""
        def test_talk(llm_load):
            one = llm_load(n_ctx=512)
            assert llm_load({str(project.model)!r}, n_ctx=512) is one
            assert llm_load(n_ctx=1024) is not one
            assert one.effective_options()["n_ctx"] == 512
        """
    )

    project.run(*arguments).assert_outcomes(passed=1)

    assert len(fake.started) == 2


def test_a_closed_model_is_loaded_again_when_it_is_used(
    project: Project, fake: Fake, arguments: list[str]
) -> None:
    project.write(
        """
        def test_talk(llm_load):
            with llm_load() as model:
                assert model.alive
            assert not model.alive
            assert model.generate("hello", max_tokens=3).text == "fgh"
            assert [token.text for token in model.stream("hello", max_tokens=2)] == ["f", "g"]
            model.close()
            assert llm_load().alive
            assert model.alive
        """
    )

    project.run(*arguments).assert_outcomes(passed=1)

    assert len(fake.started) == 3
    assert fake.alive() == []


def test_nothing_stays_loaded_while_something_is_measured(
    project: Project, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside: list[int] = []
    rehearse = FakeSubject.rehearse

    def count(loaded: FakeSubject, workload: Workload) -> float:
        beside.append(len(fake.alive()) - 1)
        return rehearse(loaded, workload)

    monkeypatch.setattr(FakeSubject, "rehearse", count)
    project.write(
        """
        @pytest.fixture(scope="session")
        def bot(llm_load):
            return llm_load(n_ctx=512)

        def test_before(bot, gguf_model):
            assert bot.alive and gguf_model.alive

        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        def test_speed(llm_bench, bot):
            assert bot.generate("hello", max_tokens=3).text == "fgh"

        @pytest.mark.llm_model(n_ctx=768)
        def test_by_name(bot, request):
            assert bot.alive
            request.getfixturevalue("llm_bench")
            assert not bot.alive
            assert bot.generate("hello", max_tokens=3).text == "fgh"
        """
    )

    project.measure().assert_outcomes(passed=3)

    assert beside == [0] * 6
    assert fake.alive() == []


@pytest.mark.slow
def test_a_process_that_dies_fails_one_call(worker: Project, stand_in: StandIn) -> None:
    stand_in.set(fault="tokens:7=hang")
    worker.write(
        """
        from pytest_llm import LLMBenchError

        @pytest.fixture(scope="module")
        def bot(llm_load):
            return llm_load()

        def test_hangs(bot):
            with pytest.raises(LLMBenchError, match="gave no answer for 1 s"):
                bot.generate("1234567")
            assert not bot.alive

        def test_next(bot):
            assert bot.generate("hello", max_tokens=3).text == "fgh"
        """
    )

    arguments = (f"--llm-candidate={worker.candidate}", f"--llm-model={worker.model}", "--llm-timeout=1")
    worker.run(*arguments).assert_outcomes(passed=2)

    assert stand_in.alive() == []


def test_nonsense_is_one_line(project: Project, arguments: list[str]) -> None:
    project.write(
        """
        from pytest_llm import LLMBenchError

        @pytest.mark.parametrize(("given", "options", "line"), [
            ("nowhere.gguf", {}, "nowhere.gguf: there is no such file"),
            ("smollm2-153m", {}, "did you mean smollm2-135m?"),
            ("", {"n_ctxx": 1}, "unknown load option 'n_ctxx': did you mean n_ctx"),
            ("", {"n_ctx": "big"}, "llm_load: n_ctx='big' is not a whole number"),
            ("", {"n_ctx": [512, 1024]}, "llm_load: n_ctx=.512, 1024.: lists make parameters only where"),
            (["a", "b"], {}, "llm_load: .'a', 'b'. is neither a name nor a path"),
        ])
        def test_nonsense(llm_load, given, options, line):
            with pytest.raises(LLMBenchError, match=line):
                llm_load(given, **options)
        """
    )

    project.run(*arguments).assert_outcomes(passed=6)


@pytest.mark.parametrize(
    "models", [(), ("--llm-model=smollm2-135m", "--llm-model=other.gguf")], ids=["0", "2"]
)
def test_without_a_name_there_must_be_one_model(project: Project, models: tuple[str, ...]) -> None:
    project.write("", "other.gguf")
    project.write("def test_talk(llm_load): llm_load()")

    (text,) = project.texts(project.run(*models)).values()
    assert "llm_load: which model? name one, or give --llm-model NAME_OR_FILE once" in text
