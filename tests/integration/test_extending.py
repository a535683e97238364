"""Another package adds an engine, a probe, a metric and a report, which markers and a command then use."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


REGISTERS = """
from pytest_llm.engines import ENGINES, EngineEntry
from pytest_llm.machine.probes import PROBES
from pytest_llm.records.metric import Metric
from pytest_llm.records.metrics import METRICS
from pytest_llm.records.units import Unit
from pytest_llm.reports import REPORTS

ENGINES.register("steady", EngineEntry("extension.engine:Steady", covers="steady measures speeds only"))
PROBES.register("files", "extension.probe:OpenFiles")
REPORTS.register("worst", "extension.report:render")
METRICS.register(
    "open_files",
    Metric(
        name="open_files",
        title="open files",
        unit=Unit("number of files", "files", {"files": 1}, ("files",)),
        better="lower",
        series="open_files",
        definition="Files that the worker has open once it is loaded, and after one whole request.",
        source="Linux, proc(5): /proc/PID/fd",
    ),
)
"""

ENGINE = """
import os

from pytest_llm.engines.slices_only import SlicesOnlyEngine, SlicesOnlySubject
from pytest_llm.records import Build


class Steady(SlicesOnlyEngine):
    def start(self, subject, model):
        return SteadySubject(Build("steady", "1.0", "", "in pytest itself"))


class SteadySubject(SlicesOnlySubject):
    pid = os.getpid()

    def load(self):
        return 0.5

    def rehearse(self, workload):
        return 0.0

    def prompt_slice(self, tokens):
        return tokens, tokens / 128

    def generation_slice(self, steps):
        return steps, steps / 64
"""

PROBE = """
from contextlib import contextmanager

from pytest_llm.records import Series


class OpenFiles:
    def __init__(self, ticker):
        pass

    @contextmanager
    def watch(self, pid):
        seen = {}
        yield seen
        seen["open_files"] = Series((12.0,))
"""

REPORT = """
def render(files):
    tests = [test for results in files for test in results.tests]
    limits = [entry.limit for test in tests for entry in test.metrics.values() if entry.limit]
    return f"{sum(each.verdict != 'pass' for each in limits)} of {len(limits)} limits exceeded"
"""

TESTS = """
import pytest

pytestmark = pytest.mark.llm_workload(prompt_tokens=64, generate_tokens=64)


@pytest.mark.llm_tokens_per_second(min=64)
@pytest.mark.llm_limit("open_files", max=12)
def test_within(llm_bench):
    assert llm_bench.measurements["open_files"].value == 12


@pytest.mark.llm_limit("open_files", max=11)
def test_beyond():
    pass


@pytest.mark.llm_vram(max="1 GiB")
def test_not_covered():
    pass


@pytest.mark.llm_no_regression("open_files", tolerance="10%")
def test_compared():
    pass
"""


def an_extension(folder: Path, conftest: str) -> None:
    for name, source in {
        "extension/__init__.py": REGISTERS,
        "extension/engine.py": ENGINE,
        "extension/probe.py": PROBE,
        "extension/report.py": REPORT,
        "extension-1.0.dist-info/METADATA": "Name: extension\nVersion: 1.0\n",
        "extension-1.0.dist-info/entry_points.txt": "[pytest_llm]\nextension = extension\n",
        "test_it.py": TESTS,
        "conftest.py": conftest,
    }.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source, encoding="utf-8")


def measured(pytester: pytest.Pytester, model: Path, *options: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess(
        "--llm-bench", f"--llm-model={model}", "--llm-effort=quick", "--llm-json=results.json", *options
    )


@pytest.mark.slow
def test_a_package_adds_an_engine_a_probe_and_a_metric_that_markers_then_use(
    pytester: pytest.Pytester, model_file: Path
) -> None:
    an_extension(pytester.path, "import extension\n")

    result = measured(pytester, model_file, "--llm-candidate=steady")

    result.stdout.fnmatch_lines(["open files is 12.00 files, the limit is at most 11.00 files*"])
    result.stdout.fnmatch_lines(["*steady measures speeds only*"])
    assert result.parseoutcomes() == {"passed": 3, "failed": 1}
    results = json.loads((pytester.path / "results.json").read_text(encoding="utf-8"))
    (run,) = results["runs"].values()
    assert run["build"]["engine"] == "steady"


@pytest.mark.slow
def test_it_is_compared_with_itself_by_the_metric_that_it_adds(
    pytester: pytest.Pytester, model_file: Path
) -> None:
    an_extension(pytester.path, "import extension\n")

    result = measured(pytester, model_file, "--llm-candidate=steady", "--llm-aa", "-k", "compared")

    assert result.parseoutcomes()["passed"] == 1
    (pair,) = json.loads((pytester.path / "results.json").read_text(encoding="utf-8"))["pairs"].values()
    assert pair


@pytest.mark.slow
def test_a_report_of_an_installed_package_is_printed_by_its_name(
    pytester: pytest.Pytester, model_file: Path
) -> None:
    an_extension(pytester.path, "import extension\n")
    measured(pytester, model_file, "--llm-candidate=steady", "-k", "within or beyond")

    words = ["report", "results.json", "--worst", "-"]
    done = subprocess.run(
        [sys.executable, "-c", f"from pytest_llm.cli import main; raise SystemExit(main({words}))"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr, done.returncode) == ("1 of 3 limits exceeded\n", "", 0)
