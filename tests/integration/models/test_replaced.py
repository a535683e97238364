"""A model whose file changes while it is measured has no run."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

import pytest

from tests.fake_engine import FakeSubject

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.gguf_files import SplitModel
    from tests.integration.conftest import Project

BENCHMARK = """
    import pytest

    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_tokens_per_second(min=1)
    def test_speed():
        pass

    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_no_regression
    def test_gate():
        pass
"""


@pytest.fixture
def split(split_model: SplitModel) -> Path:
    return split_model.write()


@pytest.fixture
def at_second_load(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    def arrange(change_file: Callable[[], object]) -> None:
        loads = []

        def load(self: FakeSubject) -> float:
            loads.append(self)
            if len(loads) == 2:
                change_file()
            return 0.25

        monkeypatch.setattr(FakeSubject, "load", load)

    return arrange


def test_a_later_part_that_is_replaced_between_two_sessions_is_an_error(
    project: Project,
    split: Path,
    split_model: SplitModel,
    at_second_load: Callable[[Callable[[], object]], None],
) -> None:
    at_second_load(lambda: split_model.change(2))
    project.write(BENCHMARK)

    result = project.run(
        "--llm-bench", f"--llm-candidate={project.candidate}", f"--llm-model={split}", "--llm-effort=quick"
    )

    result.assert_outcomes(errors=2)
    for text in project.texts(result).values():
        assert f"{split_model.path(2)} changed during this run: leave the model as it is" in text


def test_a_file_that_is_swapped_by_a_rename_between_two_sessions_is_an_error(
    project: Project,
    split: Path,
    split_model: SplitModel,
    at_second_load: Callable[[Callable[[], object]], None],
) -> None:
    last = split_model.path(2)
    content = last.read_bytes()

    def swap() -> None:
        last.with_name("next").write_bytes(content[:-1] + b"!")
        last.with_name("next").replace(last)

    at_second_load(swap)
    project.write(BENCHMARK)

    result = project.run(
        "--llm-bench", f"--llm-candidate={project.candidate}", f"--llm-model={split}", "--llm-effort=quick"
    )

    result.assert_outcomes(errors=2)
    assert f"{last} changed during this run" in result.stdout.str()


def test_no_further_session_begins_once_the_file_has_changed(
    project: Project, split: Path, split_model: SplitModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []

    def load(self: FakeSubject) -> float:
        loads.append(self)
        split_model.change(2)
        return 0.25

    monkeypatch.setattr(FakeSubject, "load", load)
    project.write(BENCHMARK)

    result = project.run(
        "--llm-bench",
        f"--llm-candidate={project.candidate}",
        f"--llm-model={split}",
        "--llm-effort=quick",
        "-k",
        "speed",
    )

    result.assert_outcomes(errors=1)
    assert len(loads) == 1


def test_bytes_written_through_an_old_mapping_are_an_error(
    project: Project,
    split: Path,
    split_model: SplitModel,
    at_second_load: Callable[[Callable[[], object]], None],
) -> None:
    with split_model.path(2).open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[-1:] = mapping[-1:]

        def write() -> None:
            mapping[-1:] = b"!"

        at_second_load(write)
        project.write(BENCHMARK)
        result = project.run(
            "--llm-bench",
            f"--llm-candidate={project.candidate}",
            f"--llm-model={split}",
            "--llm-effort=quick",
        )

    result.assert_outcomes(errors=2)
    assert f"{split_model.path(2)} changed during this run" in result.stdout.str()


def test_a_model_that_gets_another_link_is_measured(
    project: Project, split: Path, at_second_load: Callable[[Callable[[], object]], None]
) -> None:
    at_second_load(lambda: os.link(split, split.with_name("link.gguf")))
    project.write(BENCHMARK)

    result = project.run(
        "--llm-bench", f"--llm-candidate={project.candidate}", f"--llm-model={split}", "--llm-effort=quick"
    )

    result.assert_outcomes(passed=2)


def test_runs_of_a_model_with_another_second_part_are_no_baseline(
    project: Project, split: Path, split_model: SplitModel
) -> None:
    project.write(BENCHMARK)
    options = (
        f"--llm-candidate={project.candidate}",
        f"--llm-model={split}",
        "--llm-effort=quick",
        "--llm-bench",
    )
    for _ in range(2):
        project.run(*options, "--llm-update-baselines=replace").assert_outcomes(passed=2)
    project.run(*options, "--llm-missing-baseline=fail").assert_outcomes(passed=2)
    split_model.change(2)

    result = project.run(*options, "--llm-missing-baseline=fail")

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*no baseline*"])
