"""What the fixtures hand out, and for how long."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project, StandIn


class TestLLMBench:
    """The run record."""

    def test_has_every_metric_with_value_unit_and_samples(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.llm_model(n_ctx=512)
            @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=17)
            def test_speed(llm_bench):
                speed = llm_bench.generation_tokens_per_second
                assert speed.value == 128
                assert speed.samples == (128, 128, 128)
                assert speed.metric.unit.base == "tok/s"
                assert llm_bench.prompt_tokens_per_second.value == 128
                assert llm_bench.first_token_latency.value == 0.125
                assert llm_bench.inter_token_latency_p90.value == 1 / 128
                assert llm_bench.load_time.value == 0.25
                assert llm_bench.peak_ram.value > 2**20
            """
        )

        project.measure().assert_outcomes(passed=1)

    def test_says_on_what_it_was_measured(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.llm_model(n_ctx=512, flash_attn=False)
            @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=17)
            def test_speed(llm_bench):
                assert llm_bench.model.architecture == "tiny"
                assert str(llm_bench.build) == "fake 1.0 (llama.cpp 57a9d1234)"
                assert llm_bench.workload.prompt_tokens == 16
                assert llm_bench.subject.load_options.flash_attn == "off"
                assert llm_bench.effective_options["n_ctx"] == 512
                assert len(llm_bench.sessions) == 3
            """
        )

        project.measure().assert_outcomes(passed=1)

    def test_an_unknown_metric_names_the_nearest(self, project: Project) -> None:
        project.write(
            """
            def test_speed(llm_bench):
                with pytest.raises(AttributeError, match="did you mean load_time"):
                    llm_bench.lod_time
            """
        )

        project.measure().assert_outcomes(passed=1)

    def test_alone_makes_a_benchmark_of_the_default_workload(self, project: Project) -> None:
        project.write(
            """
            def test_speed(llm_bench):
                assert llm_bench.workload.prompt_tokens == 128
            """
        )

        project.run().assert_outcomes(skipped=1)
        project.run(f"--llm-model={project.model}").assert_outcomes(skipped=1)
        project.measure().assert_outcomes(passed=1)


class TestGGUFModel:
    """A loaded model to talk with."""

    @pytest.fixture
    def arguments(self, project: Project) -> list[str]:
        """What a run without the flag needs."""
        return [f"--llm-candidate={project.candidate}", f"--llm-model={project.model}"]

    @pytest.fixture
    def worker_arguments(self, worker: Project) -> list[str]:
        """What a run without the flag needs."""
        return [f"--llm-candidate={worker.candidate}", f"--llm-model={worker.model}"]

    def test_works_without_the_flag(self, project: Project, arguments: list[str]) -> None:
        project.write(
            """
            def test_talk(gguf_model):
                answer = gguf_model.generate("hello", max_tokens=3)
                assert (answer.text, answer.finish, answer.prompt_tokens) == ("fgh", "length", 5)
                assert [token.text for token in gguf_model.stream("hello", max_tokens=2)] == ["f", "g"]
                assert gguf_model.detokenize(gguf_model.tokenize("hello")) == "hello"
                assert gguf_model.info.architecture == "tiny"
                assert gguf_model.effective_options()["n_ctx"] == 4096
            """
        )

        project.run(*arguments).assert_outcomes(passed=1)

    @pytest.mark.skipif(find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed")
    def test_a_real_model_answers(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.llm_model("smollm2-135m", n_ctx=256, n_threads=1)
            def test_answers(gguf_model):
                answer = gguf_model.generate("The capital of France is", max_tokens=8)
                assert "Paris" in answer.text
            """
        )

        project.run().assert_outcomes(passed=1)

    def test_is_one_process_for_the_whole_run(
        self, project: Project, fake: Fake, arguments: list[str]
    ) -> None:
        talk = """
            class TestTalk:
                def test_first(self, gguf_model):
                    assert gguf_model.alive

                @pytest.mark.llm_model(n_ctx=4096)
                def test_second(self, gguf_model):
                    assert gguf_model.alive
        """
        project.write(talk, "test_one.py")
        project.write(talk, "test_two.py")

        project.run(*arguments).assert_outcomes(passed=4)

        assert len(fake.started) == 1

    def test_other_load_options_are_another_process(
        self, project: Project, fake: Fake, arguments: list[str]
    ) -> None:
        project.write(
            """
            @pytest.mark.llm_model(n_ctx=[512, 1024])
            def test_talk(gguf_model):
                assert gguf_model.alive
            """
        )

        project.run(*arguments).assert_outcomes(passed=2)

        assert len(fake.started) == 2

    def test_is_closed_at_the_end(self, project: Project, fake: Fake, arguments: list[str]) -> None:
        project.write(
            """
            def test_talk(gguf_model):
                assert gguf_model.alive
            """
        )

        project.run(*arguments)

        assert len(fake.started) == 1
        assert fake.alive() == []

    def test_a_test_that_kills_it_leaves_the_next_a_fresh_one(
        self, worker: Project, stand_in: StandIn, worker_arguments: list[str]
    ) -> None:
        worker.write(
            """
            import json, os, signal
            from pathlib import Path
            from pytest_llm import LLMBenchError

            def test_kills(gguf_model):
                (started,) = Path(os.environ["LLAMA_STAND_IN_DIARY"]).read_text().splitlines()
                os.kill(json.loads(started)["pid"], signal.SIGKILL)
                with pytest.raises(LLMBenchError, match="the worker ended while .*SIGKILL"):
                    gguf_model.generate("hello")

            def test_next(gguf_model):
                assert gguf_model.generate("hello", max_tokens=3).text == "fgh"
            """
        )

        worker.run(*worker_arguments).assert_outcomes(passed=2)

        assert len(stand_in.pids()) == 2

    @pytest.mark.slow
    def test_one_that_hangs_is_ended_and_the_next_is_fresh(
        self, worker: Project, stand_in: StandIn, worker_arguments: list[str]
    ) -> None:
        stand_in.set(fault="tokens:7=hang")
        worker.write(
            """
            from pytest_llm import LLMBenchError

            def test_hangs(gguf_model):
                with pytest.raises(LLMBenchError, match="gave no answer for 1 s"):
                    gguf_model.generate("1234567")
                assert not gguf_model.alive

            def test_next(gguf_model):
                assert gguf_model.generate("hello", max_tokens=3).text == "fgh"
            """
        )

        worker.run(*worker_arguments, "--llm-timeout=1").assert_outcomes(passed=2)

    def test_a_refused_load_shows_the_engines_last_lines(
        self, worker: Project, stand_in: StandIn, worker_arguments: list[str]
    ) -> None:
        stand_in.set(fault="load=refuse")
        worker.write(
            """
            def test_talk(gguf_model):
                pass
            """
        )

        result = worker.run(*worker_arguments)

        result.assert_outcomes(errors=1)
        first, *log = worker.texts(result)["test_talk"].splitlines()
        assert first.endswith(
            f"llama.cpp refused to load the model: {worker.model}: error loading model: it is only a stand-in"
        )
        assert log[-1] == "  | llama_model_load: error loading model: it is only a stand-in"

    def test_a_missing_engine_says_how_to_install_it(
        self, worker: Project, stand_in: StandIn, worker_arguments: list[str]
    ) -> None:
        stand_in.set(fault="import=refuse")
        worker.write(
            """
            def test_talk(gguf_model):
                pass
            """
        )

        (text,) = worker.texts(worker.run(*worker_arguments)).values()

        assert len(text.splitlines()) == 1
        assert "ImportError: libllama.so: cannot open shared object file" in text
        assert text.endswith("/bin/python -m pip install llama-cpp-python)")

    def test_beside_llm_bench_it_is_part_of_a_benchmark(
        self, project: Project, fake: Fake, arguments: list[str]
    ) -> None:
        project.write(
            """
            @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
            def test_both(llm_bench, gguf_model):
                assert gguf_model.generate("hello", max_tokens=3).text == "fgh"
                assert llm_bench.load_time.value == 0.25
            """
        )

        project.run(*arguments).assert_outcomes(skipped=1)
        assert fake.started == []
        project.measure().assert_outcomes(passed=1)
