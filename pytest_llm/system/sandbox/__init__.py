"""Lock-in of processes that load files from strangers: what each may do, and the folder that it writes in.

A sandbox is described here, and applied by the process itself before it touches any such file: Landlock for
files, seccomp for system calls, limits for the rest. Linux only; other systems have the limits alone.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from pytest_llm.system.sandbox import paths, seccomp
from pytest_llm.system.sandbox.kernel import support
from pytest_llm.system.start_size import padded_environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SandboxMode = Literal["on", "strict", "off"]
MODES: tuple[SandboxMode, ...] = get_args(SandboxMode)

# Folders that each locked-in process may write in as well; none, but for tests whose stand-in keeps a diary.
ALSO_WRITABLE: list[Path] = []

# Set once the process runs, so that processes with and without it start with equal environments.
_SET_LATE = ("LLAMA_CPP_LIB_PATH",)
_PREFIX = "pytest-llm-worker-"
_GIB = 2**30
_DAY = 86_400
# The kernel takes 1 for none, also where a program receives core dumps; 0 is only for files.
_NO_CORE = 1
_DESCRIPTORS = 4096
_FILE_BYTES = 16 * _GIB
# Caches of compiled kernels and shaders.
_CACHES = (
    *("XDG_CACHE_HOME", "CUDA_CACHE_PATH", "MESA_SHADER_CACHE_DIR", "__GL_SHADER_DISK_CACHE_PATH"),
    *("NEO_CACHE_DIR", "SYCL_CACHE_DIR", "AMD_COMGR_CACHE_DIR"),
)


@dataclass(frozen=True)
class Policy:
    """How processes are locked in.

    Attributes:
        mode: "on": as far as the kernel can; "strict": whole or not at all; "off": they are not.
        cache: The folder below which each build has one for the kernels and shaders that it compiles; None if
            there is none, so that each process compiles its own.
        counts: Workers count the instructions of decoded tokens.
    """

    mode: SandboxMode = "on"
    cache: Path | None = None
    counts: bool = False

    @property
    def lacking(self) -> str:
        """What this system lacks of a whole sandbox, "" if nothing."""
        if not sys.platform.startswith("linux"):
            return f"{sys.platform} has no Landlock and no seccomp"
        return support().lacking

    @property
    def applied(self) -> str:
        """The mode, with what is missing of it here."""
        return f"on, but {self.lacking}" if self.mode == "on" and self.lacking else self.mode


class Sandbox:
    """What one process may do.

    Attributes:
        folder: The one that it writes in, or None if it is not locked in; :meth:`close` removes it.
    """

    def __init__(
        self,
        policy: Policy,
        build: str,
        environment: Mapping[str, str],
        readable: Iterable[str | Path] = (),
        *,
        libraries: Iterable[Path] = (),
        writable: Iterable[str | Path] = (),
        becomes: str = "",
        port: int | None = None,
        file_bytes: int = _FILE_BYTES,
    ) -> None:
        """Make the folder.

        Args:
            policy: How.
            build: A name, by which compiled kernels and shaders are stored.
            environment: Of the process, before :meth:`environment`.
            readable: Files besides libraries and the interpreter's own.
            libraries: Folders of libraries besides those that the environment names.
            writable: Folders besides its own.
            becomes: The program that the process becomes then; "" if it stays the interpreter.
            port: The TCP port that it serves on; 0 for Unix sockets in its folder, None if it serves nothing.
            file_bytes: The largest file that it may write.
        """
        self._locks = policy.mode != "off" and sys.platform.startswith("linux")
        self._limits = policy.mode != "off"
        self._environment = environment
        self._readable = [str(each) for each in readable]
        self._libraries = list(libraries)
        self._writable = [str(each) for each in writable]
        self._becomes = becomes
        self._counts = policy.counts
        self._port = port
        self._file_bytes = file_bytes
        self._devices = paths.devices(environment) if self._locks else []
        self.folder: Path | None = None
        self._compiled: Path | None = None
        if self._locks:
            self.folder = own_folder(Path(tempfile.gettempdir()), _PREFIX)
            if policy.cache is not None and self._devices:
                key = hashlib.sha256(build.encode()).hexdigest()[:16]
                self._compiled = policy.cache / "compiled" / key
                self._compiled.mkdir(parents=True, exist_ok=True)

    def environment(self) -> dict[str, str]:
        """Return the environment of the process: folders for files of its own instead of the user's.

        Both sides of a pair get the same variables, of equal size in all.
        """
        early = {name: value for name, value in self._environment.items() if name not in _SET_LATE}
        if self.folder is None:
            return padded_environment(early)
        home = _home(self._environment)
        # Not PATH: an interpreter may be a script that starts the real one.
        own = dict.fromkeys(("HOME", "TMPDIR"), str(self.folder))
        caches = dict.fromkeys(_CACHES, str(self._compiled or self.folder))
        # Packages may be in the user's own folder of them.
        packages = {"PYTHONUSERBASE": f"{home}/.local"} if home else {}
        return padded_environment({**packages, **early, **own, **caches, "PYTHONDONTWRITEBYTECODE": "1"})

    def options(self) -> list[str]:
        """Return options of the interpreter: nothing of its packages runs before it is locked in."""
        return ["-S"] if self._locks else []

    def description(self) -> str:
        """Return what the process has to apply, as JSON; see ``worker/lockdown.py``."""
        late = {name: self._environment[name] for name in _SET_LATE if name in self._environment}
        if not self._locks:
            return json.dumps({"environment": late, "limits": self._rlimits()})
        kernel = support()
        kept = _kept(self._environment)
        found = paths.libraries(self._environment, self._libraries, kept)
        own = [str(each) for each in (self.folder, self._compiled) if each is not None]
        return json.dumps(
            {
                "environment": late,
                "landlock": kernel.landlock,
                "filter": self._filter() if kernel.seccomp else None,
                "limits": self._rlimits(),
                "kept": kept,
                "read": [*paths.SYSTEM, *paths.vendors(), *found.read, *self._readable],
                "list": found.listed,
                "write": [*own, *self._writable, *map(str, ALSO_WRITABLE)],
                "execute": paths.programs(self._becomes) if self._becomes else [],
                "devices": [*paths.SCRATCH_DEVICES, *self._devices],
                "port": self._port,
            }
        )

    def _filter(self) -> list[seccomp.Instruction] | None:
        family = 0
        if self._port is not None:
            family = socket.AF_INET if self._port else socket.AF_UNIX
        return seccomp.compiled(becomes=bool(self._becomes), counts=self._counts, family=family)

    def close(self) -> None:
        """Remove the folder; may be called again, once the process has ended."""
        if self.folder is not None:
            remove_folder(self.folder)
            self.folder = None

    def _rlimits(self) -> dict[str, int]:
        found = {"CORE": _NO_CORE}
        if self._limits:
            cpus = os.cpu_count() or 1
            found |= {"CPU": _DAY * cpus, "NOFILE": _DESCRIPTORS, "FSIZE": self._file_bytes}
        # Drivers of GPUs map far more than they use.
        if self._locks and not self._devices:
            found["DATA"] = _memory_bytes()
        return found


def take_file(written: Path, target: Path) -> None:
    """Move a file that a locked-in process wrote to where it could not write.

    Raises:
        OSError: It wrote none, or something else in its place.
    """
    partial = Path(f"{target}.{os.getpid()}")
    shutil.move(written, partial)  # out of its reach, before it is looked at
    status = partial.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        partial.unlink()
        raise OSError(errno.EINVAL, "the worker wrote something else than a file", str(written))
    partial.replace(target)


def _memory_bytes() -> int:
    """Return all memory of this machine, with swap."""
    text = Path("/proc/meminfo").read_text(encoding="utf-8")
    rows = dict(line.split(":", 1) for line in text.splitlines())
    return 1024 * sum(int(rows[name].split()[0]) for name in ("MemTotal", "SwapTotal") if name in rows)


def _kept(environment: Mapping[str, str]) -> list[str]:
    """Return folders that none above them opens: the home folder, and the one that this process works in."""
    try:
        project = str(Path.cwd())
    except OSError:  # removed
        project = ""
    return [each for each in (_home(environment), project) if each]


def _home(environment: Mapping[str, str]) -> str:
    try:
        return environment.get("HOME") or str(Path.home())
    except RuntimeError:  # a user without one
        return ""


def own_folder(parent: Path, prefix: str) -> Path:
    """Make a folder for this process; those of processes that were killed are removed."""
    for folder in parent.glob(f"{prefix}*"):
        owner = folder.name.removeprefix(prefix).partition("-")[0]
        try:
            mine = not folder.is_symlink() and folder.stat().st_uid == os.getuid()
            if mine and owner.isdecimal() and not Path(f"/proc/{owner}").exists():
                remove_folder(folder)
        except OSError:  # another run removes it
            continue
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=parent))


def remove_folder(folder: Path) -> None:
    """Remove a folder that may hold anything; what cannot be removed stays."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:  # so deep as no honest process makes them
        subprocess.run(["rm", "-rf", "--", str(folder)], check=False, stderr=subprocess.DEVNULL)
