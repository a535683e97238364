"""The line of llama.cpp's log that says why it gave up."""

from __future__ import annotations

import re
from typing import NamedTuple

from pytest_llm.system.text import LONGEST, clean

_LINES = 12
_SEARCHED = 400  # lines, for the cause; a backtrace may follow it
# ggml_abort: "/src/ggml/src/ggml.c:1234: GGML_ASSERT(a > 0) failed", then a backtrace if it is not off.
_ABORT = re.compile(
    r"^(?:.*/)?(?P<file>[\w.-]+\.(?:c|cc|cpp|cu|cuh|h|hpp|m|mm)):(?P<line>\d+): (?P<what>.+)$"
)
_EXCEPTION = re.compile(r"^\s*what\(\):\s+(?P<what>.+)$")
# "llama_model_load: error loading model: missing tensor 'output.weight'"
_ERROR = re.compile(
    r"^\.*(?:\w+: )?(?P<what>.*\b(?:error|failed|invalid|missing|unable|removed|not a multiple)\b.*)$",
    re.IGNORECASE,
)


class LastWords(NamedTuple):
    """Why a process gave up.

    Attributes:
        cause: "GGML_ASSERT(a > 0) failed (ggml.c:1234)"; "" if no line says.
        lines: The last lines up to that one, or of all; cleaned, as a model's text stands in them.
    """

    cause: str
    lines: tuple[str, ...]


def last_words(log: str) -> LastWords:
    """Return what a log says of the end of its process; a backtrace that follows the cause is left out."""
    lines = last_lines(log, _SEARCHED)
    for pattern in (_ABORT, _EXCEPTION):
        for index in reversed(range(len(lines))):
            found = pattern.match(lines[index])
            if found:
                return LastWords(_cause(found), tuple(lines[: index + 1][-_LINES:]))
    last = tuple(lines[-_LINES:])
    # The first error is the reason of those that follow.
    return LastWords(next((match["what"] for match in map(_ERROR.match, last) if match), ""), last)


def last_lines(log: str, count: int = _LINES) -> list[str]:
    """Return the last lines of a log that are not empty, cleaned."""
    # Splitting a line of megabytes, or searching it, would take long.
    lines = log[-_SEARCHED * LONGEST :].splitlines()
    return [clean(line.rstrip()) for line in lines if line.strip()][-count:]


def _cause(found: re.Match[str]) -> str:
    parts = found.groupdict()
    return f"{parts['what']} ({parts['file']}:{parts['line']})" if "file" in parts else parts["what"]
