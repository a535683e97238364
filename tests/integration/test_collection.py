"""What collection finds, selects, orders and plans."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

MIXED = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    def test_workload():
        pass

    @pytest.mark.llm_load_time(max="1 h")
    def test_limit():
        pass

    def test_record(llm_bench):
        pass

    @pytest.mark.llm_model(n_ctx=512)
    def test_talk(gguf_model):
        pass

    def test_arithmetic():
        assert 1 + 1 == 2
"""
BENCHMARKS = ["test_workload", "test_limit", "test_record"]


def test_benchmarks_are_skipped_without_the_flag_and_say_so(project: Project, fake: Fake) -> None:
    project.write(MIXED)

    result = project.run(
        "-rs",
        f"--llm-candidate={project.candidate}",
        f"--llm-model={project.model}",
        "--deselect=test_it.py::test_talk",
    )

    result.assert_outcomes(passed=1, skipped=3, deselected=1)
    result.stdout.fnmatch_lines(["SKIPPED [[]3] *: a benchmark: run it with --llm-bench"])
    assert fake.started == []


def test_every_benchmark_carries_the_marker_llm_bench(project: Project) -> None:
    project.write(MIXED)
    model = f"--llm-model={project.model}"

    assert sorted(project.collected(model, "-m", "llm_bench")) == sorted(BENCHMARKS)
    assert project.collected(model, "-m", "not llm_bench") == ["test_talk", "test_arithmetic"]


def test_what_k_deselects_is_not_in_the_plan(project: Project) -> None:
    project.write(MIXED)
    model = f"--llm-model={project.model}"

    assert project.plan(model)[0].startswith("llm-bench plan: 3 benchmarks on 1 subject, 5 sessions, about ")
    assert project.plan(model, "-k", "workload")[0].startswith("llm-bench plan: 1 benchmark on 1 subject, ")
    assert project.plan(model, "-m", "not llm_bench")[0].startswith(
        "llm-bench plan: 0 benchmarks on 0 subjects, 0 sessions, about 0 s"
    )


def test_what_is_deselected_is_not_measured(project: Project) -> None:
    project.write(
        """
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        def test_small():
            pass

        @pytest.mark.llm_workload(prompt_tokens=5, generate_tokens=2)
        def test_large():
            pass
        """
    )

    results = project.results("-k", "small")

    assert [run["workload"]["prompt_tokens"] for run in results["runs"].values()] == [4]


def test_collect_only_prints_the_plan_and_starts_nothing(project: Project, fake: Fake) -> None:
    project.write(
        """
        @pytest.mark.llm_model(n_ctx=512, n_threads=2)
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=[2, 3], depth=5, parallel=2)
        def test_speed():
            pass
        """
    )

    lines = project.plan(f"--llm-candidate={project.candidate}", f"--llm-model={project.model}")

    assert lines == [
        "llm-bench plan: 2 benchmarks on 1 subject, 5 sessions, about 4 s",
        f"  {project.model} on {project.candidate}, n_ctx=512, n_threads=2: 5 sessions of 800 ms, about 4 s",
        "    4 prompt tokens, 2 generated, depth 5, 2 in parallel",
        "    4 prompt tokens, 3 generated, depth 5, 2 in parallel",
    ]
    assert fake.started == []


def test_collect_only_names_what_cannot_run_and_why(project: Project) -> None:
    project.write(
        """
        @pytest.mark.llm_workload(prompt_tokens=0)
        def test_empty():
            pass

        @pytest.mark.llm_model(n_gpu_layer=3)
        def test_misspelt(gguf_model):
            pass

        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        def test_fine():
            pass
        """
    )

    plan = project.plan(f"--llm-candidate={project.candidate}", f"--llm-model={project.model}")

    assert plan[0].startswith("llm-bench plan: 1 benchmark on 1 subject, ")
    assert plan[3] == "  cannot run: test_it.py::test_empty: llm_workload: prompt_tokens=0 is less than 1"
    assert plan[4].startswith("  cannot run: test_it.py::test_misspelt: ")
    assert "n_gpu_layers" in plan[4]
    assert len(plan) == 5


def test_collect_only_without_the_flag_prints_no_plan(project: Project) -> None:
    project.write(MIXED)

    result = project.run("--collect-only", f"--llm-model={project.model}")

    result.stdout.no_fnmatch_line("llm-bench plan*")


def test_the_tests_of_a_subject_become_neighbours_and_the_rest_stays(project: Project) -> None:
    for name in ("one.gguf", "two.gguf"):
        shutil.copy(project.model, project.path / name)
    project.write(
        """
        workload = pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)

        def test_plain_1(): pass

        @pytest.mark.llm_model("one.gguf")
        @workload
        def test_one_1(): pass

        @pytest.mark.llm_model("two.gguf")
        @workload
        def test_two_1(): pass

        def test_plain_2(): pass

        @pytest.mark.llm_model("one.gguf")
        @pytest.mark.llm_workload(prompt_tokens=5, generate_tokens=2)
        def test_one_2(): pass

        @pytest.mark.llm_model("one.gguf")
        def test_talk(gguf_model): pass

        @pytest.mark.llm_model("two.gguf")
        @workload
        def test_two_2(): pass

        @pytest.mark.llm_model("one.gguf", n_ctx=512)
        @workload
        def test_other_options(): pass

        def test_plain_3(): pass
        """
    )

    assert project.collected() == [
        "test_plain_1",
        "test_one_1",
        "test_one_2",
        "test_two_1",
        "test_two_2",
        "test_plain_2",
        "test_talk",
        "test_other_options",
        "test_plain_3",
    ]


def test_tests_without_models_keep_the_order_that_others_gave_them(project: Project) -> None:
    project.write(
        """
        def pytest_collection_modifyitems(items):
            items.reverse()
        """,
        "conftest.py",
    )
    project.write(MIXED)

    assert project.collected(f"--llm-model={project.model}")[:2] == ["test_arithmetic", "test_talk"]


def test_bad_items_are_found_before_anything_loads_and_the_others_run(project: Project, fake: Fake) -> None:
    project.write(
        """
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        def test_good():
            pass

        @pytest.mark.llm_workload(prompt_tokens=0)
        def test_bad():
            pass

        @pytest.mark.llm_model("nowhere.gguf")
        def test_worse(gguf_model):
            pass
        """
    )

    collected = project.run("--collect-only", *project.measuring())
    assert collected.ret == pytest.ExitCode.OK
    assert fake.started == []

    result = project.measure()
    result.assert_outcomes(passed=1, errors=2)
    assert set(project.texts(result)) == {"test_bad", "test_worse"}
    assert len(fake.started) == 3


def test_the_projects_own_models_are_known(project: Project) -> None:
    project.write(
        f"""
        [tool.pytest_llm.models.ours]
        source = "{project.model}"
        load_options = {{ n_ctx = 768 }}
        """,
        "pyproject.toml",
    )
    project.write(
        """
        @pytest.mark.llm_model("ours")
        @pytest.mark.llm_workload()
        def test_speed():
            pass
        """
    )

    assert "  ours on llama-cpp-python, n_ctx=768, " in project.plan()[1]


def test_a_bad_table_of_models_is_one_line(project: Project) -> None:
    project.write("[tool.pytest_llm.models.ours]\nsource = 5\n", "pyproject.toml")
    project.write(MIXED)

    assert "[tool.pytest_llm.models.ours] of " in project.usage_error("--llm-bench")


def test_one_file_is_one_subject_however_its_path_is_written(project: Project) -> None:
    model = project.path / "models" / "m.gguf"
    model.parent.mkdir()
    model.write_bytes(project.model.read_bytes())
    project.write(
        """
        @pytest.mark.llm_model("models/m.gguf")
        def test_relative(llm_bench): pass
        @pytest.mark.llm_model("models/../models/m.gguf")
        def test_roundabout(llm_bench): pass
        def test_option(llm_bench): pass
        """
    )
    assert "on 1 subject," in project.plan(f"--llm-model={model}")[0]


def test_a_skipped_benchmark_is_not_in_the_plan(project: Project) -> None:
    project.write(
        """
        def test_runs(llm_bench): pass
        @pytest.mark.skip
        @pytest.mark.llm_workload(depth=512)
        def test_skipped(llm_bench): pass
        """
    )
    plan = project.plan(f"--llm-model={project.model}")
    assert "1 benchmark " in plan[0]
    assert not any("depth 512" in line for line in plan)


def test_a_test_marked_by_hand_is_measured_on_the_default_workload(project: Project) -> None:
    project.write("@pytest.mark.llm_bench\ndef test_it(): pass")
    assert "1 benchmark " in project.plan(f"--llm-model={project.model}")[0]


@pytest.mark.parametrize("model", ["", '"nowhere.gguf"'], ids=["no model", "a missing file"])
def test_a_benchmark_that_is_not_run_needs_no_model(model: str, project: Project) -> None:
    project.write(f"@pytest.mark.llm_model({model})\ndef test_it(llm_bench): pass")
    project.run().assert_outcomes(skipped=1)
    project.run("--llm-bench").assert_outcomes(errors=1)


def test_a_mistyped_benchmark_fails_even_where_it_is_not_run(project: Project) -> None:
    project.write('@pytest.mark.llm_model("smollm2-135m", n_ctxx=1)\ndef test_it(llm_bench): pass')
    project.run().assert_outcomes(errors=1)
