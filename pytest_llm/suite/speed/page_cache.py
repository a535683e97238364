"""The page cache: drop a file from it, and see how much of the file is in it."""

from __future__ import annotations

import ctypes
import mmap
import os

_MINCORE_RESIDENT = 1


def drop(descriptor: int) -> None:
    """Ask the system to drop a file's pages; those that a process maps stay."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def resident_share(descriptor: int) -> float | None:
    """Return which share of a file's pages is in the page cache; None if the system does not tell.

    mincore(2) of Linux, which tells it of files that this process may write, or owns.
    """
    size = os.fstat(descriptor).st_size
    libc = ctypes.CDLL(None, use_errno=True)
    if not size or not hasattr(libc, "mincore"):
        return None
    pages = -(-size // mmap.PAGESIZE)
    found = (ctypes.c_ubyte * pages)()
    # A private mapping may be written, so that its address can be had; nothing is.
    with mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as mapped:
        start = ctypes.c_char.from_buffer(mapped)
        try:
            code = libc.mincore(
                ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), ctypes.byref(found)
            )
        finally:
            del start
    return None if code else sum(each & _MINCORE_RESIDENT for each in found) / pages
