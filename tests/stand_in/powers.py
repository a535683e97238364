"""What code in a model or a build might try: each power by its name, tried in a worker of the stand-in.

A line of the log says of each how it ended: "power NAME: done", or why not.
"""

# System calls by their own names.
# ruff: noqa: PTH101, PTH104, PTH108, PTH115, PTH116, PTH123, PTH208, PTH211

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_X86 = os.uname().machine == "x86_64"


class Place(NamedTuple):
    """What a worker is not given.

    Attributes:
        parent: The process that started it.
        victim: Another process of the same user.
        port: Of a server on this machine.
        home, project, cache, baselines: Folders; the first has an SSH key in it, the second a test.
        model: The file that it does get, to read.
        disk: A device that is no GPU, "" if there is none.
        gpu: A device of a GPU, "" if there is none.
    """

    parent: int
    victim: int
    port: int
    home: str
    project: str
    cache: str
    baselines: str
    model: str
    disk: str = ""
    gpu: str = ""


class NotHereError(Exception):
    """This machine has nothing to try it on."""


def try_out(given: Mapping[str, Any]) -> None:
    """Try each power, and write how it ended."""
    place = Place(**given)
    for name, power in {**FORBIDDEN, **NEEDED}.items():
        try:
            power(place)
            ended = "done"
        except NotHereError as error:
            ended = f"not here: {error}"
        except Exception as error:
            ended = f"{type(error).__name__}: {error}"
        print(f"power {name}: {ended}", file=sys.stderr, flush=True)


def _call(x86: int, arm: int, *arguments: Any) -> int:
    result: int = _libc.syscall(ctypes.c_long(x86 if _X86 else arm), *map(_argument, arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _argument(value: Any) -> Any:
    return ctypes.c_long(value) if isinstance(value, int) else value


def _checked(result: int) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(64)


def _write(path: str) -> None:
    file = Path(path)
    there = file.exists()
    with file.open("ab"):
        pass
    if not there:
        file.unlink()


def _tcp(place: Place) -> None:
    socket.create_connection(("127.0.0.1", place.port), timeout=5).close()


def _udp(place: Place) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.sendto(b"secret", ("127.0.0.1", place.port))


def _serve(place: Place) -> None:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()


def _unix(place: Place) -> None:
    socket.socket(socket.AF_UNIX).close()


def _pair(place: Place) -> None:
    for each in socket.socketpair():
        each.close()


def _dns(place: Place) -> None:
    socket.getaddrinfo("localhost", 80)


def _exec(place: Place) -> None:
    subprocess.run(["/bin/true"], check=True)


def _spawn(place: Place) -> None:
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


def _fork(place: Place) -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def _outlive(place: Place) -> None:
    child = os.fork()
    if not child:
        os.setsid()
        time.sleep(60)
        os._exit(0)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _clone3(place: Place) -> None:
    arguments = struct.pack("=8Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    child = _call(435, 435, arguments, len(arguments))
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def _without_parent(place: Place) -> None:
    _checked(_libc.prctl(1, 0, 0, 0, 0))  # PR_SET_PDEATHSIG
    _checked(_libc.prctl(1, signal.SIGKILL, 0, 0, 0))


def _ptrace(place: Place) -> None:
    _call(101, 117, 0x4206, place.victim, 0, 0)  # PTRACE_SEIZE does not stop it


def _read_memory(place: Place) -> None:
    buffer = ctypes.create_string_buffer(8)
    with open(f"/proc/{place.victim}/maps") as maps:
        start = int(maps.readline().partition("-")[0], 16)
    ours = struct.pack("@PN", ctypes.addressof(buffer), 8)
    _call(310, 270, place.victim, ours, 1, struct.pack("@PN", start, 8), 1, 0)


def _open_memory(place: Place) -> None:
    with open(f"/proc/{place.parent}/mem", "rb+", buffering=0):
        pass


def _take_descriptor(place: Place) -> None:
    process = _call(434, 434, place.victim, 0)
    try:
        os.close(_call(438, 438, process, 0, 0))
    finally:
        os.close(process)


def _tgkill(place: Place) -> None:
    _call(234, 131, place.victim, place.victim, 0)


def _limits(place: Place) -> None:
    _call(302, 261, place.victim, 4, struct.pack("=2Q", 0, 0), 0)  # RLIMIT_CORE


def _raise_limits(place: Place) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE))


def _flags(place: Place) -> None:
    with open(place.model, "rb") as file:
        fcntl.ioctl(file, 0x40086602, struct.pack("@l", 0))  # FS_IOC_SETFLAGS


def _shared_memory(place: Place) -> None:
    found = _call(29, 194, 0, 4096, 0o600)
    _call(31, 195, found, 0, 0)  # IPC_RMID


def _io_uring(place: Place) -> None:
    os.close(_call(425, 425, 4, ctypes.create_string_buffer(256)))


def _perf(place: Place) -> None:
    attributes = struct.pack("=IIQ", 1, 112, 0).ljust(112, b"\0")
    os.close(_call(298, 241, attributes, place.victim, -1, -1, 0))


def _keys(place: Place) -> None:
    _call(250, 219, 0, -3, 1, 0, 0)  # KEYCTL_GET_KEYRING_ID of the session


def _namespace(place: Place) -> None:
    _call(272, 97, 0x04000000)  # CLONE_NEWUTS


def _device_node(place: Place) -> None:
    path = f"{place.project}/disk"
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
    os.unlink(path)


def _link_out(place: Place) -> None:
    os.symlink("/etc/passwd", f"{place.project}/link")
    os.unlink(f"{place.project}/link")


def _link_in(place: Place) -> None:
    folder = os.environ["TMPDIR"] if os.environ.get("TMPDIR") else place.cache
    os.link(f"{place.home}/.ssh/id", f"{folder}/id")
    os.unlink(f"{folder}/id")


def _rename(place: Place) -> None:
    os.rename(place.model, f"{place.model}.moved")
    os.rename(f"{place.model}.moved", place.model)


def _device(path: str, mode: int) -> None:
    if not path:
        raise NotHereError("no such device")
    os.close(os.open(path, mode))


def _privileges(place: Place) -> None:
    (held,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff")
    )
    if not int(held.split()[1], 16) >> 21 & 1:
        raise PermissionError("no CAP_SYS_ADMIN")


FORBIDDEN: Mapping[str, Callable[[Place], object]] = {
    "connect": _tcp,
    "datagram": _udp,
    "listen": _serve,
    "unix socket": _unix,
    "socket pair": _pair,
    "dns": _dns,
    "exec": _exec,
    "spawn": _spawn,
    "fork": _fork,
    "fork that outlives": _outlive,
    "clone3": _clone3,
    "outlive its parent": _without_parent,
    "ptrace": _ptrace,
    "memory of others": _read_memory,
    "memory of the parent": _open_memory,
    "descriptors of others": _take_descriptor,
    "environment of the parent": lambda place: _read(f"/proc/{place.parent}/environ"),
    "environment of others": lambda place: _read(f"/proc/{place.victim}/environ"),
    "command line of others": lambda place: _read(f"/proc/{place.victim}/cmdline"),
    "files of others": lambda place: os.readlink(f"/proc/{place.victim}/cwd"),
    "list processes": lambda place: os.listdir("/proc"),
    "signal others": lambda place: os.kill(place.victim, 0),
    "signal a thread of others": _tgkill,
    "signal all": lambda place: os.kill(-place.victim, 0),
    "limits of others": _limits,
    "limits of its own": _raise_limits,
    "write home": lambda place: _write(f"{place.home}/.bashrc"),
    "write tests": lambda place: _write(f"{place.project}/test_it.py"),
    "write cache": lambda place: _write(f"{place.cache}/models"),
    "write baselines": lambda place: _write(f"{place.baselines}/portable.json"),
    "write shared memory": lambda place: _write("/dev/shm/pytest-llm-power"),
    "write temporary files": lambda place: _write(f"{place.project}/../elsewhere"),
    "write the model": lambda place: _write(place.model),
    "cut off the model": lambda place: os.truncate(place.model, os.stat(place.model).st_size),
    "replace the model": _rename,
    "mode of the model": lambda place: os.chmod(place.model, 0o644),
    "times of the model": lambda place: os.utime(place.model),
    "owner of the model": lambda place: os.chown(place.model, -1, os.getgid()),
    "flags of the model": _flags,
    "read an SSH key": lambda place: _read(f"{place.home}/.ssh/id"),
    "list home": lambda place: os.listdir(place.home),
    "read tests": lambda place: _read(f"{place.project}/test_it.py"),
    "read cache": lambda place: os.listdir(place.cache),
    "read accounts": lambda place: _read("/etc/passwd"),
    "read a disk": lambda place: _device(place.disk, os.O_RDONLY),
    "open a GPU": lambda place: _device(place.gpu, os.O_RDWR),
    "make a device": _device_node,
    "link to elsewhere": _link_out,
    "link from elsewhere": _link_in,
    "shared memory of others": _shared_memory,
    "io_uring": _io_uring,
    "count events of others": _perf,
    "keys": _keys,
    "namespace": _namespace,
    "privileges of root": _privileges,
    "priority of others": lambda place: os.setpriority(os.PRIO_PROCESS, place.victim, 0),
}


def _thread(place: Place) -> None:
    ran: list[int] = []
    thread = threading.Thread(target=lambda: ran.append(1))
    thread.start()
    thread.join()
    assert ran


def _signal_itself(place: Place) -> None:
    signal.signal(signal.SIGUSR1, lambda *_: None)
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR1)
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)


def _own_folder(place: Place) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "one")
        file.write_bytes(b"1")
        file.rename(Path(folder, "two"))
        os.truncate(Path(folder, "two"), 0)


NEEDED: Mapping[str, Callable[[Place], object]] = {
    "read the model": lambda place: _read(place.model),
    "own temporary files": _own_folder,
    "throw away": lambda place: _write("/dev/null"),
    "thread": _thread,
    "signal itself": _signal_itself,
    "processors": lambda place: _read("/proc/cpuinfo"),
    "memory": lambda place: _read("/proc/meminfo"),
    "topology": lambda place: os.listdir("/sys/devices/system/cpu"),
    "its own state": lambda place: _read("/proc/self/status"),
    "its own threads": lambda place: os.listdir("/proc/self/task"),
    "affinity": lambda place: os.sched_setaffinity(0, os.sched_getaffinity(0)),
    "its limits": lambda place: __import__("resource").getrlimit(4),
    "random numbers": lambda place: os.urandom(8),
    "anonymous files": lambda place: os.close(os.memfd_create("x")),
    "late import": lambda place: __import__("sqlite3"),
}
