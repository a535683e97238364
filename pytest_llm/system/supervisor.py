"""Run a command whose processes all end with the process that wanted it, however that one ends.

``python supervisor.py READING LOCK NETWORK COMMAND…`` in a session of its own. READING is a pipe that nobody
writes to: its other end closes with the process that holds it, even with one that was killed. LOCK is an open
file that the command inherits.

NETWORK is "fetch" for a command that runs no code of strangers. With "open" and "closed", the command and
its children cannot look into other processes, where there is Landlock: the environment of pytest may hold
secrets. With "closed", they make no sockets but those between programs of this machine, where there is
seccomp.

Ninja gives each compiler a process group of its own, so the group is not enough: the session is ended where
/proc lists its processes. Elsewhere ninja is asked first, which ends its compilers, and then killed.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

_PROCESSES = Path("/proc")
_GRACE_SECONDS = 1.0
_ending = threading.Event()


def _end_with(reading: int) -> None:
    os.read(reading, 1)
    _ending.set()
    if _has_proc():
        while others := _others_in_session():
            for each in others:
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            time.sleep(0.01)
    else:
        os.killpg(os.getpgrp(), signal.SIGTERM)
        time.sleep(_GRACE_SECONDS)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _has_proc() -> bool:
    return (_PROCESSES / "self" / "stat").exists()


def _others_in_session() -> list[int]:
    own, found = os.getsid(0), []
    for folder in _PROCESSES.glob("[0-9]*"):
        with suppress(OSError):
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) == own and state != "Z" and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


# Of <linux/prctl.h>, <linux/seccomp.h>, <linux/audit.h> and <linux/filter.h>.
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _IF_EQUAL, _IF_GREATER, _RETURN = 0x20, 0x15, 0x25, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_ALLOW, _REFUSE, _UNKNOWN = 0x7FFF0000, 0x0005000D, 0x00050026  # the errors are EACCES and ENOSYS
_AF_UNIX = 1
_IO_URING = 425  # its rings make sockets, too
# The machine's name in audit records, its number of socket(), and the last number of its calls.
_MACHINES = {"x86_64": (0xC000003E, 41, 0x3FFFFFFF), "aarch64": (0xC00000B7, 198, 0xFFFFFFFF)}


# System calls, the same on all machines. A domain may not move files between folders unless a rule says so;
# ours says so for all.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH, _REFER = 1, 1 << 13
# Of <linux/capability.h>: root's powers over other processes, SYS_PTRACE, SYS_ADMIN and PERFMON.
_CAPABILITIES_VERSION = 0x20080522
_POWERS = (1 << 19 | 1 << 21, 1 << 38 - 32)


def _apart() -> str:
    """Keep this process and its children from looking into others for good; return why not, or ""."""
    if not sys.platform.startswith("linux"):
        return "this system cannot be asked to"
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    for place in range(6):  # effective, permitted and inheritable ones, in two words
        sets[place] &= ~_POWERS[place // 3]
    libc.capset(header, sets)
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    rules, everywhere = ctypes.c_uint64(_REFER), ctypes.create_string_buffer(struct.pack("=Qi", _REFER, root))
    handle = libc.syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.sizeof(rules), 0)
    try:
        if (
            handle < 0
            or libc.syscall(_ADD_RULE, handle, _PATH_BENEATH, everywhere, 0)
            or libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
            or libc.syscall(_RESTRICT_SELF, handle, 0)
        ):
            return f"Landlock: {os.strerror(ctypes.get_errno())}"
    finally:
        os.close(root)
        if handle >= 0:
            os.close(handle)
    return ""


def _without_network() -> str:
    """Keep this process and its children from the network for good; return why that cannot be, or ""."""
    known = _MACHINES.get(platform.machine())
    if not sys.platform.startswith("linux") or known is None:
        return "this system cannot be asked to"
    architecture, socket, last = known
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 0, 6, architecture),  # else: unknown
        (_LOAD, 0, 0, _NUMBER),
        (_IF_GREATER, 4, 0, last),
        (_IF_EQUAL, 3, 0, _IO_URING),
        (_IF_EQUAL, 0, 3, socket),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_IF_EQUAL, 1, 2, _AF_UNIX),
        (_RETURN, 0, 0, _UNKNOWN),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in program))
    filter_ = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or prctl(_SET_SECCOMP, _FILTER, filter_, 0, 0):
        return f"seccomp: {os.strerror(ctypes.get_errno())}"
    return ""


def _main(reading: int, lock: int, network: str, command: list[str]) -> int:
    for wanted, keep, power in (
        (network != "fetch", _apart, "look into other processes"),
        (network == "closed", _without_network, "use the network"),
    ):
        reason = keep() if wanted else ""
        if reason:
            print(f"note: the next command can {power}: {reason}", flush=True)
    if not _has_proc():
        signal.signal(signal.SIGTERM, lambda *_: None)  # which the command does not inherit
    threading.Thread(target=_end_with, args=(reading,), daemon=True).start()
    try:
        code = subprocess.run(command, pass_fds=(lock,), check=False).returncode
    except OSError as error:
        print(f"error: {command[0]} cannot be started: {error}", flush=True)
        return 127
    while _ending.is_set():  # the others are not to outlive this one
        time.sleep(_GRACE_SECONDS)
    return code


if __name__ == "__main__":
    os._exit(_main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]) % 256)
