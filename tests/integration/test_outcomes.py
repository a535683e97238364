"""How tests end, and what they and the run then say."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.golden import assert_golden

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Ini, Project, StandIn

GOLDEN = Path(__file__).parent / "golden"

SLOW = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_tokens_per_second(min=200)
    def test_slow():
        pass
"""
# Two subjects; the first has three workloads.
CAMPAIGNS = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    def test_first():
        pass

    @pytest.mark.llm_workload(prompt_tokens=13, generate_tokens=2)
    def test_thirteen():
        pass

    @pytest.mark.llm_workload(prompt_tokens=13, generate_tokens=2)
    def test_thirteen_again():
        pass

    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=2)
    def test_last():
        pass

    def test_arithmetic():
        assert 1 + 1 == 2
"""


class TestFallingShort:
    """A benchmark that is worse than its limits."""

    def test_is_a_failure_like_any_other(self, project: Project) -> None:
        project.write(SLOW)

        result = project.measure()

        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            [
                "*= FAILURES =*",
                "*_ test_slow _*",
                "generation speed is 128.0 tok/s, *",
                "FAILED test_it.py::test_slow - *",
            ]
        )

    def test_says_what_it_measured_by_how_much_it_fell_short_and_on_what(self, project: Project) -> None:
        shutil.copy(project.model, project.path / "tiny.gguf")
        project.write(
            """
            @pytest.mark.llm_model("tiny.gguf", n_ctx=512, n_threads=2)
            @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=17, depth=8, parallel=2)
            @pytest.mark.llm_tokens_per_second(min=200)
            @pytest.mark.llm_first_token_latency(max="150 ms", percentile=95)
            @pytest.mark.llm_load_time(max="1 s")
            def test_slow():
                pass
            """
        )

        (text,) = project.failures().values()

        assert_golden(GOLDEN / "shortfall.txt", text + "\n")

    def test_comes_after_the_tests_own_assertions(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.llm_tokens_per_second(min=200)
            def test_slow(llm_bench):
                assert llm_bench.load_time.value > 5, "the user's own words"
            """
        )

        (text,) = project.failures().values()

        assert "the user's own words" in text
        assert "generation speed" not in text

    def test_can_be_expected(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.xfail(strict=True)
            @pytest.mark.llm_tokens_per_second(min=200)
            def test_slow():
                pass
            """
        )

        project.measure().assert_outcomes(xfailed=1)


class TestNothingMeasured:
    """A run that was to measure and did not is no green run."""

    def test_without_a_benchmark(self, project: Project) -> None:
        project.write("def test_arithmetic(): pass\n")

        result = project.measure()

        result.assert_outcomes(passed=1)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(
            ["nothing was measured: no selected test is a benchmark; give one the marker llm_workload, *"]
        )

    def test_without_any_test(self, project: Project) -> None:
        assert project.measure().ret == pytest.ExitCode.TESTS_FAILED

    def test_with_every_benchmark_skipped(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.skip
            def test_speed(llm_bench):
                pass
            """
        )

        result = project.measure()

        result.assert_outcomes(skipped=1)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(["nothing was measured: the only benchmark was skipped (*"])

    def test_if_pytest_benchmark_is_disabled(self, project: Project) -> None:
        project.write("def test_arithmetic(): pass\n")

        assert project.measure("--benchmark-disable").ret == pytest.ExitCode.TESTS_FAILED

    def test_is_fine_without_the_flag(self, project: Project) -> None:
        project.write("def test_arithmetic(): pass\n")

        assert project.run().ret == pytest.ExitCode.OK

    def test_is_fine_where_only_the_plan_was_asked_for(self, project: Project) -> None:
        project.write("def test_arithmetic(): pass\n")

        assert project.measure("--collect-only").ret == pytest.ExitCode.OK


class TestFailingCampaign:
    """A subject that cannot be measured at all."""

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("fault", "reason", "last"),
        [
            (
                "load=refuse",
                "llama.cpp refused to load the model: ",
                "error loading model: it is only a stand-in",
            ),
            (
                "context=refuse",
                "llama.cpp loaded the model but refused to make a context: ",
                "initialize the context",
            ),
            ("load=SIGSEGV", "the worker ended while loading the model: SIGSEGV, a crash", "wrong at load"),
            ("load=SIGILL", "SIGILL, an instruction this CPU lacks: rebuild with ", "wrong at load"),
            ("load=SIGKILL", "SIGKILL, sent by someone; ", "wrong at load"),
        ],
    )
    def test_fails_its_tests_without_trying_again_and_the_others_run(
        self, worker: Project, stand_in: StandIn, fault: str, reason: str, last: str
    ) -> None:
        stand_in.set(fault=fault)
        worker.write(CAMPAIGNS)

        result = worker.measure()

        result.assert_outcomes(passed=1, errors=4)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        (text,) = set(worker.texts(result).values())
        first, *log = text.splitlines()
        assert reason in first
        assert log[-1].startswith("  | ")
        assert log[-1].endswith(last)
        assert len(stand_in.pids()) == 1

    def test_says_where_the_engine_is_not_installed(self, worker: Project, stand_in: StandIn) -> None:
        stand_in.set(fault="import=refuse")
        worker.write(CAMPAIGNS)

        (text,) = set(worker.failures().values())

        assert len(text.splitlines()) == 1
        assert "ImportError: libllama.so: cannot open shared object file" in text

    def test_of_a_damaged_file_starts_nothing(self, project: Project, fake: Fake) -> None:
        (project.path / "damaged.gguf").write_bytes(project.model.read_bytes()[:40])
        project.write("@pytest.mark.llm_model('damaged.gguf')\ndef test_speed(llm_bench): pass\n")

        (text,) = project.failures().values()

        assert len(text.splitlines()) == 1
        assert text.startswith(f"{project.path / 'damaged.gguf'}: ")
        assert fake.started == []

    def test_leaves_other_subjects_alone(self, project: Project, fake: Fake) -> None:
        (project.path / "damaged.gguf").write_bytes(b"GGUF")
        project.write(
            f"""
            pytestmark = pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)

            @pytest.mark.llm_model("damaged.gguf")
            def test_damaged():
                pass

            @pytest.mark.llm_model({str(project.model)!r})
            def test_whole():
                pass
            """
        )

        assert set(project.failures()) == {"test_damaged"}


class TestFailingWorkload:
    """A workload that a loaded subject cannot do."""

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("fault", "reason", "processes"),
        [
            ("tokens:13=SIGSEGV", "SIGSEGV, a crash inside llama.cpp", 3 + 1),
            ("tokens:13=SIGABRT", "SIGABRT, llama.cpp gave up: its last lines say why", 3 + 1),
            ("tokens:13=hang", "the worker gave no answer for 2 s", 3 + 1),
            ("tokens:13=-3", "llama_decode failed with code -3", 3),
            ("tokens:13=1", "llama.cpp found no room in the context (raise n_ctx)", 3),
        ],
    )
    def test_fails_its_tests_alone(
        self, worker: Project, stand_in: StandIn, fault: str, reason: str, processes: int
    ) -> None:
        stand_in.set(fault=fault)
        worker.write(CAMPAIGNS)

        result = worker.measure("--llm-timeout=2")

        result.assert_outcomes(passed=3, errors=2)
        texts = worker.texts(result)
        assert set(texts) == {"test_thirteen", "test_thirteen_again"}
        assert all(reason in text.splitlines()[0] for text in texts.values())
        assert len(stand_in.pids()) == processes

    def test_that_dies_late_is_not_asked_again(self, worker: Project, stand_in: StandIn) -> None:
        stand_in.set(fault="decode:20=SIGBUS")
        worker.write(SLOW)

        (text,) = worker.failures().values()

        assert "SIGBUS, a crash inside llama.cpp, or the model's file shrank" in text
        assert len(stand_in.pids()) == 1


class TestUnknownIniKey:
    """A key that starts with ``llm_`` and is none would switch a gate off."""

    LINE = "unknown ini key 'llm_efort': did you mean llm_effort"

    def test_in_any_form_is_refused(self, project: Project, ini: Ini) -> None:
        ini.write(llm_efort="quick")

        assert self.LINE in project.usage_error()

    @pytest.mark.parametrize(
        ("file", "section"), [("tox.ini", "pytest"), ("setup.cfg", "tool:pytest"), (".pytest.ini", "pytest")]
    )
    def test_in_any_file_is_refused(self, project: Project, file: str, section: str) -> None:
        project.write(f"[{section}]\nllm_efort = quick\n", file)

        line = project.usage_error()

        assert self.LINE in line
        assert f"in {project.path / file}" in line

    @pytest.mark.skipif(pytest.version_tuple < (9,), reason="older pytest does not read it")
    def test_in_pytest_toml_is_refused(self, project: Project) -> None:
        project.write('[pytest]\nllm_efort = "quick"\n', "pytest.toml")

        assert self.LINE in project.usage_error()

    def test_on_the_command_line_is_refused(self, project: Project) -> None:
        line = project.usage_error("-o", "llm_efort=quick")

        assert self.LINE in line
        assert "None" not in line

    def test_known_keys_on_the_command_line_work(self, project: Project) -> None:
        project.write(SLOW)

        plan = project.plan("-o", "llm_effort=thorough", f"--llm-model={project.model}")

        assert ": 10 sessions of " in plan[1]

    def test_keys_of_other_plugins_are_theirs(self, project: Project, ini: Ini) -> None:
        ini.write(llm_judge="strict")
        project.write(
            """
            def pytest_addoption(parser):
                parser.addini("llm_judge", "A key of another plugin that is about models, too.")
            """,
            "conftest.py",
        )
        project.write("def test_judge(pytestconfig): assert pytestconfig.getini('llm_judge') == 'strict'\n")

        project.run().assert_outcomes(passed=1)


def test_a_functional_test_whose_worker_dies_shows_what_llama_cpp_wrote_last(
    worker: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_STAND_IN_FAULT", "decode:3=SIGABRT")
    worker.write("def test_it(gguf_model):\n    gguf_model.generate('a', max_tokens=2)\n")
    result = worker.run(f"--llm-candidate={worker.candidate}", f"--llm-model={worker.model}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*WorkerDiedError: *SIGABRT*",
            "*llama.cpp's last lines*",
            "stand-in: something is wrong at decode:3",
        ]
    )


def test_the_assertion_that_ended_a_worker_is_in_the_message_and_no_backtrace(
    worker: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assertion = "/src/ggml.c:12: GGML_ASSERT(rows > 0) failed"
    backtrace = "\n".join(f"/lib/libggml.so(+0x{number:x}) [0x7f{number:06x}]" for number in range(30))
    monkeypatch.setenv("LLAMA_STAND_IN_LOG", f"{assertion}\n{backtrace}")
    monkeypatch.setenv("LLAMA_STAND_IN_FAULT", "decode:3=SIGABRT")
    worker.write("def test_it(gguf_model):\n    gguf_model.generate('a', max_tokens=2)\n")
    result = worker.run(f"--llm-candidate={worker.candidate}", f"--llm-model={worker.model}")
    result.stdout.fnmatch_lines(["*llama.cpp gave up: GGML_ASSERT(rows > 0) failed (ggml.c:12)"])
    result.stdout.no_fnmatch_line("*libggml.so*")


def test_an_assertion_of_the_users_own_leaves_the_limits_message_readable(project: Project) -> None:
    project.write(
        """
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=4)
        @pytest.mark.llm_tokens_per_second(min=1000)
        def test_both(llm_bench):
            assert llm_bench.load_time.value < 0, "my own words"

        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=4)
        @pytest.mark.llm_tokens_per_second(min=1)
        def test_mine_alone(llm_bench):
            assert llm_bench.load_time.value < 0, "my own words"
        """
    )
    result = project.measure()
    result.assert_outcomes(failed=2)
    reports = [each for each in result.reprec.getreports("pytest_runtest_logreport") if each.failed]  # type: ignore[attr-defined]
    both, mine = ({name for name, _ in each.sections if "llm-bench" in name} for each in reports)
    assert len(both) == 1
    assert not mine
    result.stdout.fnmatch_lines(["*my own words*", "*generation speed is 128.0 tok/s, the limit is*"])
