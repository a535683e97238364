"""A load option that is not in effect is drift, whatever else a test asks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from pytest_llm.reports import recheck, results_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Project, StandIn

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="read from /proc")

LIMITED = """
    import pytest

    @pytest.mark.llm_model(n_threads=2, {options})
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_tokens_per_second(min=1)
    def test_speed(llm_bench):
        print("mode", llm_bench.effective_options["load_mode"])
"""
FUNCTIONAL = """
    import pytest

    @pytest.mark.llm_model(load_mode="mlock")
    def test_answers(gguf_model):
        assert "mlock" not in gguf_model.effective_options()["load_mode"]
"""


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "got"), [("mlock", "none"), ("mmap+mlock", "mmap")])
def test_locks_that_locked_nothing_fail_a_test_that_has_a_limit_only(
    project: Project, asked: str, got: str
) -> None:
    project.write(LIMITED.format(options=f"load_mode={asked!r}"))

    (text,) = project.failures().values()

    assert text.splitlines()[0] == f"load_mode={asked} was asked for, {got} is in effect"
    assert "next: raise the limit of locked memory (ulimit -l; " in text


@pytest.mark.slow
def test_locks_of_llama_bench_are_checked_as_well(
    project: Project, bench_program: Callable[..., Path]
) -> None:
    project.write(LIMITED.format(options="load_mode='mlock'"))

    result = project.run(
        "--llm-bench", f"--llm-candidate=llama-bench@bin:{bench_program()}", f"--llm-model={project.model}"
    )

    (text,) = project.texts(result).values()
    assert text.splitlines()[0] == "load_mode=mlock was asked for, none is in effect"


def test_locks_that_hold_pass(project: Project, stand_in: StandIn) -> None:
    stand_in.set(locks="yes")
    project.write(LIMITED.format(options="load_mode='mlock'"))

    result = project.measure("-s")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*mode mlock*"])


def test_a_model_that_was_not_mapped_is_drift(project: Project, stand_in: StandIn) -> None:
    stand_in.set(maps="no")
    project.write(LIMITED.format(options="load_mode='mmap'"))

    (text,) = project.failures().values()

    assert text.startswith("load_mode=mmap was asked for, none is in effect\n")


def test_options_that_are_not_in_effect_can_be_accepted_and_are_told(project: Project) -> None:
    project.write(LIMITED.format(options="load_mode='mlock'"))

    result = project.measure("--llm-drift=warn", "--llm-json=results.json")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*load_mode=mlock was asked for, none is in effect*"])
    results = results_file.read(project.path / "results.json")
    (test,) = results.tests
    assert [(each.name, each.before, each.now) for each in test.unmet] == [("load_mode", "mlock", "none")]
    assert recheck.differences(results) == []


@pytest.mark.slow
def test_layers_for_a_device_that_is_not_there_are_told_if_they_were_asked_for(
    project: Project, stand_in: StandIn
) -> None:
    stand_in.set(log="load_tensors: offloaded 0/3 layers to GPU")
    line = "n_gpu_layers=-1 asks for all layers on a device, and there is none: 0/3 are on one"
    for options, told in (("n_gpu_layers=-1", True), ("n_ctx=512", False)):
        project.write(LIMITED.format(options=options))
        result = project.measure()
        result.assert_outcomes(passed=1)
        assert (line in result.stdout.str()) is told


def test_a_model_whose_locks_hold_nothing_is_not_given_to_a_test(project: Project) -> None:
    project.write(FUNCTIONAL)

    (text,) = project.failures().values()
    assert "load_mode=mlock was asked for, none is in effect" in text
    project.measure("--llm-drift=warn").assert_outcomes(passed=1)


@pytest.mark.parametrize("stated", [True, False])
def test_a_missing_device_is_a_warning_of_a_functional_test(
    project: Project, stand_in: StandIn, stated: bool
) -> None:
    stand_in.set(log="load_tensors: offloaded 0/3 layers to GPU")
    options = "n_gpu_layers=-1" if stated else "n_ctx=512"
    project.write(
        FUNCTIONAL.partition("        assert")[0].replace('load_mode="mlock"', options) + "        pass\n"
    )

    result = project.measure("-Wdefault")

    result.assert_outcomes(passed=1, warnings=int(stated))
    assert ("n_gpu_layers=-1 asks for all layers on a device" in result.stdout.str()) is stated
