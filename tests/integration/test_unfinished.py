"""Results are written as they come, so that a run that is killed loses nothing that was measured."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.cli import main
from tests import TESTS
from tests.integration.conftest import WITHOUT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Project

MEASURED = """
    import os
    import time

    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_tokens_per_second(min=1)
    def test_measured(llm_bench): pass
"""
LATER = """
    @pytest.mark.llm_workload(prompt_tokens=8, generate_tokens=2)
    def test_later(llm_bench): pass
"""
HANGS = """
    def test_hangs(): time.sleep(60)
"""


def _results(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.path / "r.json").read_text(encoding="utf-8"))
    return found


def _sessions(results: dict[str, Any], name: str) -> int:
    (test,) = (test for test in results["tests"] if test["key"]["name"] == name)
    return len(results["runs"][test["run"]]["sessions"])


@pytest.mark.slow
def test_a_timeout_that_ends_the_process_loses_no_result(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write(MEASURED + HANGS + LATER)
    limit = ("-p", "timeout", "--timeout=0.5", "--timeout-method=thread")

    done = project.run_apart(*project.measuring(), "--llm-json=r.json", *limit)

    assert done.returncode == 1
    results = _results(project)
    assert results["finished"] is False
    assert [test["outcome"] for test in results["tests"]] == ["passed", "passed"]
    monkeypatch.chdir(project.path)
    assert main(["report", "r.json"]) == 0
    assert "unfinished: pytest still runs, or was killed; " in capsys.readouterr().out
    assert main(["baselines", "accept", "r.json"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pytest-llm: r.json is unfinished: pytest still runs, or was killed; ")
    assert not (project.path / "baselines").exists()


@pytest.mark.slow
def test_sigterm_while_a_model_is_measured_loses_no_session(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write("from tests.fake_engine import CURRENT\nCURRENT.fake.set(pause=0.2)", "conftest.py")
    project.write(MEASURED + LATER)
    file = project.path / "r.json"
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "pytest", *WITHOUT, "-p", "tests.fake_engine"),
            *(*project.measuring(), "--llm-effort=thorough", "--llm-json=r.json"),
        ],
        cwd=project.path,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        stdout=subprocess.DEVNULL,
    ) as process:
        _wait_for_sessions(file, process)
        process.send_signal(signal.SIGTERM)

    results = _results(project)
    assert process.returncode == -signal.SIGTERM
    assert results["finished"] is False
    assert {test["outcome"] for test in results["tests"]} == {""}
    assert 2 <= _sessions(results, "test_measured") < 10
    assert 2 <= _sessions(results, "test_later") < 10
    assert main(["report", str(file)]) == 0
    assert capsys.readouterr().out.count("the test did not end") == 2


def _wait_for_sessions(file: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        if file.exists():
            results = json.loads(file.read_text(encoding="utf-8"))
            if any(len(run["sessions"]) > 1 for run in results["runs"].values()):
                return
        time.sleep(0.02)
    raise AssertionError("no two sessions")


@pytest.mark.slow
def test_the_file_of_an_earlier_run_is_not_taken_for_that_of_a_killed_one(project: Project) -> None:
    project.write(MEASURED)
    project.measure("--llm-json=r.json")
    assert _results(project)["finished"] is True
    project.write(
        "import os\nfrom tests.fake_engine import FakeSubject\nFakeSubject.load = lambda self: os._exit(9)",
        "conftest.py",
    )

    project.run_apart(*project.measuring(), "--llm-json=r.json")

    results = _results(project)
    assert (results["finished"], results["tests"]) == (False, [])


def test_every_early_file_says_what_its_series_say(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the start, after each session, and before and after each test."""
    project.write(
        """
        import shutil
        from pathlib import Path

        count = 0

        def pytest_configure(config):
            from pytest_llm.reports import results_file
            replace = results_file._replace

            def keep(path, text):
                global count
                replace(path, text)
                count += 1
                shutil.copy(path, Path(path).with_name(f"early-{count}.json"))

            config.add_cleanup(lambda: setattr(results_file, "_replace", replace))
            results_file._replace = keep
        """,
        "conftest.py",
    )
    project.write(
        MEASURED
        + LATER
        + """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_faster_than(flash_attn="on")
    def test_claim(): pass
"""
    )

    project.measure("--llm-json=r.json")

    files = sorted(project.path.glob("early-*.json"), key=lambda path: path.stat().st_mtime_ns)
    finished = [json.loads(path.read_text(encoding="utf-8"))["finished"] for path in files]
    assert finished == [False] * (len(files) - 1) + [True]
    assert len(files) > 6
    monkeypatch.chdir(project.path)
    assert main(["report", *(path.name for path in files)]) == 0, capsys.readouterr().out


def test_results_that_cannot_be_written_any_more_are_told_once_at_the_end(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_the_disk(handle: int) -> None:
        raise OSError(28, "No space left on device")

    project.write(MEASURED)
    monkeypatch.setattr(os, "fsync", fill_the_disk)

    result = project.measure("--llm-json=r.json")

    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert sum("cannot be written" in line for line in result.outlines) == 1


def test_a_run_whose_benchmarks_are_all_skipped_leaves_an_earlier_file_as_it_was(project: Project) -> None:
    project.write(MEASURED)
    project.measure("--llm-json=r.json")
    before = (project.path / "r.json").read_bytes()
    project.write(f"    pytestmark = pytest.mark.skip\n{MEASURED}")

    project.measure("--llm-json=r.json")

    assert (project.path / "r.json").read_bytes() == before


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_tests_that_were_measured_with_others_and_did_not_run_are_kept_and_teach_no_baseline(
    project: Project, mode: str
) -> None:
    project.write(MEASURED.replace("(llm_bench): pass", "(llm_bench): assert False") + LATER)

    result = project.measure("-x", "--llm-json=r.json", f"--llm-update-baselines={mode}")

    results = _results(project)
    assert results["finished"] is True
    assert [test["outcome"] for test in results["tests"]] == ["failed", ""]
    assert _sessions(results, "test_later") == 3
    result.stdout.fnmatch_lines(["test_it.py::test_later *the test did not end"])
    result.stdout.fnmatch_lines(["not stored: test_it.py::test_later: did not end"])


@pytest.mark.slow
def test_ctrl_c_while_a_model_is_measured_keeps_the_sessions(project: Project) -> None:
    project.write(
        """
        from tests.fake_engine import FakeSubject

        load, loads = FakeSubject.load, []

        def interrupted(self):
            loads.append(self)
            if len(loads) == 3:
                raise KeyboardInterrupt
            return load(self)

        FakeSubject.load = interrupted
        """,
        "conftest.py",
    )
    project.write(MEASURED + LATER)

    done = project.run_apart(*project.measuring(), "--llm-json=r.json", "--llm-update-baselines=replace")

    assert done.returncode == pytest.ExitCode.INTERRUPTED
    results = _results(project)
    assert results["finished"] is True
    assert [test["outcome"] for test in results["tests"]] == ["", ""]
    assert _sessions(results, "test_measured") == _sessions(results, "test_later") == 2
    assert not (project.path / "baselines").exists()
