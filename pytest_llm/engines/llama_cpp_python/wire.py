"""Wire to a worker: requests out, answers in, and its log, on three pipes that never block this process.

A request and its answer are one line of JSON each, with the same number. The log is a pipe: it takes no disk,
and a worker cannot change what it has written. While an answer is waited for, the log is read four times a
second, so that a worker that measures is not disturbed, and at once only while it is flooded.
"""

from __future__ import annotations

import json
import os
import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.errors import DataError
from pytest_llm.system import strict_json
from pytest_llm.system.capped_log import CappedLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_llm.records import JSON

_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux, which Python 3.10 names so
_LOG_PIPE_BYTES = 2**20
_FLOOD_BYTES = 2**17
_LOOK_SECONDS = 0.25
_CHUNK = 2**16


class MalformedAnswerError(Exception):
    """The worker sent something else than the answer; the message is the reason."""


class Theirs(NamedTuple):
    """The worker's ends of the pipes."""

    requests: int
    answers: int
    log: int

    def close(self) -> None:
        for each in self:
            os.close(each)


class Wire:
    """This process's ends of the pipes."""

    def __init__(self) -> None:
        """Make the pipes.

        Raises:
            OSError: This process has no more descriptors.
        """
        made: list[int] = []
        try:
            for _ in range(3):
                made += os.pipe()
        except OSError:
            for each in made:
                os.close(each)
            raise
        their_requests, self._requests, self._answers, their_answers, self._log_end, their_log = made
        self.theirs = Theirs(their_requests, their_answers, their_log)
        for each in (self._requests, self._answers, self._log_end):
            os.set_blocking(each, False)
        self.log = CappedLog()
        self._floods = not _has_room(self._log_end)
        self.log_is_open = True
        self._number = 0
        self._unread = b""

    def close(self) -> None:
        for each in (self._requests, self._answers, self._log_end):
            os.close(each)

    def ask(self, request: Mapping[str, JSON], timeout: float, limit: Callable[[int], int]) -> Any:
        """Send a request and return its answer, without the number.

        Raises:
            TimeoutError: It was not read, or not answered, within ``timeout`` seconds.
            EOFError: The worker closed its pipes.
            MalformedAnswerError: The answer is longer than ``limit`` says for the bytes of the request, is no
                object of strict JSON, or has another number.
        """
        deadline = time.monotonic() + timeout
        self._number += 1
        if self._unread:
            raise MalformedAnswerError("it came before the request")
        line = json.dumps({"id": self._number, **request}).encode() + b"\n"
        most = limit(len(line))
        self._write(line, deadline)
        answer = parse(self._read_line(deadline, most), most)
        number = answer.pop("id", None)
        if type(number) is not int or number != self._number:
            raise MalformedAnswerError("it answers another request")
        return answer

    def read_log(self) -> int:
        """Read what the worker has written to its log, at most as much as a pipe holds; return the bytes."""
        count = 0
        while self.log_is_open and count < _LOG_PIPE_BYTES:
            try:
                data = os.read(self._log_end, _CHUNK)
            except BlockingIOError:
                break
            self.log_is_open = bool(data)
            self.log.append(data)
            count += len(data)
        return count

    def _write(self, data: bytes, deadline: float) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._requests, left) :]
            except BlockingIOError:
                self._wait(self._requests, select.POLLOUT, deadline)
            except BrokenPipeError:
                raise EOFError from None

    def _read_line(self, deadline: float, limit: int) -> bytes:
        parts: list[bytes] = []
        length = 0
        while True:
            self._wait(self._answers, select.POLLIN, deadline)
            with suppress(BlockingIOError):
                part = os.read(self._answers, _CHUNK)
                if not part:
                    raise EOFError
                line, end, rest = part.partition(b"\n")
                parts.append(line)
                length += len(line)
                if length > limit:
                    raise MalformedAnswerError(f"it has more than {limit} bytes")
                if end:
                    self._unread = rest
                    return b"".join(parts)

    def _wait(self, descriptor: int, event: int, deadline: float) -> None:
        # Not select(), which fails at descriptors above 1,023.
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            poll = select.poll()
            poll.register(descriptor, event)
            if self._floods and self.log_is_open:
                poll.register(self._log_end, select.POLLIN)
            ready = poll.poll(1000 * min(left, _LOOK_SECONDS))
            if any(each == descriptor for each, _ in ready):
                return
            self._floods = self.read_log() > _FLOOD_BYTES or self._floods


def parse(line: bytes, limit: int) -> dict[str, Any]:
    """Return an answer.

    Raises:
        MalformedAnswerError: It is not an object of strict JSON.
    """
    try:
        value = strict_json.loads(line, limit=limit, what="it")
    except DataError as error:
        raise MalformedAnswerError(str(error)) from None
    if not isinstance(value, dict):
        raise MalformedAnswerError("it is not an object of JSON")
    return value


def _has_room(descriptor: int) -> bool:
    """Make room for a log in a pipe, and return if there is."""
    try:
        import fcntl

        return fcntl.fcntl(descriptor, _PIPE_SIZE, _LOG_PIPE_BYTES) >= _LOG_PIPE_BYTES
    except (ImportError, OSError):  # another system, or this user has too many large pipes
        return False
