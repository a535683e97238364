"""What this kernel has to lock a process in: Landlock and seccomp."""

from __future__ import annotations

import ctypes
import platform
import sys
from functools import cache
from typing import NamedTuple

from pytest_llm.system.sandbox import seccomp

# Before this version of its interface, Landlock cannot keep files from being cut off.
_WHOLE = 3
_LANDLOCK_CREATE_RULESET, _VERSION = 444, 1
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_GET_ACTION_AVAIL, _ERRNO = 2, 0x00050000


class Support(NamedTuple):
    """What a kernel has.

    Attributes:
        landlock: The version of Landlock's interface, 0 without it.
        seccomp: Whether it filters system calls of a machine that the filter knows.
    """

    landlock: int
    seccomp: bool

    @property
    def lacking(self) -> str:
        """What of a whole sandbox is missing, "" if nothing is."""
        parts = []
        if not self.landlock:
            parts.append("no Landlock")
        elif self.landlock < _WHOLE:
            parts.append(f"only version {self.landlock} of Landlock")
        if not self.seccomp:
            parts.append("no usable seccomp")
        return " and ".join(parts)


@cache
def support() -> Support:
    """Return what this kernel has."""
    if not sys.platform.startswith("linux"):
        return Support(0, seccomp=False)
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    number = _SECCOMP.get(platform.machine())
    action = ctypes.c_uint32(_ERRNO)
    filters = number is not None and seccomp.compiled() is not None
    known = filters and libc.syscall(number, _GET_ACTION_AVAIL, 0, ctypes.byref(action)) == 0
    return Support(max(0, version), bool(known))
