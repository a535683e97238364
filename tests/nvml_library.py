"""A library under the name of NVIDIA's, compiled here, and the real pynvml on top of it."""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.machine.gpu.device import DeviceList
    from pytest_llm.machine.gpu.sampler import DeviceMemory
    from pytest_llm.machine.memory.sampler import Ticker

_SOURCE = Path(__file__).with_name("nvml_stub.c")
SONAME = "libnvidia-ml.so.1"


@pytest.fixture(scope="session")
def nvml_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a folder with the library in it, compiled once: the newest one, or an "OLD" one."""
    made: dict[str, Path] = {}

    def folder(variant: str = "NEW") -> Path:
        if variant not in made:
            made[variant] = tmp_path_factory.mktemp(f"nvml-{variant.lower()}")
            options = ["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-Wl,-soname,{SONAME}"]
            command = ["cc", *options, f"-D{variant}", str(_SOURCE), "-o", str(made[variant] / SONAME)]
            subprocess.run(command, check=True)
        return made[variant]

    return folder


class Script:
    """What the library answers, from now on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write("devices 1")

    def write(self, *lines: str) -> None:
        """Replace it as a whole; times (``at``) count from now."""
        fresh = self.path.with_name("fresh")
        fresh.write_text("\n".join((f"zero {time.monotonic_ns()}", *lines, "")), encoding="utf-8")
        fresh.replace(self.path)


@pytest.fixture
def nvml_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """What the library answers here, and in processes that are started from here."""
    path = tmp_path / "nvml-script"
    monkeypatch.setenv("NVML_STUB", str(path))
    return Script(path)


class Library:
    """The real binding, fresh, on the library of our own."""

    def __init__(self, folder: Path) -> None:
        found = importlib.util.find_spec("pynvml")
        assert found is not None
        assert found.loader is not None
        self.binding: Any = importlib.util.module_from_spec(found)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "pynvml", self.binding)  # where it puts its own errors
            found.loader.exec_module(self.binding)
        # A driver of this machine may have been loaded under the same name before.
        self.library = ctypes.CDLL(str(folder / SONAME))
        self.binding.__dict__["nvmlLib"] = self.library

    def longest_gap(self) -> float:
        """Return the longest time between two looks since this was last asked, in seconds."""
        self.library.stub_longest_gap.restype = ctypes.c_ulonglong
        return float(self.library.stub_longest_gap()) / 1e9

    def found(self) -> DeviceList:
        """Return its devices."""
        from pytest_llm.machine.gpu import nvidia
        from pytest_llm.machine.gpu.device import find_devices
        from pytest_llm.machine.gpu.nvml import open_nvml

        return find_devices([lambda: nvidia.find(lambda: open_nvml(lambda: self.binding))])

    def memory(
        self, exists: Callable[[int], bool] | None = None, ticker: Ticker | None = None
    ) -> DeviceMemory:
        """Return the probe that watches its devices."""
        from pytest_llm.machine.gpu.sampler import DeviceMemory

        found = self.found()
        return DeviceMemory(found, ticker) if exists is None else DeviceMemory(found, ticker, exists)


@pytest.fixture
def nvml_library(nvml_folder: Callable[[str], Path], nvml_script: Script) -> Callable[..., Library]:
    """Open the newest library, or the "OLD" one."""

    def opened(variant: str = "NEW") -> Library:
        return Library(nvml_folder(variant))

    return opened
