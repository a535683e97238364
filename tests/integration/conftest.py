"""Projects on which pytest is run as a user would run it, measuring a stand-in of llama.cpp."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import pkgutil
import re
import struct
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import pynvml  # type: ignore[import-untyped]  # noqa: F401 - else each inner run would import it anew
import pytest

import pytest_llm
from tests import STAND_IN, TESTS, fake_engine
from tests.fake_engine import CURRENT, NAME, Fake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Hypothesis would be imported anew in each run, for a second; the others would take part in every run.
WITHOUT = tuple(
    word
    for name in ("hypothesispytest", "rerunfailures", "timeout", "codspeed")
    for word in ("-p", f"no:{name}")
)
# For a .pth file, where a line is a statement.
_HEED_REFERENCE = (
    "import os; os.environ.update({name.replace('_REFERENCE_', '_STAND_IN_'): value "
    "for name, value in os.environ.items() if name.startswith('LLAMA_REFERENCE_')})"
)


@dataclass(frozen=True)
class Project:
    """A folder with tests."""

    pytester: pytest.Pytester
    candidate: str
    model: Path

    @property
    def path(self) -> Path:
        return self.pytester.path

    def write(self, source: str, name: str = "test_it.py") -> Path:
        """Write a file of tests, or of anything else; ``import pytest`` comes first in modules."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        head = "import pytest\n" if path.suffix == ".py" else ""
        path.write_text(head + textwrap.dedent(source), encoding="utf-8")
        return path

    def run(self, *arguments: object) -> pytest.RunResult:
        """Run pytest with nothing but these arguments."""
        return self.pytester.runpytest_inprocess(*WITHOUT, *map(str, arguments))

    def run_apart(self, *arguments: object, **environment: str | None) -> subprocess.CompletedProcess[str]:
        """Run pytest in a process of its own; None removes a variable."""
        own = {**os.environ, "PYTHONPATH": str(TESTS.parent), **environment}
        return subprocess.run(
            [sys.executable, "-m", "pytest", *WITHOUT, "-p", "tests.fake_engine", *map(str, arguments)],
            cwd=self.path,
            env={name: value for name, value in own.items() if value is not None},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def measure(self, *arguments: object) -> pytest.RunResult:
        """Run the benchmarks on the stand-in, with the fewest sessions."""
        return self.run(*self.measuring(), *arguments)

    def measuring(self) -> list[str]:
        """Return the options with which :meth:`measure` runs pytest."""
        return [
            "--llm-bench",
            f"--llm-candidate={self.candidate}",
            f"--llm-model={self.model}",
            "--llm-effort=quick",
        ]

    def plan(self, *arguments: object) -> list[str]:
        """Return the lines of the plan that pytest shows for these arguments."""
        lines = self.run("--llm-bench", "--collect-only", *arguments).outlines
        start = next(index for index, line in enumerate(lines) if line.startswith("llm-bench plan"))
        return list(itertools.takewhile(bool, lines[start:]))

    def collected(self, *arguments: object) -> list[str]:
        """Return the ids of the tests that pytest collects, without the file's name, in order."""
        lines = self.run("--collect-only", "-q", *arguments).outlines
        return [line.partition("::")[2] for line in lines if "::" in line]

    def failures(self, *arguments: object) -> dict[str, str]:
        """Measure, and return what each test that failed shows for it."""
        return self.texts(self.measure(*arguments))

    @staticmethod
    def texts(result: pytest.RunResult) -> dict[str, str]:
        """Return what each test shows that failed in its set-up, in itself or afterwards."""
        return {
            report.nodeid.partition("::")[2]: report.longreprtext
            for report in Project.reports(result)
            if report.failed
        }

    @staticmethod
    def reports(result: pytest.RunResult) -> list[pytest.TestReport]:
        """Return the reports of every phase of every test, in order."""
        recorder: pytest.HookRecorder = result.reprec  # type: ignore[attr-defined] # set by in-process runs
        found = recorder.getreports("pytest_runtest_logreport")
        return [each for each in found if isinstance(each, pytest.TestReport)]

    def usage_error(self, *arguments: object) -> str:
        """Return the one line with which pytest refuses these arguments."""
        result = self.run(*arguments)
        assert result.ret == pytest.ExitCode.USAGE_ERROR, result.ret
        # Older releases of pytest-benchmark warn of pytest-xdist as well.
        (line,) = (line for line in result.errlines if line and "PytestBenchmarkWarning" not in line)
        return line

    def help(self, flag: str) -> str:
        """Return what ``--help`` says of an option, without the line breaks."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COLUMNS", "400")
            described = re.split(r"\n  (?=\S)", self.run("--help").stdout.str())
        (found,) = (each for each in described if each.startswith((f"{flag} ", f"{flag}=", f"{flag}\n")))
        return " ".join(found.split())

    def results(self, *arguments: object) -> dict[str, Any]:
        """Measure, and return what the results file then holds."""
        self.measure("--llm-json=results.json", *arguments)
        found: dict[str, Any] = json.loads((self.path / "results.json").read_text(encoding="utf-8"))
        return found

    def recorded(self, *arguments: object) -> tuple[pytest.RunResult, dict[str, Any]]:
        """Measure, and return what pytest-benchmark then has saved as well."""
        return self.measure(*self.saving(), *arguments), self.records()

    @staticmethod
    def saving() -> list[str]:
        """Return the options with which pytest-benchmark saves what :meth:`records` reads."""
        return ["--benchmark-save=run", "--benchmark-save-data"]

    def records(self, name: str = ".benchmarks/*/*_run.json") -> dict[str, Any]:
        """Return the records of a file of pytest-benchmark, by the names of their tests."""
        (path,) = self.path.glob(name)
        benchmarks = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
        return {each["name"]: each for each in benchmarks}


@dataclass(frozen=True)
class Ini:
    """One of the ways to write pytest's options into a file."""

    form: str
    folder: Path

    def write(self, **options: bool | str | list[str]) -> None:
        if self.form == "pytest.ini":
            lines = ["[pytest]", *(f"{name} = {_plain(value)}" for name, value in options.items())]
        else:
            lines = [f"[{self.form}]", *(f"{name} = {json.dumps(value)}" for name, value in options.items())]
        file = "pytest.ini" if self.form == "pytest.ini" else "pyproject.toml"
        (self.folder / file).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _plain(value: bool | str | list[str]) -> str:
    return "".join(f"\n  {each}" for each in value) if isinstance(value, list) else str(value)


class StandIn:
    """Sets what the stand-in does, and tells what it was asked; see ``tests/stand_in/llama_cpp``."""

    def __init__(self, patch: pytest.MonkeyPatch, diary: Path) -> None:
        self._patch = patch
        self._diary = diary
        diary.parent.mkdir()
        self.set(diary=diary)
        # Locked-in workers may write it, also those of a pytest in a process of its own.
        patch.setattr("pytest_llm.system.sandbox.ALSO_WRITABLE", [diary.parent])
        patch.setenv("PYTEST_PLUGINS", "tests.diary")
        patch.setenv("PYTHONPATH", str(TESTS.parent), prepend=os.pathsep)

    def set(self, **values: object) -> None:
        """Set variables: ``set(token_seconds=0.5)`` sets LLAMA_STAND_IN_TOKEN_SECONDS."""
        for name, value in values.items():
            self._patch.setenv(f"LLAMA_STAND_IN_{name.upper()}", str(value))

    def set_reference(self, **values: object) -> None:
        """Set variables for the reference's environment alone, where they count for more."""
        for name, value in values.items():
            self._patch.setenv(f"LLAMA_REFERENCE_{name.upper()}", str(value))

    def processes(self) -> list[dict[str, Any]]:
        """Return what each worker so far wrote down when it started, in that order."""
        if not self._diary.exists():
            return []
        return [json.loads(line) for line in self._diary.read_text(encoding="utf-8").splitlines()]

    def pids(self) -> list[int]:
        return [process["pid"] for process in self.processes()]

    def alive(self) -> list[int]:
        """Return which of the workers have not ended; one that nobody waits for has."""
        return [pid for pid in self.pids() if _runs(pid)]

    def wait_for(self, condition: Callable[[StandIn], bool], seconds: float) -> bool:
        """Wait until a condition holds, and return whether it did in time."""
        deadline = time.monotonic() + seconds
        while not condition(self):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(autouse=True)
def _inner_runs_are_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # pytest-benchmark switches itself off where it sees this, and warns.
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)


@pytest.fixture(scope="session", autouse=True)
def _whole_package_imported() -> None:
    # An inner run in this process forgets what it was the first to import, and would import it every time.
    for module in pkgutil.walk_packages(pytest_llm.__path__, "pytest_llm."):
        if not module.name.startswith(("pytest_llm.engines.llama_cpp_python.worker.", "pytest_llm.suite.")):
            importlib.import_module(module.name)
    importlib.import_module("numpy")  # it cannot be imported twice in a process


@pytest.fixture(scope="session")
def stand_in_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment in which ``llama_cpp`` is the stand-in and time is virtual."""
    return environment_of_stand_in(tmp_path_factory.mktemp("stand-in") / "environment")


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another build of the fake engine, which obeys :meth:`Fake.set_reference` as well."""
    return f"{NAME}@venv:{tmp_path_factory.mktemp('fake')}"


@pytest.fixture(scope="session")
def reference_environment(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another build of the stand-in, which obeys :meth:`StandIn.set_reference`."""
    folder = tmp_path_factory.mktemp("stand-in") / "reference"
    return f"llama-cpp-python@venv:{environment_of_stand_in(folder, _HEED_REFERENCE)}"


def environment_of_stand_in(folder: Path, first: str = "") -> Path:
    """Make an environment whose ``llama_cpp`` is the stand-in; ``first`` is a statement that runs before."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    start = f"{first}\n{STAND_IN}\nimport virtual_clock; virtual_clock.install()\n"
    (packages / "stand_in.pth").write_text(start, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest file that is a model to whoever reads its header."""
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    path.write_bytes(gguf({"general.architecture": "tiny", "general.name": "tiny"}))
    return path


def gguf(texts: dict[str, str]) -> bytes:
    """Return a GGUF file that has texts as metadata, and no tensors."""
    entries = [_text(key) + struct.pack("<I", 8) + _text(value) for key, value in texts.items()]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries)


def _text(content: str) -> bytes:
    return struct.pack("<Q", len(content)) + content.encode()


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    for name in [name for name in os.environ if name.startswith(("LLAMA_STAND_IN_", "LLAMA_REFERENCE_"))]:
        monkeypatch.delenv(name)
    # Its clock is no machine's.
    monkeypatch.setattr("pytest_llm.machine.control.measure_control", lambda threads: None)
    monkeypatch.setattr("pytest_llm.machine.environment.watch_others", lambda _: lambda _: 0.0)
    return StandIn(monkeypatch, tmp_path / "diary" / "lines")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """What the fake engine does, and what of it was started."""
    scripts = Fake()
    monkeypatch.setattr(CURRENT, "fake", scripts)
    return scripts


@pytest.fixture
def project(
    pytester: pytest.Pytester, fake: Fake, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """A project whose candidate is the fake engine; no run inside it times this machine."""
    monkeypatch.setattr("pytest_llm.machine.control.measure_control", fake_engine.control)
    monkeypatch.setattr("pytest_llm.machine.environment.watch_others", lambda _: lambda _: fake.other_load)
    return Project(pytester, NAME, model_file)


@pytest.fixture
def worker(
    pytester: pytest.Pytester, stand_in: StandIn, stand_in_environment: Path, model_file: Path
) -> Project:
    """A project whose candidate is a stand-in of llama.cpp in a real worker process."""
    return Project(pytester, f"llama-cpp-python@venv:{stand_in_environment}", model_file)


@pytest.fixture(
    params=[
        "pytest.ini",
        "tool.pytest.ini_options",
        pytest.param(
            "tool.pytest",
            marks=pytest.mark.skipif(pytest.version_tuple < (9,), reason="older pytest has no native table"),
        ),
    ]
)
def ini(request: pytest.FixtureRequest, pytester: pytest.Pytester) -> Ini:
    return Ini(request.param, pytester.path)
