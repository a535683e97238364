"""What a person sees while it works and when it is done."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_llm.records.units import BYTES

if TYPE_CHECKING:
    from tests.fake_engine import Fake
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


def _table(result: pytest.RunResult) -> list[list[str]]:
    """Return the cells of the summary's table; cells stand two blanks apart."""
    lines = result.outlines
    start = next(index for index, line in enumerate(lines) if line.startswith("machine ")) + 1
    ends = (index for index, line in enumerate(lines) if index > start and line.startswith(("memory", "=")))
    return [re.split(r" {2,}", line) for line in lines[start : next(ends)]]


def test_the_summary_has_each_benchmark_with_the_metrics_that_it_was_asked_for(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    table = _table(project.measure())
    assert table[:9] == [
        ["", "value (sessions)", "limit"],
        ["test_it.py::test_kept"],
        ["", "generation speed", "128.0 tok/s", "≥ 1.000 tok/s", "pass"],
        ["", "load time", "250.0 ms", "≤ 1.000 s", "pass"],
        ["test_it.py::test_exceeded"],
        ["", "generation speed", "128.0 tok/s", "≥ 1000 tok/s", "over limit"],
        ["", "load time", "250.0 ms", "≤ 1.000 s", "pass"],
        ["test_it.py::test_without_limits"],
        ["", "prompt speed", "128.0 tok/s"],
    ]
    assert [row[1] for row in table[9:13]] == [
        "generation speed",
        "first-token latency",
        "inter-token latency p50",
        "load time",
    ]


@pytest.mark.parametrize(("width", "lines_each"), [(40, 3), (60, 2), (80, 1), (200, 1)])
def test_no_row_is_wider_than_the_terminal(
    project: Project, monkeypatch: pytest.MonkeyPatch, width: int, lines_each: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = project.measure().outlines
    start = lines.index("test_it.py::test_exceeded")
    rows = lines[start + 1 : lines.index("test_it.py::test_without_limits")]
    assert len(rows) == 2 * lines_each
    assert all(len(each) <= width for each in rows)
    assert rows[0].endswith("  over limit")


def test_quiet_shows_what_did_not_pass_and_verbose_every_metric(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    quiet = project.measure("-q").outlines
    assert "test_it.py::test_exceeded" in quiet
    assert "test_it.py::test_kept" not in quiet
    assert not [line for line in quiet if line.startswith(("machine ", "memory "))]
    loud = project.measure("-v").outlines
    kept = loud[loud.index("test_it.py::test_kept") : loud.index("test_it.py::test_exceeded")]
    assert "inter-token latency p50" in {re.split(r" {2,}", line)[1] for line in kept[1:]}


def test_who_disturbed_stands_above_the_table(project: Project, fake: Fake) -> None:
    fake.other_load = 0.05
    assert not [line for line in project.measure().outlines if line.startswith("other processes")]
    fake.other_load = 0.97
    lines = project.measure("--llm-json=r.json").outlines
    told = lines.index("other processes used 97 % of the processors while sessions ran")
    assert lines[told - 1].startswith("machine ")
    (run, *_) = json.loads((project.path / "r.json").read_text(encoding="utf-8"))["runs"].values()
    assert run["sessions"][0]["series"]["other_load"]["values"] == [0.97]


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


def test_a_model_that_takes_long_to_hash_shows_how_far_it_is(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llm.models.progress.SECONDS", 0.0)
    project.write("def test_it(llm_bench): pass")
    lines = project.measure().outlines
    hashing = [line for line in lines if "hashing" in line]
    size = BYTES.format(project.model.stat().st_size)
    assert hashing == [f"  hashing {project.model.name}{again}: {size} of {size}" for again in ("", " again")]


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

    assert sorted(line for line in lines if re.match(r"\S*test_\w+\.py::\S+$", line)) == [
        "deep/test_it.py::test_chat",
        "fast/test_it.py::test_chat",
        "slow/test_it.py::test_chat",
        "test_x.py::test_path[a/b]",
    ]
