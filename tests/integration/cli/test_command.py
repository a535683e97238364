"""The command itself: its help, its exit statuses, what it costs, and how it ends."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from pytest_llm import __version__
from pytest_llm.cli import GROUPS, main
from tests.waiting import pid_in

from .things import Test, results_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .things import Command

SCRIPT = Path(sys.executable).with_name("pytest-llm")
COMMANDS = ("show", "diff", "accept", "prune")


def helped(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_every_group_is_a_module_with_a_line_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    out = helped(capsys)
    for name, summary in GROUPS.items():
        assert hasattr(importlib.import_module(f"pytest_llm.cli.{name}"), "add_to")
        assert f"{name}" in out
        assert summary in " ".join(out.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_and_tells_its_exit_status(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = helped(capsys, "baselines", name)
    assert f"example:\n  pytest-llm baselines {name}" in out
    assert "exit status: 0" in out
    assert "--json" in out
    assert "--baselines DIR" in out


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"pytest-llm {__version__}\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "the following arguments are required: GROUP; see pytest-llm --help"),
        (("baselines",), "the following arguments are required: COMMAND; see pytest-llm baselines --help"),
        (("baselines", "show", "--jso"), "unrecognized arguments: --jso; see pytest-llm --help"),
        (("baselines", "diff"), "required: RESULTS.json; see pytest-llm baselines diff --help"),
        (("baseline", "show"), "invalid choice: 'baseline'"),
    ],
)
def test_bad_words_are_one_line(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err.startswith("pytest-llm: ")) == ("", 1, True)
    assert told in err


# ── where the baselines are ──────────────────────────────────────────────────────────────────────


def folder(baselines: Command, *words: str) -> Path:
    _, document = baselines.json("show", *words)
    return Path(document["folder"])


def test_baselines_are_beside_the_ini_file(baselines: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    baselines.file("[pytest]\n", "pytest.ini")
    (baselines.folder / "below").mkdir()
    monkeypatch.chdir(baselines.folder / "below")
    assert folder(baselines) == baselines.folder / "baselines"


def test_the_ini_key_says_where_from_the_ini_file(
    baselines: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    baselines.file('[tool.pytest.ini_options]\nllm_baselines = "perf/kept"\n', "pyproject.toml")
    (baselines.folder / "below").mkdir()
    monkeypatch.chdir(baselines.folder / "below")
    assert folder(baselines) == baselines.folder / "perf" / "kept"


def test_the_option_says_where_from_the_current_folder(baselines: Command) -> None:
    baselines.file("[pytest]\nllm_baselines = perf\n", "pytest.ini")
    assert folder(baselines, "--baselines=mine") == baselines.folder / "mine"


def test_without_an_ini_file_they_are_beside_setup_py_or_here(
    baselines: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folder(baselines) == baselines.folder / "baselines"
    baselines.file("", "setup.py")
    (baselines.folder / "below").mkdir()
    monkeypatch.chdir(baselines.folder / "below")
    assert folder(baselines) == baselines.folder / "baselines"


def test_a_damaged_ini_file_is_one_line(baselines: Command) -> None:
    baselines.file("[tool.pytest", "pyproject.toml")
    assert baselines.refused("show").startswith(f"{baselines.folder / 'pyproject.toml'} is not valid TOML: ")


# ── the installed script ─────────────────────────────────────────────────────────────────────────


def script(folder: Path, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    # Unbuffered, argparse itself would meet the closed pipe.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [str(SCRIPT), *words],
        cwd=folder,
        env={**environment, **options.pop("environment", {})},
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        encoding="utf-8",
        check=False,
        **options,
    )


@pytest.mark.slow
def test_the_installed_script_accepts_and_shows(baselines: Command) -> None:
    baselines.file(results_of(Test()))
    assert script(baselines.folder, "baselines", "accept", "results.json").returncode == 0
    done = script(baselines.folder, "baselines", "show", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["machines"]) == 1


def imported(folder: Path, code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules, sep=chr(10), file=sys.stderr)"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.split())


def test_importing_the_command_imports_next_to_nothing(tmp_path: Path) -> None:
    added = imported(tmp_path, "import pytest_llm.cli") - imported(tmp_path, "import argparse, json")
    outside = {name.partition(".")[0] for name in added} - sys.stdlib_module_names
    assert outside == {"pytest_llm"}
    assert {name for name in added if name.startswith("pytest_llm.")} == {
        "pytest_llm.cli",
        "pytest_llm.errors",
        "pytest_llm.system",
        "pytest_llm.system.text",
    }


def test_a_group_is_imported_only_where_it_is_asked_for(tmp_path: Path) -> None:
    call = "from pytest_llm.cli import main\nassert main([{}]) == 2"
    assert "pytest_llm.cli.baselines" not in imported(tmp_path, call.format("'--no-such-option'"))
    assert "pytest_llm.cli.baselines" in imported(tmp_path, call.format("'baselines'"))


def test_no_command_imports_pytest_or_numpy(baselines: Command) -> None:
    baselines.accept(100.0)
    baselines.file(results_of(Test(speed=90.0), hours=9))
    call = "from pytest_llm.cli import main\nmain(['baselines', {}])"
    for words in ("'show'", "'accept', 'results.json'", "'diff', 'results.json'"):
        assert not imported(baselines.folder, call.format(words)) & {"pytest", "_pytest", "numpy"}


@pytest.mark.slow
def test_a_reader_that_stops_early_hears_nothing(baselines: Command) -> None:
    baselines.accept(100.0)
    for words in (("baselines", "show"), ("baselines", "show", "--json"), ("baselines", "show", "--help")):
        read, write = os.pipe()
        os.close(read)
        try:
            done = script(baselines.folder, *words, stdout=write)
        finally:
            os.close(write)
        assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_one_line(baselines: Command) -> None:
    with Path("/dev/full").open("w") as full:
        done = script(baselines.folder, "baselines", "show", stdout=full)
    assert (done.returncode, done.stderr) == (2, "pytest-llm: [Errno 28] No space left on device\n")


def test_a_terminal_that_knows_few_letters_gets_others(baselines: Command) -> None:
    baselines.accept(80.0, 125.0)
    done = script(baselines.folder, "baselines", "show", environment={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "? 31.6 %" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "status"),
    [
        pytest.param(lambda pid: os.killpg(pid, signal.SIGINT), 130, id="as a terminal does"),
        pytest.param(lambda pid: os.kill(pid, signal.SIGTERM), 143, id="as a supervisor does"),
    ],
)
def test_an_end_from_outside_is_quiet_and_ends_what_was_started(
    baselines: Command, end: Callable[[int], None], status: int
) -> None:
    baselines.accept(100.0)
    pid = baselines.folder / "pid"
    baselines.file(
        f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n", "test_slow.py"
    )
    command = subprocess.Popen(
        [str(SCRIPT), "baselines", "prune"],
        cwd=baselines.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    started = pid_in(pid)
    end(command.pid)
    out, err = command.communicate(timeout=60)
    assert (command.returncode, out, err) == (status, "", "")
    assert not psutil.pid_exists(started) or (
        psutil.Process(started).status() == psutil.STATUS_ZOMBIE  # where nobody waits for orphans
    )
