"""Lock this process in: limits, Landlock, seccomp. Nothing but the standard library runs before.

What it applies was described by ``pytest_llm/system/sandbox``, which knows why.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import stat
import struct
import sys
from typing import TYPE_CHECKING, Any

from . import interpreter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # on every machine
_RULE_PATH_BENEATH, _RULE_NET_PORT = 1, 2
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER, _ALL_THREADS, _NO_MITIGATION = 1, 1, 4
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CAPABILITIES_VERSION = 0x20080522
# Of root's: read what root may read, and lock memory.
_CAPABILITIES = (1 << 1) | (1 << 2) | (1 << 14)

_PADDING = "PYTEST_LLM_PADDING"  # of no use once the process runs

# LANDLOCK_ACCESS_FS_*
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = (1 << bit for bit in range(4))
_CHANGE_FOLDER = sum(1 << bit for bit in (4, 5, 7, 8, 12))  # remove and make files, folders, links
_MAKE_SOCKET = 1 << 9
_REFER, _TRUNCATE, _DEVICE_CONTROL = (1 << bit for bit in (13, 14, 15))
_READ = _READ_FILE | _READ_DIR
_WRITE = _WRITE_FILE | _CHANGE_FOLDER | _REFER | _TRUNCATE
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _DEVICE_CONTROL
# How many rights each version of the interface has.
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_NETWORK, _BIND = 0b11, 0b01  # bind and connect; from version 4
_SCOPES = 0b11  # abstract sockets and signals; from version 6


def die_with_parent(parent: int) -> None:
    """Ask Linux to end this process with its parent; elsewhere the end of the request pipe does."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def apply(description: str) -> None:
    """Complete the environment of this process and lock it in, with all of its threads.

    Raises:
        OSError: The kernel refuses.
    """
    wanted: dict[str, Any] = json.loads(description)
    os.environ.pop(_PADDING, None)
    os.environ.update(wanted.get("environment", {}))
    _limit(wanted.get("limits", {}))
    if "read" not in wanted:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    port = wanted.get("port")
    if wanted["landlock"]:
        read = [*wanted["read"], *map(str, interpreter.readable(wanted["kept"]))]
        rights = [(path, _READ) for path in read]
        rights += [(path, _READ_DIR) for path in wanted["list"]]
        write = _READ | _WRITE | (_MAKE_SOCKET if port == 0 else 0)
        rights += [(path, write) for path in wanted["write"]]
        rights += [(path, _READ | _WRITE_FILE | _DEVICE_CONTROL) for path in wanted["devices"]]
        rights += [(path, _READ | _EXECUTE) for path in wanted["execute"]]
        _restrict(libc, wanted["landlock"], rights, port)
    _drop_capabilities(libc)
    if wanted["filter"]:
        _filter_calls(libc, wanted["filter"])


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _limit(limits: Mapping[str, int]) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        most = resource.getrlimit(kind)[1]
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        # At the first, SIGXCPU says why; a moment later the kernel kills.
        later = value + 60 if name == "CPU" and most == resource.RLIM_INFINITY else value
        resource.setrlimit(kind, (value, later))


def _restrict(libc: Any, version: int, rights: Iterable[tuple[str, int]], port: int | None) -> None:
    """Leave the rights to files, and to serve on a TCP port if there is one."""
    handled = (1 << _RIGHTS.get(version, max(_RIGHTS.values()))) - 1
    fields = [handled]
    if version >= 4:
        fields.append(_NETWORK)
    if version >= 6:
        fields.append(_SCOPES)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    rules = _check(libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0), "Landlock")
    # Kept open: what /proc/self is would be another inode later, to which no rule belongs.
    own = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(own, True)
    _allow(libc, rules, own, handled & _READ)
    for number in _inherited():
        _allow(libc, rules, number, handled & _READ_FILE)
    for path, allowed in rights:
        try:
            found = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # what does not exist is not needed
        try:
            _allow(libc, rules, found, handled & allowed)
        finally:
            os.close(found)
    if port and version >= 4:
        _check(libc.syscall(_ADD_RULE, rules, _RULE_NET_PORT, struct.pack("=QQ", _BIND, port), 0), "Landlock")
    _check(libc.syscall(_RESTRICT_SELF, rules, 0), "Landlock")
    os.close(rules)


def _inherited() -> Iterator[int]:
    """Yield the files that the parent left open for this process."""
    for number in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - numbers
        try:
            if number > 2 and stat.S_ISREG(os.fstat(number).st_mode):
                yield number
        except OSError:  # the one that listed them
            continue


def _allow(libc: Any, rules: int, found: int, rights: int) -> None:
    if not stat.S_ISDIR(os.fstat(found).st_mode):
        rights &= _OF_FILES
    rule = struct.pack("=Qi", rights, found)
    _check(libc.syscall(_ADD_RULE, rules, _RULE_PATH_BENEATH, rule, 0), "Landlock")


def _drop_capabilities(libc: Any) -> None:
    """Leave root what it needs to read files and to lock memory; nobody else has any."""
    header = struct.pack("=Ii", _CAPABILITIES_VERSION, 0)
    current = ctypes.create_string_buffer(24)
    _check(libc.capget(header, current), "capabilities")
    low, high = struct.unpack("=6I", current.raw)[1::3]
    kept = low & _CAPABILITIES
    if (low, high) != (kept, 0):
        _check(libc.capset(header, struct.pack("=6I", kept, kept, 0, 0, 0, 0)), "capabilities")


def _filter_calls(libc: Any, instructions: Sequence[Sequence[int]]) -> None:
    own = os.getpid()
    filters = b"".join(
        struct.pack("=HBBI", code, yes, no, own if constant == -1 else constant)
        for code, yes, no, constant in instructions
    )
    kept = ctypes.create_string_buffer(filters, len(filters))
    program = struct.pack("@HP", len(instructions), ctypes.addressof(kept))
    # Without the flag, older kernels slow the process down by a mitigation.
    flags = _ALL_THREADS | _NO_MITIGATION
    _check(libc.syscall(_SECCOMP[os.uname().machine], _SET_MODE_FILTER, flags, program), "seccomp")
