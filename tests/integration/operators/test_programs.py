"""Upstream's programs as processes of their own, and what they print."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from pytest_llm.checks.operators.programs import export, perf, read_output, takes_files
from pytest_llm.errors import EngineError

from .conftest import RECORDED

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.checks.operators import Work

    from .conftest import Desk

BUILT_IN = ("-o", "MUL_MAT", "-p", r"^type_a=q4_1,type_b=f32,m=4096,n=1,")


def program(desk: Desk, **does: object) -> Path:
    return desk.tree("b", **does).program("test-backend-ops", lambda line: None)


def test_a_benchmark_says_what_it_measured(desk: Desk) -> None:
    (timed,) = perf(program(desk), "CPU", BUILT_IN, 1, 30.0)

    assert (timed.operator, timed.supported) == ("MUL_MAT", True)
    assert timed.parameters.startswith("type_a=q4_1,type_b=f32,m=4096,n=1,k=14336,bs=[1,1],")
    assert timed.seconds > 0


def test_every_recorded_row_is_read_in_microseconds() -> None:
    found = read_output((RECORDED / "perf.sql").read_text(encoding="utf-8"))

    assert len(found) == len((RECORDED / "graph.txt").read_text(encoding="utf-8").splitlines())
    by_name = {each.parameters.partition(",")[0]: each for each in found}
    assert 1e-4 < by_name["name=ffn_gate-0"].seconds < 1e-3


def test_what_is_no_whole_row_is_passed_over() -> None:
    text = (RECORDED / "perf.sql").read_text(encoding="utf-8").splitlines()

    found = read_output("\n".join(["CREATE TABLE x (", text[0], text[1][:-40], "nonsense", text[2]]))

    assert [each.operator for each in found] == ["ADD", "RMS_NORM"]


def test_a_row_without_a_time_is_passed_over() -> None:
    # What --output csv has: no times at all.
    assert read_output("INSERT INTO t (op_name, supported) VALUES ('ADD', '1');") == []


def test_a_crash_is_told_by_its_signal(desk: Desk) -> None:
    with pytest.raises(EngineError, match=r"^test-backend-ops was ended by SIGILL$"):
        perf(program(desk, crash=["q4_1"]), "CPU", BUILT_IN, 1, 30.0)


def test_a_hang_is_ended(desk: Desk) -> None:
    with pytest.raises(EngineError, match=r"^test-backend-ops did not end within 1 s$"):
        perf(program(desk, hang=["q4_1"]), "CPU", BUILT_IN, 1, 1.0)


def test_a_program_that_does_not_start_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="nothing does not start: No such file"):
        perf(tmp_path / "nothing", "CPU", BUILT_IN, 1, 1.0)


@pytest.mark.parametrize("old", [False, True])
def test_whether_a_benchmark_reads_files_is_asked(desk: Desk, *, old: bool) -> None:
    assert takes_files(program(desk, old=old)) is not old


def test_an_exporter_that_refuses_says_so(desk: Desk, work: Work, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"^test-export-graph-ops ended with 1$") as caught:
        export(program(desk, cannot_export=True), work.model, work.options, work.workload, tmp_path / "out")

    assert caught.value.log == ("failed to load model",)


def test_the_exporter_gets_a_cache_as_long_as_the_workload(work: Work, tmp_path: Path) -> None:
    script = tmp_path / "exporter"
    script.write_text(f"#!{sys.executable} -IS\nimport sys\n" + ECHO, encoding="utf-8")
    script.chmod(0o755)

    words = export(script, work.model, work.options, work.workload, tmp_path / "out").split()

    told = dict(zip(words[::2], words[1::2], strict=True))
    assert (told["-c"], told["-b"], told["-ub"], told["-np"]) == ("256", "1", "1", "1")
    assert (told["-m"], told["-fa"], told["-ctk"]) == (work.model.path, "auto", "f16")


ECHO = "open(sys.argv[sys.argv.index('-o') + 1], 'w').write(' '.join(sys.argv[1:]))"


def test_no_more_threads_than_asked_for_reach_openmp(tmp_path: Path) -> None:
    script = tmp_path / "benchmark"
    row = "INSERT INTO t (op_name, op_params, supported, time_us) VALUES ('ADD', '%s', '1', '1.0');"
    script.write_text(
        f"#!{sys.executable} -IS\nimport os\nprint({row!r} % os.environ['OMP_THREAD_LIMIT'])",
        encoding="utf-8",
    )
    script.chmod(0o755)

    assert perf(script, "CPU", (), 3, 30.0)[0].parameters == "3"
