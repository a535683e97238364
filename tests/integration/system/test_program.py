"""Programs that make a build end with the process that wanted it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pytest_llm.system import program
from pytest_llm.system.program import Running
from tests.waiting import pid_in

SUPERVISOR = Path(program.__file__).with_name("supervisor.py")

# Runs a command as a build's maker does.
MAKER = """
import os, sys
from pathlib import Path

from pytest_llm.system.program import Running

log, command = Path(sys.argv[1]), sys.argv[2:]
Running("it", log, os.open(os.devnull, os.O_RDONLY), print)(command)
"""
# Starts a program in a process group of its own, as ninja does, and waits for it.
NINJA = """
import os, subprocess, sys
from pathlib import Path

compiler = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], preexec_fn=os.setpgrp)
Path(sys.argv[1]).write_text(str(compiler.pid))
compiler.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere ninja is asked to end its compilers")
def test_a_compiler_in_a_process_group_of_its_own_ends_with_its_killed_maker(tmp_path: Path) -> None:
    started = tmp_path / "started"
    ninja = [sys.executable, "-c", NINJA, str(started)]
    with subprocess.Popen([sys.executable, "-c", MAKER, str(tmp_path / "log"), *ninja]) as maker:
        try:
            compiler = psutil.Process(pid_in(started))
        finally:
            maker.kill()
    deadline = time.monotonic() + 10
    while not is_gone(compiler):
        assert time.monotonic() < deadline, "the compiler goes on"
        time.sleep(0.02)


OUTER = """
import sys
from pathlib import Path

from pytest_llm.system.program import run_to_our_end

run_to_our_end(sys.argv[1:], Path())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere programs are asked to end")
def test_a_program_and_its_children_end_with_a_killed_caller(tmp_path: Path) -> None:
    started = tmp_path / "started"
    inner = [sys.executable, "-c", NINJA, str(started)]
    with subprocess.Popen([sys.executable, "-c", OUTER, *inner]) as outer:
        try:
            child = psutil.Process(pid_in(started))
        finally:
            outer.kill()
    deadline = time.monotonic() + 10
    while not is_gone(child):
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.02)


def test_a_program_s_output_and_status_are_those_of_its_own(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd()); print('log', file=sys.stderr); sys.exit(2)"
    done = program.run_to_our_end([sys.executable, "-c", code], tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, f"{tmp_path}\n", "log\n")


def is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# ── what a command that compiles can reach ────────────────────────────────────────────────────────────

PROBE = """
import os, socket, sys
from pathlib import Path

def attempt(what):
    try:
        return what()
    except OSError as error:
        return type(error).__name__

def connect(family):
    with socket.socket(family) as made:
        made.settimeout(1)
        return "made"

def secret(process):
    return "SECRET" if b"SECRET=" in Path(f"/proc/{process}/environ").read_bytes() else "nothing"

found = [
    attempt(lambda: connect(socket.AF_INET)),
    attempt(lambda: connect(socket.AF_INET6)),
    attempt(lambda: [each.close() for each in socket.socketpair()] and "made"),
    attempt(lambda: secret(int(sys.argv[2]))),
    attempt(lambda: secret(os.getppid())),
    os.environ.get("SECRET", "unset"),
    os.environ.get("NETRC", "unset"),
]
Path(sys.argv[1]).write_text(" ".join(found))
"""
RUN = """
import os, sys
from pathlib import Path

from pytest_llm.system.program import Running

run = Running("it", Path(sys.argv[1]), os.open(os.devnull, os.O_RDONLY), print)
sys.exit(run([*sys.argv[3:], str(os.getpid())], sys.argv[2]))
"""


def probed(folder: Path, how: str, **environment: str) -> list[str]:
    """Run the probe as a step of a build, of a process whose environment holds a secret."""
    command = [sys.executable, "-c", PROBE, str(folder / "found")]
    subprocess.run(
        [sys.executable, "-c", RUN, str(folder / "log"), how, *command],
        env={**os.environ, "SECRET": "s", "NETRC": "n", **environment},
        check=True,
    )
    return (folder / "found").read_text().split()


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are Linux's")
def test_a_step_that_compiles_has_neither_network_nor_secrets_nor_a_look_at_other_processes(
    tmp_path: Path,
) -> None:
    found = probed(tmp_path, "closed")
    log = (tmp_path / "log").read_text()
    if "note: " in log:
        pytest.skip(f"this kernel cannot: {log}")
    assert found == ["PermissionError"] * 2 + ["made", "PermissionError", "nothing", "unset", "unset"]


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are Linux's")
def test_without_any_of_it_the_same_probe_reaches_all(tmp_path: Path) -> None:
    assert probed(tmp_path, "fetch") == ["made"] * 3 + ["SECRET", "nothing", "unset", "n"]


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are Linux's")
def test_the_network_alone_can_be_given_back(tmp_path: Path) -> None:
    found = probed(tmp_path, "closed", PYTEST_LLM_BUILD_NETWORK="on")
    if "note: " in (tmp_path / "log").read_text():
        pytest.skip("this kernel cannot")
    assert found == ["made"] * 3 + ["PermissionError", "nothing", "unset", "unset"]


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are Linux's")
def test_a_step_that_fetches_and_compiles_sees_no_other_process(tmp_path: Path) -> None:
    found = probed(tmp_path, "open")
    if "note: " in (tmp_path / "log").read_text():
        pytest.skip("this kernel cannot")
    assert found == ["made"] * 3 + ["PermissionError", "nothing", "unset", "n"]


def test_a_kernel_that_cannot_is_told_in_the_log() -> None:
    reading, writing = os.pipe()
    words = [str(SUPERVISOR), str(reading), str(reading), "closed", "true"]
    code = (
        "import runpy, sys, platform; platform.machine = lambda: 'other'; sys.platform = 'other'; "
        f"sys.argv = {words!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, pass_fds=[reading], start_new_session=True
    )
    os.close(writing)
    os.close(reading)
    assert done.stdout.splitlines() == [
        "note: the next command can look into other processes: this system cannot be asked to",
        "note: the next command can use the network: this system cannot be asked to",
    ]


@pytest.mark.parametrize("kind", ["link", "hard link", "folder"])
def test_a_log_that_leads_to_a_file_of_others_is_refused(tmp_path: Path, kind: str) -> None:
    precious, log = tmp_path / "precious", tmp_path / "log"
    precious.write_text("my only copy")
    if kind == "folder":
        log.mkdir()
    else:
        log.symlink_to(precious) if kind == "link" else log.hardlink_to(precious)
    with pytest.raises(OSError):  # noqa: PT011 - which one depends on the kind
        Running("it", log, 0, print)
    assert precious.read_text() == "my only copy"
