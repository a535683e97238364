"""Quantities with a unit: strict parsing, one base unit inside, and formatting.

Base units: seconds, bytes, tokens per second, and plain ratios. A plain number is in the base unit.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llm.errors import UnitError
from pytest_llm.system.text import as_written

if TYPE_CHECKING:
    from collections.abc import Mapping

_NUMBER = r"[+-]?(?:\d+(?:_\d+)*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_QUANTITY = re.compile(rf"\s*(?P<number>{_NUMBER})\s*(?P<unit>[^\s\d].*?)?\s*", re.ASCII)


@dataclass(frozen=True)
class Unit:
    """One physical quantity.

    Attributes:
        name: The name in a sentence: "duration".
        base: The symbol of the base unit: "s".
        scales: Every known symbol, with its size in base units.
        shown: The symbols that :meth:`format` chooses from, smallest first.
        whole: Values are whole numbers, and shown in full.
    """

    name: str
    base: str
    scales: Mapping[str, float]
    shown: tuple[str, ...]
    whole: bool = False

    def parse(self, text: str | float) -> float:
        """Read a quantity and return it in the base unit.

        Raises:
            UnitError: The text is not one number with one known unit, or it is negative or not finite.
        """
        if isinstance(text, bool) or not isinstance(text, (str, int, float)):
            raise self._refuse(text, "it is neither a text nor a number")
        if not isinstance(text, str):
            return self._checked(text, _float(text))
        match = _QUANTITY.fullmatch(text)
        if match is None:
            raise self._refuse(text, "it is not a number with a unit")
        number = float(match["number"])
        symbol = match["unit"]
        if symbol is None:
            return self._checked(text, number)
        if symbol.startswith(","):
            raise self._refuse(text, "thousands have no comma")
        if symbol not in self.scales:
            raise self._refuse(text, f"the unit {symbol!r} is not one of {', '.join(self.scales)}")
        return self._checked(text, number * self.scales[symbol])

    def format(self, value: float, digits: int = 4) -> str:
        """Format a value with ``digits`` significant digits in a suitable unit."""
        if self.whole and float(value).is_integer():
            return f"{value:.0f} {self.base}".rstrip()
        symbol = self._suited(value)
        return f"{_significant(value / self.scales[symbol], digits)} {symbol}".rstrip()

    def suited(self, value: float) -> tuple[str, float]:
        """Return the symbol of the unit in which a value is formatted, and its size in base units."""
        symbol = self._suited(value)
        return symbol, self.scales[symbol]

    def exact(self, value: float) -> str:
        """Format a value so that :meth:`parse` returns the same number."""
        return f"{value!r} {self.base}".rstrip()

    def format_apart(self, first: float, second: float) -> tuple[str, str]:
        """Format two values with enough digits to distinguish them."""
        texts = self.format(first), self.format(second)
        for digits in range(5, 18):
            if texts[0] != texts[1] or first == second:
                break
            texts = self.format(first, digits), self.format(second, digits)
        return texts

    def _suited(self, value: float) -> str:
        chosen = self.shown[0]
        for symbol in self.shown:
            if abs(value) >= self.scales[symbol]:
                chosen = symbol
        return chosen if value else self.base

    def _checked(self, text: str | float, value: float) -> float:
        if not math.isfinite(value):
            raise self._refuse(text, "it is not finite")
        if value < 0:
            raise self._refuse(text, "it is negative")
        return value

    def _refuse(self, text: object, reason: str) -> UnitError:
        example = f"{ {'s': 150, '': 5}.get(self.base, 40) } {self.shown[-1]}".rstrip()
        return UnitError(f"{as_written(text)} is not a {self.name}: {reason}; write {example!r}, say")


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # of a whole number
        return math.inf


def _significant(value: float, digits: int) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def duration(seconds: float) -> str:
    """Write about how long something takes: "5 ms", "45 s", "5.5 min", "2.5 h"."""
    if 0 < seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 300:
        return f"{seconds:.0f} s"
    number, unit = (seconds / 60, "min") if seconds < 7200 else (seconds / 3600, "h")
    return f"{number:.{'1f' if number < 9.95 else '0f'}} {unit}"


SECONDS = Unit(
    "duration",
    "s",
    {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0},
    ("µs", "ms", "s"),
)
BYTES = Unit(
    "size",
    "B",
    {
        "B": 1,
        "kB": 10**3,
        "KB": 10**3,
        "MB": 10**6,
        "GB": 10**9,
        "TB": 10**12,
        "KiB": 2**10,
        "MiB": 2**20,
        "GiB": 2**30,
        "TiB": 2**40,
    },
    ("B", "KiB", "MiB", "GiB"),
)
TOKENS_PER_SECOND = Unit("speed", "tok/s", {"tok/s": 1.0, "tokens/s": 1.0, "t/s": 1.0}, ("tok/s",))
JOULES = Unit("energy", "J", {"mJ": 1e-3, "J": 1.0, "kJ": 1e3}, ("mJ", "J"))
RATIO = Unit("ratio", "", {"%": 0.01}, ("%",))
COUNT = Unit("count", "", {"": 1.0}, ("",), whole=True)
INSTRUCTIONS = Unit(
    "number of instructions",
    "instr",
    {"instr": 1.0, "k instr": 1e3, "M instr": 1e6, "G instr": 1e9},
    ("instr", "k instr", "M instr", "G instr"),
)
