"""Files that a locked-in process needs: the system's libraries, facts about the machine, devices."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.system.elf import loader_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# Read, with all that is below. What does not exist is left out.
SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store", "/run/opengl-driver"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload", "/etc/localtime"),
    *("/etc/locale.alias", "/etc/vulkan", "/etc/OpenCL", "/etc/drirc", "/etc/gai.conf"),
    # Processors, memory, and how much of them a container has.
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems", "/proc/devices"),
    *("/proc/modules", "/proc/sys/kernel", "/proc/sys/vm", "/proc/driver/nvidia", "/sys/devices"),
    *("/sys/bus", "/sys/class/drm", "/sys/class/kfd", "/sys/class/accel", "/sys/dev/char", "/sys/module"),
    *("/sys/kernel/mm", "/sys/fs/cgroup"),
    *("/dev/zero", "/dev/random", "/dev/urandom"),
)
_VENDORS = ("cuda*", "rocm*", "intel*", "amdgpu*", "nvidia*")  # below /opt
SCRATCH_DEVICES = ("/dev/null", "/dev/full")

# Devices of GPUs and other accelerators, and the variables that hide all of a kind.
_DEVICES: Mapping[str, tuple[str, ...]] = {
    "nvidia*": ("CUDA_VISIBLE_DEVICES",),
    "kfd": ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
    **dict.fromkeys(("dri", "dxg", "accel", "mali*", "davinci*", "devmm_svm", "hisi_hdc", "dma_heap"), ()),
}
_NONE = ("", "-1", "NoDevFiles", "none", "void")

# Variables that name files or folders of libraries.
_LIBRARY_FILES = ("LD_PRELOAD", "GGML_BACKEND_PATH", "VK_DRIVER_FILES", "VK_ICD_FILENAMES")
_LIBRARY_FOLDERS = ("LLAMA_CPP_LIB_PATH", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH")

_HEAD = 4096  # bytes of a script that name its interpreter


def vendors(opt: Path = Path("/opt")) -> list[str]:
    """Return the folders of GPU vendors below /opt."""
    return sorted(str(each) for pattern in _VENDORS for each in opt.glob(pattern))


def devices(environment: Mapping[str, str], folder: Path = Path("/dev")) -> list[str]:
    """Return the devices of GPUs that a process with this environment is given."""
    return sorted(
        str(each)
        for pattern, variables in _DEVICES.items()
        if not any(environment.get(name, "all") in _NONE for name in variables)
        for each in folder.glob(pattern)
    )


class Libraries(NamedTuple):
    """What a process reads to find its libraries.

    Attributes:
        read: Files, and folders with all that is below.
        listed: Folders of which it reads the names, and only those files that are in ``read`` as well.
    """

    read: list[str]
    listed: list[str]


def libraries(environment: Mapping[str, str], folders: Iterable[Path], kept: Sequence[str]) -> Libraries:
    """Return libraries that an environment names, those in other folders, and what links in these lead to.

    Args:
        environment: Of the process.
        folders: Further folders of libraries.
        kept: Folders that are not opened as a whole by one above them: the home folder, the project's.
    """
    files = [Path(each) for each in _named(environment, _LIBRARY_FILES)]
    files += [library for file in files if file.suffix == ".json" for library in _libraries_of(file)]
    found = [*map(Path, _named(environment, _LIBRARY_FOLDERS)), *folders]
    listed = [each for each in found if holds(each, kept)]
    read = [each for each in found if each not in listed]
    files += [each.resolve() for folder in listed for each in _entries(folder) if ".so" in each.name]
    files += [each.resolve() for folder in read for each in _entries(folder) if each.is_symlink()]
    return Libraries(_absolute([*files, *read]), _absolute(listed))


def _absolute(found: Iterable[Path]) -> list[str]:
    return sorted({str(each.absolute()) for each in found})


def programs(program: str) -> list[str]:
    """Return the files that the kernel runs for a program: itself, its interpreter, and their loaders."""
    found = [program]
    try:
        with Path(program).open("rb") as file:
            first = file.readline(_HEAD) if file.read(2) == b"#!" else b""
    except OSError:
        return found
    words = first.decode(errors="replace").split()
    if words:
        found.append(words[0])
        # env looks the interpreter up.
        names = [each for each in words[1:] if not each.startswith("-")]
        if Path(words[0]).name == "env" and names:
            found += filter(None, [shutil.which(names[0])])
    return [*found, *(loader for each in found for loader in loader_of(Path(each)))]


def holds(folder: Path, kept: Iterable[str]) -> bool:
    """Return if a folder is one of these, or above one."""
    return any(Path(each).resolve().is_relative_to(folder.resolve()) for each in kept)


def _named(environment: Mapping[str, str], names: Iterable[str]) -> Iterator[str]:
    for name in names:
        for each in re.split(r"[:;]" if name != "LD_PRELOAD" else r"[: ]", environment.get(name, "")):
            if os.sep in each:
                yield each


def _entries(folder: Path) -> list[Path]:
    try:
        return [each for each in folder.iterdir() if each.is_file()]
    except OSError:
        return []


def _libraries_of(description: Path) -> list[Path]:
    """Return the libraries that the description of a Vulkan driver names by a path."""
    try:
        named = re.findall(r'"library_path"\s*:\s*"([^"]*/[^"]*)"', description.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [description.parent / each for each in named]
