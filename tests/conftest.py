"""What all tests share."""

from __future__ import annotations

import gc
import os
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import platformdirs
import pytest
from hypothesis import settings

from pytest_llm.measure import budgets, sessions
from pytest_llm.system import sandbox
from tests import STAND_IN, TESTS
from tests.checkouts import checkout  # noqa: F401 - a fixture
from tests.nvml_library import nvml_folder, nvml_library, nvml_script  # noqa: F401 - fixtures
from tests.releases import write_index
from tests.waiting import pid_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest_plugins = ["pytester"]
_LONGEST_ID = 600


# A few examples in every run; `.ci/run` asks for more: `--hypothesis-profile=full`. Both draw the same ones
# each time, so that a change is never refused for a fault that it did not bring; `explore` looks for new
# ones.
settings.register_profile("quick", max_examples=20, deadline=None, derandomize=True)
settings.register_profile("full", max_examples=300, deadline=None, derandomize=True)
settings.register_profile("explore", max_examples=3_000, deadline=None, print_blob=True)
settings.load_profile("quick")


def pytest_configure() -> None:
    """Have interrupts end what tests start, although a shell in whose background this runs ignores them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which children do not inherit


@pytest.fixture(scope="session", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let inner runs find what was fetched, although pytester gives them another home; none is CI's."""
    cache = os.environ.get("PYTEST_LLM_CACHE") or platformdirs.user_cache_dir("pytest-llm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_LLM_CACHE", cache)
        # An inner run that measures must not wait for the outer one to end.
        patch.setenv("PYTEST_LLM_LOCK", str(tmp_path_factory.mktemp("lock") / "lock"))
        # What the stand-in, and builds with faults, do.
        patch.setenv("PYTEST_LLM_PASS", "LLAMA_STAND_IN_* LLAMA_REFERENCE_* GGML_FAULT_*")
        patch.setenv("PYTEST_LLM_BUILD_PASS", "STAND_IN_* TINY_FOLDER STOP_UV")
        # Programs compile a package once a run, even if the user keeps no bytecode.
        if os.environ.get("PYTHONDONTWRITEBYTECODE"):
            patch.delenv("PYTHONDONTWRITEBYTECODE")
            patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        # Where it is set no baseline is written, which one test asks for.
        patch.delenv("CI", raising=False)
        yield


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name long texts by their length; the oldest pytest that is supported would write them out."""
    if isinstance(val, str | bytes) and len(val) > _LONGEST_ID // 2:
        return f"{argname} of {len(val)}"
    return None


@pytest.hookimpl(tryfirst=True)  # before ``-m`` is applied
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Timed tests are slow, and are skipped in a worker of pytest-xdist: others run beside them."""
    for item in items:
        if len(item.nodeid) > _LONGEST_ID:  # every worker and every report sends it
            raise pytest.UsageError(f"{item.nodeid[:_LONGEST_ID]}… is a long name: give its parameters ids")
        if item.get_closest_marker("timed"):
            item.add_marker("slow")
            if hasattr(config, "workerinput"):
                item.add_marker(pytest.mark.skip(reason="timed: run it without -n"))


def pytest_collection_finish() -> None:
    """Spare the thousands of tests that were collected from each later collection of garbage."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Let a worker that is done take over tests of another: some take a hundred times as long as others."""
    from xdist.scheduler import WorkStealingScheduling  # type: ignore[import-untyped]

    return WorkStealingScheduling(config, log)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `--llm-bench` and no path, collect what it measures here and nothing else."""
    alone = config.args_source is config.ArgsSource.TESTPATHS
    if not alone or not config.getoption("llm_bench", default=False):
        return None
    return True if collection_path.parent == TESTS and collection_path.name != "regression" else None


# ── releases of a stand-in for llama-cpp-python, which the real uv builds ────────────────────────────


class Releases:
    """What uv finds instead of a package index, and what it did with it; see ``stand_in/release``."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._patch = patch
        patch.setenv("STAND_IN_COMPILES", str(folder / "compiles"))

    def compiled(self) -> list[str]:
        """Return the version and CMAKE_ARGS of each compilation so far."""
        path = self._folder / "compiles"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def hold(self) -> None:
        """From now on, compilations wait for :meth:`let_go`."""
        self._patch.setenv("STAND_IN_HOLD", str(self._folder))

    def let_go(self) -> None:
        """Let compilations that wait go on, and those to come run through."""
        (self._folder / "go").touch()

    def compiling(self) -> int:
        """Wait until a compilation waits; return its process."""
        return pid_in(self._folder / "compiling")


@pytest.fixture(scope="session")
def _package_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    index = tmp_path_factory.mktemp("index")
    write_index(index)
    return index


@pytest.fixture
def releases(_package_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Releases]:
    """Releases 9.0.1, 9.0.2 and 9.0.3, which does not compile; nothing of uv's own cache counts."""
    for name in [name for name in os.environ if name.startswith("UV_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "releases"
    folder.mkdir()
    values = {
        "UV_NO_INDEX": "1",
        "UV_OFFLINE": "1",
        "UV_FIND_LINKS": str(_package_index),
        "UV_CACHE_DIR": str(folder / "uv-cache"),
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    found = Releases(folder, monkeypatch)
    yield found
    found.let_go()  # nothing that a failed test left behind waits for ever


# ── programs that stand in for llama-bench ──────────────────────────────────────────────────────────

BENCH_RELEASES = ("0.3.16", "0.3.36")


@pytest.fixture
def bench_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a program that looks like the llama-bench of a release; see ``stand_in/llama_bench``.

    It is asked in the fewest rounds: their budget is real time, and each starts two processes.
    """
    for name in ("SOLO", "PAIR"):
        budget: budgets.Budgets = getattr(budgets, name)
        monkeypatch.setattr(sessions, name, replace(budget, rounds=replace(budget.rounds, seconds=0.0)))
    # What it is made of, and where its diary is.
    monkeypatch.setattr(sandbox, "ALSO_WRITABLE", [*sandbox.ALSO_WRITABLE, STAND_IN, tmp_path])

    def write(release: str = BENCH_RELEASES[-1], name: str = "llama-bench", **does: object) -> Path:
        program = tmp_path / "programs" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f"#!{sys.executable} -IS\nimport sys\nsys.path.insert(0, {str(STAND_IN)!r})\n"
            f"from llama_bench import run\nrun({release!r}, {does!r})\n",
            encoding="utf-8",
        )
        program.chmod(0o755)
        return program

    return write
