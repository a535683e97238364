"""What a model cannot be asked for is not covered, with the reason; what is not finite is wrong output."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.gguf_files import GGUF

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

NO_TOKEN = "it has no next token"
ASKED = """
    @pytest.mark.llm_workload(prompt_tokens=8, generate_tokens=4)
    @pytest.mark.llm_tokens_per_second(min=1, phase="prompt")
    @pytest.mark.llm_no_regression("generation_tokens_per_second")
    def test_speed(llm_bench): ...
"""


@pytest.mark.parametrize("compared", [[], ["--llm-aa"]])
def test_a_model_without_next_tokens_gets_no_invented_speed(
    project: Project, fake: Fake, compared: list[str]
) -> None:
    fake.set(no_generation=NO_TOKEN)
    project.write(ASKED)
    result = project.measure("--llm-json=results.json", *compared)
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines([r".*n +\[100%\]"])
    test = json.loads((project.path / "results.json").read_text())["tests"][0]
    assert set(test["metrics"]) == {"load_time"}
    result.stdout.fnmatch_lines([f"not covered: *prompt speed cannot be had: {NO_TOKEN}"])
    result.stdout.fnmatch_lines([f"not covered: *generation speed cannot be had: {NO_TOKEN}"])

    failed = project.failures("--llm-uncovered=fail", *compared)
    assert f"prompt speed cannot be had: {NO_TOKEN}" in failed["test_speed"]


def test_the_load_time_of_such_a_model_is_judged_all_the_same(project: Project, fake: Fake) -> None:
    fake.set(no_generation=NO_TOKEN)
    project.write("""
        @pytest.mark.llm_workload(prompt_tokens=8, generate_tokens=4)
        @pytest.mark.llm_load_time(max="1 ms")
        def test_load(): ...
    """)
    assert "load time is 250.0 ms" in project.failures()["test_load"]


@pytest.mark.parametrize("compared", [[], ["--llm-aa"]])
def test_a_file_that_is_no_model_is_not_covered(project: Project, fake: Fake, compared: list[str]) -> None:
    fake.set(not_a_model="the file is a LoRA adapter")
    project.write(ASKED)
    result = project.measure("--llm-json=results.json", *compared)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["not covered: *prompt speed cannot be had: *the file is a LoRA adapter"])
    assert [each for each in fake.started if each.alive] == []
    failed = project.failures("--llm-uncovered=fail", *compared)
    assert "the file is a LoRA adapter" in failed["test_speed"]


def test_an_output_that_nobody_can_generate_is_not_covered(project: Project, fake: Fake) -> None:
    fake.set(no_generation=NO_TOKEN)
    project.write("""
        @pytest.mark.llm_workload(prompt_tokens=8, generate_tokens=4)
        @pytest.mark.llm_output()
        def test_output(): ...
    """)
    result = project.measure("--llm-json=results.json")
    result.assert_outcomes(passed=1)
    output = json.loads((project.path / "results.json").read_text())["tests"][0]["output"]
    assert output["verdict"] == "not covered"
    assert NO_TOKEN in output["reasons"][0]


@pytest.mark.parametrize("compared", [[], ["--llm-aa"], ["--llm-update-baselines=append"]])
def test_nan_is_wrong_output_whatever_was_asked_and_is_never_stored(
    project: Project, fake: Fake, compared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    fake.set(broken=True)
    project.write("""
        @pytest.mark.llm_workload(prompt_tokens=8, generate_tokens=4)
        @pytest.mark.llm_tokens_per_second(min=1)
        def test_speed(llm_bench):
            raise AssertionError("there is no run to look at")
    """)
    result = project.measure("--llm-json=results.json", *compared)
    result.assert_outcomes(failed=1)
    (text,) = project.texts(result).values()
    assert text.startswith("wrong output: fake: NaN or infinite logits")
    test = json.loads((project.path / "results.json").read_text())["tests"][0]
    assert (test["output"]["verdict"], test["metrics"]) == ("wrong output", {})
    assert not list(project.path.glob("baselines/**/*.json"))


def test_only_the_broken_workload_of_a_subject_fails(project: Project, fake: Fake) -> None:
    fake.set(fault="tokens:9")
    project.write("""
        @pytest.mark.llm_workload(prompt_tokens=[8, 9], generate_tokens=4)
        @pytest.mark.llm_tokens_per_second(min=1)
        def test_speed(llm_bench): ...
    """)
    project.measure().assert_outcomes(passed=1, errors=1)


def test_a_metric_that_was_not_covered_answers_with_the_reason(project: Project, fake: Fake) -> None:
    fake.set(no_generation=NO_TOKEN)
    project.write("""
        @pytest.mark.llm_workload(prompt_tokens=8, generate_tokens=4)
        def test_value(llm_bench):
            assert not hasattr(llm_bench, "generation_tokens_per_second")
            assert llm_bench.load_time.value
            assert llm_bench.generation_tokens_per_second.value > 1

        @pytest.mark.llm_workload(prompt_tokens=8, generate_tokens=4)
        def test_embedding(llm_bench):
            llm_bench.embedding_tokens_per_second

        @pytest.mark.llm_workload(prompt_tokens=8, generate_tokens=4)
        def test_misspelt(llm_bench):
            llm_bench.lod_time
    """)
    failed = project.failures()
    assert f"MetricNotCoveredError: generation speed cannot be had: {NO_TOKEN}" in failed["test_value"]
    assert "embedding speed cannot be had: it takes llm_workload(embed=True)" in failed["test_embedding"]
    assert "did you mean load_time?" in failed["test_misspelt"]


def test_types_of_tensors_that_only_the_build_knows_are_a_note_and_no_refusal(
    project: Project, fake: Fake, tmp_path: Path
) -> None:
    path = tmp_path / "fork.gguf"
    path.write_bytes(GGUF().but(tensors=(GGUF.tensor("odd", (256, 8), kind=137, data=1152),)).build())
    project.write(ASKED)
    result = project.run("--llm-bench", f"--llm-candidate={project.candidate}", f"--llm-model={path}")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*the model has tensors of type 137, unknown here*"])


@pytest.mark.parametrize("lacking", ["candidate", "reference"])
def test_a_pair_of_which_one_cannot_is_not_covered_with_that_ones_reason(
    project: Project, fake: Fake, reference: str, lacking: str
) -> None:
    if lacking == "candidate":
        fake.set(no_generation=NO_TOKEN)
        fake.set_reference(no_generation="")
    else:
        fake.set_reference(no_generation=NO_TOKEN)
    project.write(ASKED)
    failed = project.failures(f"--llm-against={reference}", "--llm-uncovered=fail")
    assert f"generation speed cannot be had: {NO_TOKEN}" in failed["test_speed"]


@pytest.mark.parametrize(
    "marker", ["llm_leak(max=1)", "llm_faster_than('1%', flash_attn='on')", "llm_ram(max='1 GiB')"]
)
def test_no_other_marker_is_judged_of_a_model_that_cannot(project: Project, fake: Fake, marker: str) -> None:
    fake.set(no_generation=NO_TOKEN)
    project.write(f"""
        @pytest.mark.llm_workload(prompt_tokens=8, generate_tokens=4)
        @pytest.mark.{marker}
        def test_it(llm_bench): ...
    """)
    assert f"cannot be had: {NO_TOKEN}" in project.failures("--llm-uncovered=fail")["test_it"]
