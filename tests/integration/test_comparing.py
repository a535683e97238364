"""Two builds side by side: what a person sees of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from pytest_llm.checks import compare_runs
from pytest_llm.checks.family import Decisions
from pytest_llm.reports.recheck import asked_in, pairs_of, questions_of
from pytest_llm.reports.results_file import DOCUMENT
from pytest_llm.stats.sequential import rule_for

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project, StandIn

TESTS = """
    short = pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=4)

    @short
    def test_ungated(llm_bench):
        assert llm_bench.generation_tokens_per_second.value > 1

    @short
    @pytest.mark.llm_no_regression(tolerance="80%")
    def test_tolerant():
        pass

    @short
    @pytest.mark.llm_no_regression("peak_ram", "total_tokens_per_second", tolerance="80%")
    @pytest.mark.llm_tokens_per_second(min=1)
    def test_by_other_metrics():
        pass

    def test_talk(gguf_model):
        assert gguf_model.generate("hello", max_tokens=2).text == "fg"
"""
ONE = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=4)
    def test_speed():
        pass
"""


@pytest.fixture
def against(reference: str) -> str:
    return f"--llm-against={reference}"


@pytest.fixture
def worker_against(reference_environment: str) -> str:
    return f"--llm-against={reference_environment}"


def test_a_slower_candidate_is_called_and_all_that_differs_is_told(
    project: Project, against: str, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_LLM_CACHE", str(project.path / "cache"))  # where nothing says it qualified
    fake.set(token_seconds=1 / 115.2)
    fake.set_reference(token_seconds=1 / 128, flash_attention="on", first_letter="b")
    project.write(TESTS)

    options = ("--llm-drift=warn", "--llm-json=results.json", "--junitxml=junit.xml")
    result = project.measure(against, *options)

    result.assert_outcomes(passed=3, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    (name, text), *others = project.texts(result).items()
    assert (name, others) == ("test_ungated", [])
    told = text.splitlines()
    change = "−10.0 % (typical, 95 % interval −10.0 … −10.0 %, "
    for line, metric in zip(told, ("prompt", "generation"), strict=False):
        assert line.startswith(f"{metric} speed fell from 128.0 tok/s to 115.2 tok/s, {change}")
    assert told[2] == "  candidate fake 1.0 (llama.cpp 57a9d1234)"
    assert told[3] == "  reference fake 1.0 (llama.cpp 57a9d1234)"
    assert told[-2] == "  other output; configuration differs: flash_attn on → off"
    assert told[-1] == "  this machine is not qualified: pytest-llm doctor --qualify"
    result.stdout.fnmatch_lines(
        [
            "candidate fake 1.0 (57a9d1234)",
            "reference fake 1.0 (57a9d1234)",
            "test_it.py::test_ungated  drift",
            "  prompt speed *  regressed",
            "  generation speed *  regressed",
            "test_it.py::test_tolerant  drift",
            "test_it.py::test_by_other_metrics  drift",
            "test_it.py::test_tolerant: prompt speed fell *: pass, *; a loss of * would have been called",
            "test_it.py::test_tolerant: other output; configuration differs: flash_attn on → off",
        ]
    )
    junit = ElementTree.parse(project.path / "junit.xml")
    ungated = junit.find(".//testcase[@name='test_ungated']//property[@name='llm_comparison_verdicts']")
    assert ungated is not None
    assert json.loads(ungated.attrib["value"]) == {
        "prompt_tokens_per_second": "regressed",
        "generation_tokens_per_second": "regressed",
    }


@pytest.mark.slow
def test_the_results_file_holds_both_and_its_verdicts_follow_from_it(
    worker: Project, worker_against: str, stand_in: StandIn
) -> None:
    stand_in.set(token_seconds=1 / 115.2, jitter=0.2)
    stand_in.set_reference(token_seconds=1 / 128, marker="here")
    worker.write(TESTS)

    results = worker.results(worker_against)

    assert "LLAMA_STAND_IN_MARKER" in results["reference"]["environment"]
    assert "LLAMA_STAND_IN_MARKER" not in results["candidate"]["environment"]
    read = DOCUMENT.decode(results)
    pairs = pairs_of(read, read.runs)
    decisions = Decisions(rule_for("quick", results["rule"]["family"]), asked_in(read, pairs))
    judged = {}
    for test in read.tests:
        for asked, pair in questions_of(test, pairs):
            entry = test.metrics[asked.metric.name].comparison
            assert entry is not None
            again = compare_runs(pair, asked, decisions)
            assert (again.verdict, again.change) == (entry.verdict, entry.change)
            assert again.log_ratios == entry.log_ratios
            assert len(entry.log_ratios) == len(pair.candidate.sessions) == entry.sessions
            judged[test.key.name, asked.metric.name] = entry.verdict.value
    assert judged["test_ungated", "generation_tokens_per_second"] == "regressed"
    assert judged["test_tolerant", "generation_tokens_per_second"] == "pass"
    assert judged["test_by_other_metrics", "total_tokens_per_second"] == "pass"
    assert len(judged) == 6
    assert results["rule"]["family"] == 4  # two tests share two of the six questions


def test_a_faster_candidate_has_improved_and_passes(project: Project, against: str, fake: Fake) -> None:
    fake.set(token_seconds=1 / 128)
    fake.set_reference(token_seconds=1 / 112)
    project.write(ONE)

    result = project.measure(against)

    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "  generation speed *  improved",
            "*generation speed rose from 112.0 tok/s to 128.0 tok/s, +14.3 % (*): improved",
        ]
    )


def test_equal_speed_passes_and_a_wrong_answer_beside_it_is_told(
    project: Project, against: str, fake: Fake
) -> None:
    fake.set(jitter=0.3)
    fake.set_reference(first_letter="b")
    project.write(ONE)

    result = project.measure(against, "--llm-drift=warn")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "*generation speed stayed at *: pass, *; a loss of * would have been called",
            "test_it.py::test_speed: other output; same configuration",
        ]
    )


def test_what_is_the_same_is_not_worth_a_line(project: Project, against: str) -> None:
    project.write(ONE)

    result = project.measure(against)

    result.stdout.no_fnmatch_line("*same output*")


def test_a_reference_that_cannot_be_imported_is_one_clear_line_a_test(
    worker: Project, worker_against: str, reference_environment: str, stand_in: StandIn
) -> None:
    stand_in.set_reference(fault="import=1")
    worker.write(
        """
        @pytest.mark.llm_workload(prompt_tokens=[4, 8], generate_tokens=2)
        def test_speed():
            pass

        def test_talk(gguf_model):
            pass
        """
    )

    result = worker.measure(worker_against)

    result.assert_outcomes(errors=2, passed=1)
    for text in worker.texts(result).values():
        assert text.startswith(f"{reference_environment}: ")
        assert "cannot open shared object file" in text
        assert "\n" not in text
    assert stand_in.alive() == []


@pytest.mark.parametrize("side", ["candidate", "reference"])
def test_a_side_that_does_not_load_is_named(
    project: Project, against: str, reference: str, fake: Fake, side: str
) -> None:
    fake.set(fault="load" if side == "candidate" else "")
    fake.set_reference(fault="load" if side == "reference" else "")
    project.write(ONE)

    result = project.measure(against)

    result.assert_outcomes(errors=1)
    named = {"candidate": project.candidate, "reference": reference}[side]
    assert project.texts(result)["test_speed"].startswith(f"{named}: ")


@pytest.mark.slow
def test_a_workload_that_kills_the_reference_fails_alone(
    worker: Project, worker_against: str, stand_in: StandIn
) -> None:
    stand_in.set_reference(fault="tokens:7=SIGSEGV")
    worker.write(
        """
        @pytest.mark.llm_workload(prompt_tokens=[4, 7], generate_tokens=2)
        def test_speed():
            pass
        """
    )

    result = worker.measure(worker_against)

    result.assert_outcomes(passed=1, errors=1)
    (text,) = worker.texts(result).values()
    assert "the worker ended while going through a first request: SIGSEGV" in text
    assert stand_in.alive() == []


def test_limits_are_judged_on_the_candidate_alone(project: Project, against: str, fake: Fake) -> None:
    fake.set_reference(token_seconds=1 / 16)
    project.write(
        """
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=4)
        @pytest.mark.llm_tokens_per_second(min=100)
        def test_speed(llm_bench):
            assert llm_bench.generation_tokens_per_second.value == pytest.approx(128)
        """
    )

    project.measure(against).assert_outcomes(passed=1)


def test_stored_baselines_are_not_read_where_a_reference_is_measured(project: Project, against: str) -> None:
    broken = project.path / "baselines" / "machines"
    broken.mkdir(parents=True)
    project.write(ONE)

    result = project.measure(against, "--llm-missing-baseline=fail")

    result.assert_outcomes(passed=1)


def test_a_pair_is_compared_if_pytest_benchmark_is_disabled(
    project: Project, against: str, fake: Fake
) -> None:
    fake.set_reference(token_seconds=1 / 256)
    project.write(ONE)

    project.measure(against, "--benchmark-disable").assert_outcomes(failed=1)


def test_the_plan_shows_the_pair(project: Project, against: str, reference: str) -> None:
    project.write(TESTS)

    plan = project.plan(*project.measuring(), against)

    assert plan[0].startswith("llm-bench plan: 3 benchmarks on 2 subjects, up to 7 sessions, about ")
    assert f" on {project.candidate} against {reference}, n_ctx=4096, " in plan[1]
    assert ": up to 7 sessions of " in plan[1]
    assert plan[1].endswith(" until a single loss can be called (7)")
    assert plan[2:] == ["    4 prompt tokens, 4 generated, depth 0, 3 whole requests a session"]
