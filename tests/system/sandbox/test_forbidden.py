"""What code in a worker cannot do in the sandbox, and can without it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.records import LoadOptions, Model, Subject, Venv
from pytest_llm.system import sandbox
from pytest_llm.system.sandbox import Policy, paths
from pytest_llm.system.sandbox.kernel import Support, support
from tests import STAND_IN
from tests.integration.conftest import gguf

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import ModuleType

pytestmark = [
    pytest.mark.quick,  # two workers for all of them
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux locks processes in"),
]


def _powers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("powers", STAND_IN / "powers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


POWERS = _powers() if sys.platform.startswith("linux") else None
FORBIDDEN = list(POWERS.FORBIDDEN) if POWERS else []
NEEDED = list(POWERS.NEEDED) if POWERS else []


def _opens(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError:
        return False
    return True


class Machine:
    """A user's files and processes, and how each attempt of a worker ended."""

    def __init__(self, folder: Path, environment: Path) -> None:
        self._environment = environment
        self.model = folder / "models" / "tiny.gguf"
        self._names = ("home", "project", "cache", "project/baselines")
        for name in (*self._names, "home/.ssh", "models"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "home" / ".ssh" / "id").write_text("a key")
        (folder / "project" / "test_it.py").write_text("def test_it(): pass\n")
        self.model.write_bytes(gguf({"general.architecture": "tiny", "general.name": "tiny"}))
        self.folder = folder

    def attempts(self, policy: Policy, gpu: str = "") -> Mapping[str, str]:
        """Return how each power ended in a worker."""
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            subprocess.Popen(["sleep", "60"], start_new_session=True) as victim,
            pytest.MonkeyPatch.context() as patch,
        ):
            try:
                place = {name.rpartition("/")[2]: str(self.folder / name) for name in self._names}
                disk = next(filter(_opens, ("/dev/sda", "/dev/nvme0n1", "/dev/vda", "/dev/kmsg")), "")
                others = {"parent": os.getpid(), "victim": victim.pid, "port": server.getsockname()[1]}
                files = {"model": str(self.model), "disk": disk, "gpu": gpu}
                patch.setenv("LLAMA_STAND_IN_POWERS", json.dumps({**place, **others, **files}))
                patch.setenv("HOME", place["home"])
                return self._ask(policy)
            finally:
                victim.kill()

    def _ask(self, policy: Policy) -> Mapping[str, str]:
        build = Venv("llama-cpp-python", str(self._environment))
        model = Model(str(self.model), str(self.model), "0" * 64, 1, "tiny", "", 1, 1, 1, 1, 1, 1, 1)
        subject = Subject(model.name, build, LoadOptions())
        loaded = LlamaCppPython(build, 60.0, "", policy).start(subject, model)
        try:
            return dict(re.findall(r"^power (.+?): (.+)$", loaded.log(), re.MULTILINE))
        finally:
            loaded.close()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, stand_in_environment: Path) -> Machine:
    return Machine(tmp_path_factory.mktemp("machine"), stand_in_environment)


@pytest.fixture(scope="module")
def free(machine: Machine) -> Mapping[str, str]:
    return machine.attempts(Policy("off"), next(iter(paths.devices({})), ""))


@pytest.fixture(scope="module")
def locked(machine: Machine) -> Mapping[str, str]:
    lacking = support().lacking
    if lacking:
        pytest.skip(f"not covered: this kernel has {lacking}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        return machine.attempts(Policy("strict"), next(iter(paths.devices({})), ""))


@pytest.mark.parametrize("power", FORBIDDEN)
def test_a_locked_in_worker_cannot_and_a_free_one_can(
    power: str, free: Mapping[str, str], locked: Mapping[str, str]
) -> None:
    assert locked[power] != "done"
    assert "AssertionError" not in locked[power]
    if free[power] != "done":
        pytest.skip(f"not covered: without a sandbox it fails here, too: {free[power]}")


@pytest.mark.parametrize("power", NEEDED)
def test_a_locked_in_worker_can(power: str, free: Mapping[str, str], locked: Mapping[str, str]) -> None:
    assert free[power] == "done"
    assert locked[power] == "done"


@pytest.mark.parametrize(
    ("kernel", "cannot", "can"),
    [
        (Support(0, True), ["connect", "exec", "ptrace", "signal others"], ["read an SSH key", "write home"]),
        (Support(7, False), ["read an SSH key", "write home", "list processes"], ["fork", "unix socket"]),
        (Support(1, True), ["read an SSH key", "write home", "connect"], ["cut off the model"]),
        (Support(99, True), ["read an SSH key", "write home", "connect", "fork"], []),
    ],
    ids=["no Landlock", "no seccomp", "first Landlock", "Landlock of the future"],
)
def test_a_kernel_that_lacks_a_part_has_the_other(
    kernel: Support, cannot: list[str], can: list[str], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = support()
    wanted = Support(min(kernel.landlock, 1), kernel.seccomp)
    if here.landlock < wanted.landlock or here.seccomp < wanted.seccomp:
        pytest.skip(f"not covered: this kernel has {here.lacking}")
    monkeypatch.setattr(sandbox, "support", lambda: kernel)
    ended = machine.attempts(Policy("on"))
    assert [power for power in cannot if ended[power] == "done"] == []
    assert [power for power in can if ended[power] != "done"] == []
    assert [power for power in NEEDED if ended[power] != "done"] == []


def test_sockets_and_clone3_fail_as_libraries_expect(locked: Mapping[str, str]) -> None:
    for power in ("connect", "datagram", "listen", "unix socket", "socket pair", "fork"):
        assert "[Errno 1]" in locked[power], power
    assert "[Errno 38]" in locked["clone3"]
