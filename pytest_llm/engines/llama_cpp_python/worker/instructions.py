"""Instructions that this thread carries out while it decodes: by a hardware counter, or under valgrind."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .subject import Batch, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .subject import LoadedSubject

# linux/perf_event.h and the numbers of perf_event_open(2).
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_HARDWARE, _INSTRUCTIONS = 0, 1
_TIMES = 0b11  # PERF_FORMAT_TOTAL_TIME_ENABLED and _RUNNING
_USER_ONLY = (1 << 5) | (1 << 6)  # exclude_kernel, exclude_hv
_CLOSE_ON_EXEC = 8
_ATTRIBUTE = struct.Struct("=IIQQQQQ16x")
_REASONS = {
    "ENOENT": "this processor shows no counter of instructions, as in most virtual machines",
    "EACCES": "the kernel forbids it: sysctl kernel.perf_event_paranoid=2",
    "EPERM": "the kernel or a container forbids it: sysctl kernel.perf_event_paranoid=2",
    "ENOSYS": "this kernel counts no instructions",
}
# valgrind.h and callgrind.h. A request is made by instructions that change nothing outside valgrind:
# rotations of rdi by 128 bits in all, then xchg rbx, rbx; rax points to the request, rdx takes the answer.
_REQUEST = bytes.fromhex("4889f8 4889f2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3")
_RUNNING_ON_VALGRIND = 0x1001
_DUMP, _ZERO, _START, _STOP = (0x43540000 + number for number in (0, 1, 4, 5))
_TOTALS = b"totals: "


class UncountableError(Exception):
    """Instructions cannot be counted here; the message is the reason."""


def count(subject: LoadedSubject, held: int, steps: int, folder: str) -> dict[str, Any]:
    """Return how many instructions of one thread a decoded token takes.

    Args:
        subject: Loaded; its context is empty afterwards.
        held: Tokens in the context before.
        steps: Decodes of one token of one sequence that are counted, after one that is not.
        folder: Where callgrind, under which this process runs, writes; "" for the hardware counter.

    Returns:
        ``instructions`` a token; or None, and the ``reason``.
    """
    llama, context = subject.llama, subject.context
    batches = [Batch(subject.bindings, 1) for _ in range(1 + steps)]
    for step, batch in enumerate(batches):
        batch.fill([Row(step % subject.n_vocabulary, held + step, 0, True)])

    def decode(some: Sequence[Batch]) -> None:
        calls = subject.calls()
        code = 0
        for batch in some:
            code |= calls.decode(context, batch.struct)
            calls.synchronize(context)
        subject.check(code)

    try:
        counting = _Callgrind(Path(folder)) if folder else _by_hardware
        subject.embed(False)
        subject.clear()
        subject.prefill([[token % subject.n_vocabulary for token in range(held)]] if held else [])
        llama.llama_set_n_threads(context, 1, 1)
        try:
            decode(batches[:1])
            found = counting(lambda: decode(batches[1:]))
        finally:
            llama.llama_set_n_threads(context, subject.asked["n_threads"], subject.asked["n_threads_batch"])
    except UncountableError as error:
        return {"instructions": None, "reason": str(error)}
    finally:
        subject.clear()
        for batch in batches:
            batch.free()
    return {"instructions": found / steps, "reason": ""}


class Counter:
    """A counter of the kernel, of this thread in user space."""

    def __init__(self, kind: int = _HARDWARE, event: int = _INSTRUCTIONS) -> None:
        """Open the counter, which counts from now on.

        Raises:
            UncountableError: The kernel refuses, or has none.
        """
        number = _PERF_EVENT_OPEN.get(platform.machine())
        if not sys.platform.startswith("linux") or number is None:
            raise UncountableError(f"not on {sys.platform} on {platform.machine()}")
        libc = ctypes.CDLL(None, use_errno=True)
        attribute = _ATTRIBUTE.pack(kind, _ATTRIBUTE.size, event, 0, 0, _TIMES, _USER_ONLY)
        this_thread, any_processor, no_group = 0, -1, -1
        self._file = libc.syscall(
            number, attribute, this_thread, any_processor, no_group, ctypes.c_ulong(_CLOSE_ON_EXEC)
        )
        if self._file < 0:
            raise UncountableError(_why(ctypes.get_errno()))

    def read(self) -> int:
        """Return the events so far.

        Raises:
            UncountableError: Others had the counter for a part of the time.
        """
        value, enabled, running = struct.unpack("=3Q", os.read(self._file, 24))
        if running < enabled or not running:
            raise UncountableError("other programs use the processor's counters")
        return int(value)

    def close(self) -> None:
        os.close(self._file)


def _why(code: int) -> str:
    return _REASONS.get(errno.errorcode.get(code, ""), os.strerror(code))


def _by_hardware(work: Callable[[], None]) -> int:
    counter = Counter()
    try:
        before = counter.read()
        work()
        found = counter.read() - before
    finally:
        counter.close()
    if not found:
        raise UncountableError("the processor's counter stands still, as in some virtual machines")
    return found


class _Callgrind:
    """Counts under callgrind, which must not have been told to count from the start on."""

    def __init__(self, folder: Path) -> None:
        if platform.machine() != "x86_64":
            raise UncountableError(f"valgrind's requests are not known on {platform.machine()}")
        self._folder = folder
        self._code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._code.write(_REQUEST)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._code))
        self._call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64)(address)
        if not self._ask(_RUNNING_ON_VALGRIND):
            raise UncountableError("this process does not run under valgrind")

    def __call__(self, work: Callable[[], None]) -> int:
        self._ask(_START)
        self._ask(_ZERO)
        try:
            work()
        finally:
            self._ask(_DUMP)
            self._ask(_STOP)
        return _total(self._folder)

    def _ask(self, request: int) -> int:
        words = (ctypes.c_uint64 * 6)(request)
        answer: int = self._call(ctypes.addressof(words), 0)
        return answer


def _total(folder: Path) -> int:
    """Return what callgrind counted, from the only file that it has written."""
    for path in folder.glob("callgrind.*"):
        for line in path.read_bytes().splitlines():
            if line.startswith(_TOTALS):
                return int(line[len(_TOTALS) :])
    raise UncountableError("callgrind has written no total")
