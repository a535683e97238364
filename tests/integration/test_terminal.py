"""What a person sees while it works and when it is done."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

BENCHMARKS = """
    pytestmark = pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=17)

    @pytest.mark.llm_tokens_per_second(min=1)
    @pytest.mark.llm_load_time(max="1 s")
    def test_kept():
        pass

    @pytest.mark.llm_tokens_per_second(min=1000)
    @pytest.mark.llm_load_time(max="1 s")
    def test_exceeded():
        print("the test's own words")

    def test_without_limits():
        pass
"""

LEAK = """
    @pytest.mark.llm_model(n_ctx=512)
    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=17)
    @pytest.mark.llm_leak(max="1 GB")
    def test_it():
        pass
"""


@pytest.fixture(autouse=True)
def _benchmarks(project: Project) -> None:
    project.write(BENCHMARKS)


def _table(result: pytest.RunResult) -> dict[str, list[str]]:
    """Return the cells of the summary's rows by their first one; cells stand two blanks apart."""
    lines = result.outlines
    start = next(index for index, line in enumerate(lines) if "prompt tok/s" in line)
    rows = [re.split(r" {2,}", line) for line in lines[start : start + 4]]
    return {row[0]: row[1:] for row in rows}


def test_the_summary_is_a_table_with_a_row_for_each_benchmark(project: Project) -> None:
    result = project.measure()

    table = _table(result)
    speeds = ["128.0", "128.0", "125.0 ms", "7.812 ms", "250.0 ms"]
    assert table[""] == [
        "prompt tok/s",
        "generation tok/s",
        "first token",
        "inter-token p50",
        "load",
        "peak RAM",
    ]
    assert table["test_it.py::test_kept"][:5] == speeds
    assert table["test_it.py::test_kept"][-1] == "2 limits kept"
    assert table["test_it.py::test_exceeded"][-1] == "1 of 2 limits exceeded"
    assert table["test_it.py::test_without_limits"][-1] == "measured"


def test_the_columns_of_the_table_are_aligned(project: Project) -> None:
    lines = project.measure().outlines
    start = next(index for index, line in enumerate(lines) if "prompt tok/s" in line)
    head, *rows = lines[start : start + 4]

    for title in ("prompt tok/s", "generation tok/s", "first token", "load"):
        end = head.index(title) + len(title)
        assert all(row[end - 1] != " " and row[end : end + 2] == "  " for row in rows), title


def test_the_summary_names_the_candidate_and_the_machine(project: Project) -> None:
    result = project.measure()

    result.stdout.fnmatch_lines(
        [
            "*= llm-bench =*",
            "candidate fake 1.0 (57a9d1234)",
            "machine ????????????: *, * cores, * GiB",
        ]
    )


def test_there_is_no_summary_without_the_flag(project: Project) -> None:
    result = project.run(f"--llm-model={project.model}")

    result.stdout.no_fnmatch_line("*llm-bench =*")


def test_where_there_is_no_terminal_each_session_is_one_plain_line(project: Project) -> None:
    result = project.measure()

    told = [line for line in result.outlines if ": session " in line]
    assert len(told) == 3
    for number, line in enumerate(told, 1):
        assert re.fullmatch(rf"  {project.model}: session {number} of 3 took \d+\.\d s", line)
    assert "\r" not in result.stdout.str()
    assert "\x1b" not in result.stdout.str()


@pytest.mark.parametrize("arguments", [["-q"], ["-v"], ["-s"], ["-p", "no:terminal"], ["-p", "no:capture"]])
def test_works_however_pytest_writes(project: Project, arguments: list[str]) -> None:
    result = project.measure("--llm-json=results.json", *arguments)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert list(project.texts(result)) == ["test_exceeded"]
    assert (project.path / "results.json").exists()


def test_progress_is_not_part_of_a_tests_captured_output(project: Project) -> None:
    project.write("@pytest.fixture\ndef bad(llm_bench): assert 0\ndef test_bad(bad): pass", "test_bad.py")

    result = project.measure()

    recorder: pytest.HookRecorder = result.reprec  # type: ignore[attr-defined] # set by in-process runs
    reports = recorder.getreports("pytest_runtest_logreport")
    sections = [text for report in reports for _, text in report.sections]
    assert "the test's own words\n" in sections
    assert not [text for text in sections if "session" in text]


@pytest.mark.slow
def test_on_a_terminal_one_line_is_renewed_and_taken_away(worker: Project) -> None:
    text = _on_a_terminal(worker)

    renewed = re.findall(r"\r([^\r\n]*: session (\d) of 3[^\r\n]*)", text)
    assert [number for _, number in renewed] == ["1", "2", "3"]
    assert " left" not in renewed[0][0]
    assert re.search(r", about \d+ s left$", renewed[1][0].removesuffix("\x1b[K").rstrip())
    assert "took" not in text
    last = text.index(renewed[2][0]) + len(renewed[2][0])
    assert re.match(r"\s*\r\s*\r?|\x1b\[2?K", text[last:])
    assert "session 3 of 3" not in _as_seen(text)


def test_a_pass_that_watches_for_leaks_is_one_plain_line(worker: Project) -> None:
    worker.write(LEAK)
    told = [line for line in worker.measure().outlines if "leaks" in line and line.startswith("  ")]
    assert told == [f"  {worker.model}: watching for leaks"]


@pytest.mark.slow
def test_on_a_terminal_each_reading_of_what_is_held_renews_the_line(worker: Project) -> None:
    worker.write(LEAK)
    text = _on_a_terminal(worker)
    renewed = re.findall(r"\r[^\r\n]*: watching for leaks: (\d+) of 32 readings", text)
    assert [int(number) for number in renewed] == list(range(33))
    assert "watching" not in _as_seen(text)


def _on_a_terminal(project: Project) -> str:
    """Run the benchmarks with a terminal of 100 columns as output, and return all that was written."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *project.measuring()],
        cwd=project.path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 1 << 16):
            written += chunk
    except OSError:  # how Linux tells that the other end was closed
        pass
    finally:
        os.close(ours)
        process.wait(timeout=30)
    return written.decode()


def _as_seen(text: str) -> str:
    """Return what stays to be seen: a carriage return writes over the line."""
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        seen = ""
        for part in re.sub(r"\x1b\[[0-9;]*[mK]", "", line).split("\r"):
            seen = part + seen[len(part) :]
        lines.append(seen.rstrip())
    return "\n".join(lines)


def test_rows_of_files_with_one_name_have_as_many_folders_as_tell_them_apart(project: Project) -> None:
    (project.path / "test_it.py").unlink()
    for folder in ("api/fast", "api/slow", "api/slow/deep"):
        project.write("def test_chat(llm_bench): pass", f"{folder}/test_it.py")
    project.write(
        "@pytest.mark.parametrize('path', ['a/b'])\ndef test_path(llm_bench, path): pass", "api/test_x.py"
    )

    lines = project.measure("--import-mode=importlib").outlines

    start = next(index for index, line in enumerate(lines) if "prompt tok/s" in line)
    assert sorted(line.split("  ")[0] for line in lines[start + 1 : start + 5]) == [
        "deep/test_it.py::test_chat",
        "fast/test_it.py::test_chat",
        "slow/test_it.py::test_chat",
        "test_x.py::test_path[a/b]",
    ]
