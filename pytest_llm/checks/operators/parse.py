"""What ``test-backend-ops perf --output sql`` prints. Its CSV leaves the times out."""

from __future__ import annotations

import re
from typing import NamedTuple

_ROW = re.compile(r"^INSERT INTO \w+ \((?P<names>[\w, ]+)\) VALUES \((?P<values>.*)\);$")
_VALUE = re.compile(r"'((?:[^']|'')*)'(?:, |$)")


class Timed(NamedTuple):
    """One case.

    Attributes:
        operator: ggml's name.
        told: Its parameters, in the benchmark's words.
        supported: Whether the backend has it.
        seconds: That one run takes, over at least a second of them; 0 where it is not supported.
    """

    operator: str
    told: str
    supported: bool
    seconds: float


def read_output(text: str) -> list[Timed]:
    """Return the cases that were printed whole, in their order; what else was printed is passed over."""
    rows = (_ROW.match(line) for line in text.splitlines())
    timed = (_timed(row["names"].split(", "), _VALUE.findall(row["values"])) for row in rows if row)
    return [each for each in timed if each is not None]


def _timed(names: list[str], values: list[str]) -> Timed | None:
    row = dict(zip(names, values, strict=False))
    try:
        microseconds = float(row["time_us"])
        return Timed(row["op_name"], row["op_params"], row["supported"] == "1", microseconds / 1e6)
    except (KeyError, ValueError):
        return None
