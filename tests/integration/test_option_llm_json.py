"""``--llm-json`` says where the results go; what they hold is in ``test_results``."""

from __future__ import annotations

import itertools
import json
import os
import stat
import threading
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.plugin import findings
from pytest_llm.reports import results

if TYPE_CHECKING:
    from tests.integration.conftest import Ini, Project

BENCHMARK = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    def test_speed():
        pass
"""


@pytest.fixture(autouse=True)
def _benchmark(project: Project) -> None:
    project.write(BENCHMARK)


def _are_results(path: Path) -> bool:
    return bool(json.loads(path.read_text(encoding="utf-8"))["tests"])


def test_nothing_is_written_by_default(project: Project) -> None:
    project.measure()

    assert not list(project.path.rglob("*.json"))


def test_works_on_the_command_line(project: Project) -> None:
    result = project.measure("--llm-json=found.json")

    assert _are_results(project.path / "found.json")
    result.stdout.fnmatch_lines([f"results in {project.path / 'found.json'}"])


def test_makes_the_folder(project: Project) -> None:
    project.measure("--llm-json=a/b/found.json")

    assert _are_results(project.path / "a" / "b" / "found.json")


def test_a_relative_path_starts_from_where_it_was_written(
    project: Project, ini: Ini, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.path / "below").mkdir()
    monkeypatch.chdir(project.path / "below")

    ini.write(llm_json="from-the-file.json")
    project.measure("..")
    project.measure("..", "--llm-json=from-the-shell.json")

    assert _are_results(project.path / "from-the-file.json")
    assert _are_results(project.path / "below" / "from-the-shell.json")


def test_a_folder_is_refused_in_one_line(project: Project) -> None:
    (project.path / "folder").mkdir()

    assert "--llm-json" in project.usage_error(*project.measuring(), "--llm-json=folder")


def test_results_that_are_not_of_the_schema_are_one_red_line_and_no_finished_file(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "VERSION", 0)
    result = project.measure("--llm-json=r.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["no results: $.schema_version*"])
    assert not json.loads((project.path / "r.json").read_text(encoding="utf-8"))["finished"]


# ── careless hands ────────────────────────────────────────────────────────────────────────────────────


def test_a_device_is_written_to_and_stays_one(project: Project) -> None:
    before = os.stat("/dev/null")  # noqa: PTH116 - the device itself
    (project.path / "linked.json").symlink_to("/dev/null")
    for name in ("/dev/null", "linked.json"):
        project.measure(f"--llm-json={name}").assert_outcomes(passed=1)
    after = Path("/dev/null").stat()
    assert (after.st_rdev, after.st_ino, after.st_mode) == (before.st_rdev, before.st_ino, before.st_mode)
    assert (project.path / "linked.json").is_symlink()


def test_a_pipe_gets_the_finished_results_once(project: Project) -> None:
    pipe = project.path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    found: list[bytes] = []

    def read() -> None:
        with open(os.dup(reader), "rb", buffering=0) as file:  # noqa: PTH123 - it is open already
            os.set_blocking(file.fileno(), True)
            while (part := file.read(2**16)) is not None and (part or not found):
                found.append(part)

    keeper = os.open(pipe, os.O_WRONLY)  # as long as this is open, a reader waits for more
    thread = threading.Thread(target=read)
    thread.start()
    try:
        project.measure("--llm-json=pipe").assert_outcomes(passed=1)
    finally:
        os.close(keeper)
        thread.join()
        os.close(reader)
    assert json.loads(b"".join(found))["finished"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_pipe_that_nobody_reads_is_one_red_line(project: Project) -> None:
    os.mkfifo(project.path / "pipe")
    result = project.measure("--llm-json=pipe")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["--llm-json: *pipe cannot be written (nobody reads the pipe, *"])


def test_a_link_stays_and_the_file_it_leads_to_is_replaced(project: Project) -> None:
    (project.path / "real.json").write_text("old", encoding="utf-8")
    (project.path / "real.json").chmod(0o600)
    (project.path / "r.json").symlink_to("real.json")
    project.measure("--llm-json=r.json")
    assert (project.path / "r.json").is_symlink()
    assert _are_results(project.path / "real.json")
    assert stat.S_IMODE((project.path / "real.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e39"])
def test_an_infinite_option_fails_its_own_test_and_no_other(project: Project, value: str) -> None:
    project.write(
        BENCHMARK
        + f"""
    @pytest.mark.llm_model(rope_freq_base=float("{value}"))
    def test_infinite():
        pass
"""
    )
    result = project.measure("--llm-json=r.json")
    result.assert_outcomes(passed=1, errors=1)
    (test,) = json.loads((project.path / "r.json").read_text(encoding="utf-8"))["tests"]
    assert (test["nodeid"], test["outcome"]) == ("test_it.py::test_speed", "passed")


def test_a_clock_that_is_set_back_loses_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    class SetBack(datetime):
        times = itertools.count()

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> SetBack:
            return cls(2026, 1, 2, tzinfo=tz) - timedelta(hours=next(cls.times))

    monkeypatch.setattr(findings, "datetime", SetBack)
    project.measure("--llm-json=r.json").assert_outcomes(passed=1)
    document = json.loads((project.path / "r.json").read_text(encoding="utf-8"))
    assert document["finished"]
    assert 0 <= document["duration_s"] < 60
    assert document["started"] == "2026-01-02T00:00:00+00:00"
