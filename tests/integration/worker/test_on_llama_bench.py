"""Benchmarks on llama-bench: speeds are judged, and everything else is not covered, never passed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.reports import recheck, results_file
from tests import tiny_models

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.checkouts import Checkout
    from tests.integration.conftest import Project

CHAT = """
    @pytest.mark.llm_model(n_threads=2)
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=4)
    {markers}
    def test_speed(llm_bench):
        assert llm_bench.build.engine == "llama-bench"
"""
ONLY = "llama-bench measures prompt and generation speed only"


@pytest.fixture
def measure(project: Project, bench_program: Callable[..., Path]) -> Callable[..., pytest.RunResult]:
    """Measure with a marker, on a program that takes in 200 and gives 50 tokens a second."""

    def run(markers: str, *arguments: str, reference: dict[str, object] | None = None) -> pytest.RunResult:
        project.write(CHAT.format(markers="\n    ".join(markers.split("\n"))))
        if reference is not None:
            program = bench_program(name="reference", **reference)
            arguments = (*arguments, f"--llm-against=llama-bench@bin:{program}")
        return project.run(
            "--llm-bench",
            f"--llm-candidate=llama-bench@bin:{bench_program()}",
            f"--llm-model={project.model}",
            "--llm-effort=quick",
            "--llm-json=results.json",
            *arguments,
        )

    return run


@pytest.mark.slow
def test_speeds_are_judged_by_limits(measure: Callable[..., pytest.RunResult]) -> None:
    limits = "@pytest.mark.llm_tokens_per_second(min=49)\n"
    measure(f'{limits}@pytest.mark.llm_tokens_per_second(min=199, phase="prompt")').assert_outcomes(passed=1)
    failed = measure("@pytest.mark.llm_tokens_per_second(min=51)")
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines(["*generation speed is 50.00 tok/s, the limit is at least 51.00 tok/s*"])


@pytest.mark.slow
def test_what_it_does_not_measure_is_not_covered_and_no_pass(
    measure: Callable[..., pytest.RunResult],
) -> None:
    asked = (
        'llm_first_token_latency(max="900 s")',
        'llm_inter_token_latency(max="900 s")',
        'llm_load_time(max="900 s")',
        'llm_vram(max="900 GiB")',
        'llm_ram(max="900 GiB")',
        'llm_tokens_per_second(min=0.001, phase="total")',
    )
    result = measure("\n".join(f"@pytest.mark.{each}" for each in asked), "--llm-uncovered=fail")
    result.assert_outcomes(failed=1)
    titles = (
        "first-token latency",
        "inter-token latency p50",
        "load time",
        "peak VRAM",
        "peak RAM",
        "total speed",
    )
    for title in titles:
        line = f"{title} cannot be had: {ONLY}, of one sequence"
        assert any(each.startswith(line) for each in result.outlines), line
        assert f"not covered: test_it.py::test_speed: {line}" in result.outlines


@pytest.mark.slow
def test_what_is_not_covered_is_told_where_it_does_not_fail(
    measure: Callable[..., pytest.RunResult], project: Project
) -> None:
    result = measure('@pytest.mark.llm_first_token_latency(max="900 s")', "-rA", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["*NOT COVERED*", f"not covered: *first-token latency cannot be had: {ONLY}*"]
    )
    result.stdout.fnmatch_lines(["not covered: *llama-bench shows no logits, so NaN*"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (tiny_models.bert, "reads a text as a whole and has no next token"),
        (tiny_models.t5, "the model is an encoder-decoder"),
        (tiny_models.lora, "the file is a LoRA adapter"),
        (tiny_models.projector, "the file is a projector"),
    ],
)
def test_a_program_is_not_asked_for_what_the_files_header_rules_out(
    write: Callable[[Path], Path],
    reason: str,
    project: Project,
    bench_program: Callable[..., Path],
    tmp_path: Path,
) -> None:
    diary = tmp_path / "asked"
    project.write(CHAT.format(markers="@pytest.mark.llm_tokens_per_second(min=1)"))
    result = project.run(
        "--llm-bench",
        f"--llm-candidate=llama-bench@bin:{bench_program(diary=str(diary))}",
        f"--llm-model={write(project.path / 'model.gguf')}",
        "--llm-uncovered=fail",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*generation speed cannot be had: *{reason}*"])
    assert '"-m"' not in diary.read_text(encoding="utf-8")  # it was asked for its flags alone


def test_embeddings_are_not_covered(project: Project, bench_program: Callable[..., Path]) -> None:
    project.write("""
        @pytest.mark.llm_workload(embed=True)
        @pytest.mark.llm_tokens_per_second(min=1, phase="embedding")
        def test_embed(llm_bench): ...
    """)
    result = project.run(
        "--llm-bench",
        f"--llm-candidate=llama-bench@bin:{bench_program()}",
        f"--llm-model={project.model}",
        "--llm-uncovered=fail",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*embedding speed cannot be had: {ONLY}*"])


@pytest.mark.slow
def test_output_is_not_covered(measure: Callable[..., pytest.RunResult], project: Project) -> None:
    result = measure(
        "@pytest.mark.llm_output()",
        "--llm-uncovered=fail",
        "--llm-effort=quick",
        reference={"prompt": 199.0},
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*output: not covered: *speed only, not generation sessions*"])
    assert recheck.differences(results_file.read(project.path / "results.json")) == []


@pytest.mark.slow
def test_parallel_sequences_are_not_covered(project: Project, bench_program: Callable[..., Path]) -> None:
    project.write("""
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=4, parallel=2)
        @pytest.mark.llm_tokens_per_second(min=0.001)
        def test_two():
            pass
    """)
    arguments = [
        "--llm-bench",
        f"--llm-candidate=llama-bench@bin:{bench_program()}",
        f"--llm-model={project.model}",
        "--llm-effort=quick",
    ]
    project.run(*arguments).assert_outcomes(passed=1)
    for compared in ([], ["--llm-aa"]):
        result = project.run(*arguments, *compared, "--llm-uncovered=fail")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines([f"not covered: *{ONLY}, of one sequence*"])


@pytest.mark.slow
def test_two_programs_are_compared_slice_by_slice(
    measure: Callable[..., pytest.RunResult], project: Project
) -> None:
    faster: dict[str, object] = {"generation": 60.0}
    result = measure("@pytest.mark.llm_no_regression()", reference=faster)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*generation speed fell from 60.00 tok/s to 50.00 tok/s, −16.7 %*"])
    result.stdout.fnmatch_lines(["*output not compared; same configuration*"])
    assert recheck.differences(results_file.read(project.path / "results.json")) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("does", "said"),
    [
        ({"trouble": "crash", "when": "generation"}, "*ended while generating: SIGABRT*"),
        ({"trouble": "garbage"}, "*answer of llama-bench cannot be read*"),
        ({"without": ("-n",)}, "*is not llama-bench*"),
    ],
)
def test_trouble_is_one_line_and_a_failed_test(
    project: Project, bench_program: Callable[..., Path], does: dict[str, Any], said: str
) -> None:
    project.write(CHAT.format(markers=""))
    program = bench_program(**does)
    result = project.run(
        "--llm-bench", f"--llm-candidate=llama-bench@bin:{program}", f"--llm-model={project.model}"
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([said])


def test_builds_of_two_engines_are_not_compared(project: Project, bench_program: Callable[..., Path]) -> None:
    project.write(CHAT.format(markers=""))
    line = project.usage_error("--llm-bench", f"--llm-against=llama-bench@bin:{bench_program()}")
    assert "llama-bench does not time what llama-cpp-python, the candidate's engine, does" in line
    assert "give two builds of one engine" in line


def test_a_commit_may_stand_beside_a_program_since_it_has_one_of_its_own(
    project: Project, bench_program: Callable[..., Path], checkout: Checkout
) -> None:
    project.write(CHAT.format(markers="@pytest.mark.llm_no_regression()"))
    candidate = f"llama-bench@bin:{bench_program()}"

    plan = project.plan(
        f"--llm-candidate={candidate}",
        f"--llm-against=git:HEAD:{checkout.path}",
        f"--llm-model={project.model}",
    )

    against = f"llama-cpp-python@git:{checkout.first[:12]}:{checkout.path}"
    assert any(f" on {candidate} against {against}, " in line for line in plan)


@pytest.mark.slow
def test_two_commits_that_no_binding_fits_are_compared_by_their_own_programs(
    project: Project, bench_program: Callable[..., Path], checkout: Checkout
) -> None:
    for name, speed in (("fast", 60.0), ("slow", 50.0)):
        program = bench_program(name=name, generation=speed)
        main = f'int main(int count, char **words) {{ return execv("{program}", words) + count; }}\n'
        checkout.commit(name, {"bench.c": f"#include <unistd.h>\n{main}"})
    project.write(CHAT.format(markers="@pytest.mark.llm_no_regression()\n    @pytest.mark.llm_ram(max=1)"))

    result = project.run(
        "--llm-bench",
        f"--llm-candidate=git:HEAD:{checkout.path}",
        f"--llm-against=git:HEAD~1:{checkout.path}",
        f"--llm-model={project.model}",
        "--llm-effort=quick",
        "--llm-sandbox=off",  # these programs only start the stand-in
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*generation speed fell from 60.00 tok/s to 50.00 tok/s, −16.7 %*",
            "  candidate llama-bench *",
            f"not covered: *peak RAM cannot be had: {ONLY}*",
        ]
    )
