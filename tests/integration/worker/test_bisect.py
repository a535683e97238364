"""``pytest-llm bisect`` from end to end, on builds of the stand-in that differ as told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.builds.provider import Provider
from pytest_llm.cli import main
from pytest_llm.errors import BuildError
from pytest_llm.stats.sequential import rule_for
from tests import STAND_IN

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Project, StandIn

pytestmark = pytest.mark.slow
BENCHMARK = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_no_regression("generation_tokens_per_second")
    def test_speed():
        pass
"""
NODEID = "test_it.py::test_speed"
FAST = 1 / 128
SLOW, SLOWER = FAST * 1.25, FAST * 1.5


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes environments in which the stand-in heeds variables of its own, each kind once."""
    made: dict[tuple[str, object], Path] = {}
    folder = tmp_path_factory.mktemp("builds")

    def make(name: str, **variables: object) -> Path:
        key = (name, json.dumps(variables))
        if key not in made:
            made[key] = _environment(folder / f"{name}-{len(made)}", variables)
        return made[key]

    return make


def _environment(folder: Path, variables: dict[str, object]) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    given = {f"LLAMA_STAND_IN_{name.upper()}": str(value) for name, value in variables.items()}
    if variables.get("engine", True):
        lines = [f"import os; os.environ.update({given!r})", str(STAND_IN)]
        start = "\n".join([*lines, "import virtual_clock; virtual_clock.install()", ""])
        (packages / "stand_in.pth").write_text(start, encoding="utf-8")
    return folder


@dataclass
class Bisect:
    """The command, called in this process, in the project's folder."""

    project: Project
    captured: pytest.CaptureFixture[str]
    environments: Callable[..., Path]
    cache: Path

    def row(self, *kinds: dict[str, Any]) -> str:
        made = [self.environments(f"b{place}", **kind) for place, kind in enumerate(kinds)]
        return ",".join(f"venv:{each}" for each in made)

    def words(self, row: str, *more: str) -> list[str]:
        return [
            *("bisect", NODEID, f"--builds={row}", f"--model={self.project.model}", "--effort=quick"),
            *(f"--cache={self.cache}", *more),
        ]

    def __call__(self, row: str, *more: str) -> tuple[int, str, str]:
        status = main(self.words(row, *more))
        out, err = self.captured.readouterr()
        return status, out, err

    def json(self, row: str, *more: str) -> tuple[int, dict[str, Any]]:
        status, out, _ = self(row, *more, "--json")
        document: dict[str, Any] = json.loads(out)
        return status, document


@pytest.fixture
def bisect(
    project: Project,
    environments: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Bisect:
    project.write(BENCHMARK)
    monkeypatch.chdir(project.path)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return Bisect(project, capsys, environments, tmp_path / "cache")


def speed(token_seconds: float, **more: object) -> dict[str, object]:
    return {"token_seconds": token_seconds, **more}


def steps(document: dict[str, Any], relation: str = "worse") -> list[tuple[int, int]]:
    return [(each["from"], each["to"]) for each in document["steps"] if each["relation"] == relation]


def test_a_bisect_of_five_builds_is_killed_goes_on_and_names_the_slow_one(
    bisect: Bisect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    row = bisect.row(*[speed(FAST)] * 3, *[speed(SLOW)] * 2)

    told = killed_after_two_comparisons(bisect.words(row))
    status, out, err = bisect(row)

    builds = row.split(",")
    assert status == 0
    lines = err.splitlines()
    assert lines[0].startswith(f"5 builds, {NODEID}: at most 5 comparisons for one culprit (")
    assert [line.partition(";")[0] for line in lines[1 : len(told)]] == [
        line.partition(";")[0] for line in told[1:]
    ]
    kept = [line for line in lines if "; stored before; " in line]
    assert len(kept) == len(told) - 1
    assert len(lines) == 6, err
    # −20 % of the rate is 25 % more time.
    first, last = (f"llama-cpp-python@{each}" for each in (builds[2], builds[3]))
    assert f"culprit: {last}, llama-cpp-python 0.0.1 (llama.cpp 57a9d1234): generation speed fell " in out
    assert "128.0 tok/s to 102.4 tok/s, −20.0 % (95 % interval −20.0 … −20.0 %, " in out
    assert f"  compared with {first}, " in out
    assert "  same output; same configuration" in out
    assert "SHA-256 " in out
    assert f"--llm-candidate={last} --llm-against={first}" in out
    assert f"Environment of {last}: OMP_WAIT_POLICY=passive." in out
    assert out.count(" | worse | ") == 3
    assert "calls a false regression is at most 5 %" in out


def killed_after_two_comparisons(words: list[str]) -> list[str]:
    """Start the command, kill it and all its children, and return what it had told until then."""
    command = [
        sys.executable,
        "-c",
        "import sys, tests.diary; from pytest_llm.cli import main; sys.exit(main())",
        *words,
    ]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        told = [process.stderr.readline().rstrip() for _ in range(3)]
        time.sleep(0.5)  # in the middle of the third
        os.killpg(process.pid, signal.SIGKILL)
    return told


def test_two_culprits_are_named_beside_one_that_is_not_built_and_one_that_does_not_run(
    bisect: Bisect,
) -> None:
    row = bisect.row(
        speed(FAST),
        speed(SLOW),
        {"engine": False},
        speed(SLOW, fault="load=refuse"),
        speed(SLOWER),
        speed(SLOWER),
    )

    status, document = bisect.json(row)

    assert status == 0
    assert document["ends"] == "worse"
    assert steps(document) == [(0, 1), (1, 4)]
    assert document["steps"][1]["cannot_be_tested"] == [2, 3]
    unfit = {
        place: build["unfit"]["what"] for place, build in enumerate(document["builds"]) if build["unfit"]
    }
    assert unfit == {2: "cannot be built", 3: "cannot run"}
    assert len(document["texts"]) == 2
    # Nine comparisons of one metric may come, and share alpha.
    assert document["sharing_the_error_rate"] == 9
    assert {each["sessions"] for each in document["comparisons"]} == {rule_for("quick", 9).looks[0]}
    assert "In between, not tested: " in document["texts"][1]


def test_a_good_end_that_is_bad_is_named(bisect: Bisect) -> None:
    row = bisect.row(speed(SLOW), *[speed(FAST)] * 4)

    status, out, _ = bisect(row)

    first, second, *_, last = (f"llama-cpp-python@{each}" for each in row.split(","))
    assert status == 1
    assert out.startswith(
        f"there is a gain between the ends: {last} is better than {first}: generation speed +25.0 %"
    )
    assert f"better: {second}, " in out
    assert f"  compared with {first}, " in out


def test_another_output_is_a_step_of_its_own_kind(bisect: Bisect) -> None:
    row = bisect.row(speed(FAST), speed(FAST), speed(FAST, first_letter="k"))

    status, document = bisect.json(row)

    assert (status, document["followed"]) == (0, "output")
    assert steps(document) == [(1, 2)]
    assert "**Other output, from " in document["texts"][0]


# ── refused, or over at once ─────────────────────────────────────────────────────────────────────


class Unmakeable:
    """Sources of which nothing can be made."""

    source = Path()
    commit = "abc"

    def program(self, name: str, on_progress: object) -> Path:
        raise BuildError("there is no compiler")


def test_a_step_between_builds_with_sources_tells_of_operators(
    bisect: Bisect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Provider, "tree", lambda *_: Unmakeable())
    row = bisect.row(speed(FAST), speed(SLOW))

    _, told = bisect.json(row)
    _, silent = bisect.json(row, "--no-operators")

    (of_the_step,) = told["operators"]
    assert [each["not_covered"] for each in of_the_step] == [["there is no compiler"]]
    line = f"- {of_the_step[0]['phase'].capitalize()}: operators not compared: there is no compiler."
    assert line in told["texts"][0].splitlines()
    assert silent["operators"] == [[]]
    assert "operators" not in silent["texts"][0].replace("--no-operators", "")


def refused(bisect: Bisect, *words: str) -> str:
    assert main(["bisect", *words]) == 2
    out, err = bisect.captured.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line.removeprefix("pytest-llm: ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name the builds with --good and --bad, or with --builds alone"),
        (["--good=venv:."], "name the builds with --good and --bad"),
        (["--good=venv:.", "--bad=venv:.", "--builds=venv:."], "or with --builds alone"),
        (["--builds=venv:."], "a bisect takes two builds at least"),
        (["--good=venv:.", "--bad=venv:."], "is given twice"),
        (["--builds=venv:.,venv:nowhere"], "there is no folder"),
    ],
)
def test_builds_that_make_no_row_are_refused(bisect: Bisect, words: list[str], told: str) -> None:
    assert told in refused(bisect, NODEID, *words)


def test_a_test_that_is_not_one_benchmark_is_refused(bisect: Bisect) -> None:
    row = bisect.row(speed(FAST), speed(SLOW))
    bisect.project.write("def test_speed(): pass\n")
    assert "is 0 benchmarks, a bisect follows one" in refused(bisect, *bisect.words(row)[1:])


def test_a_test_that_is_not_there_is_refused(bisect: Bisect) -> None:
    words = bisect.words(bisect.row(speed(FAST), speed(SLOW)))[1:]
    assert "not found: " in refused(bisect, "test_it.py::test_other", *words[1:])


def test_a_metric_that_the_test_does_not_gate_is_refused(bisect: Bisect) -> None:
    words = bisect.words(bisect.row(speed(FAST), speed(SLOW)), "--metric=load_time")[1:]
    assert "unknown --metric 'load_time'" in refused(bisect, *words)


def test_an_end_that_cannot_be_tested_ends_it(bisect: Bisect, stand_in: StandIn) -> None:
    row = bisect.row(speed(FAST), {"engine": False})
    status, out, _ = bisect(row)
    assert status == 1
    assert out.startswith(
        f"the bad end llama-cpp-python@{row.split(',')[1]} cannot be built: name another one"
    )
    assert len(stand_in.pids()) == 1  # looked at, and nothing measured
