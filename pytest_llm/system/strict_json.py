"""JSON from outside, read strictly and in linear time.

Python's own reader takes duplicate keys, NaN and numbers of any length, and answers deep nesting with
``RecursionError``: here each is a :class:`~pytest_llm.errors.DataError` of one line.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_llm.errors import DataError
from pytest_llm.system import regular_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAX_DEPTH = 100  # arrays and objects within each other; results nest 12
MAX_DIGITS = 400  # of a number as written: the longest float that ``repr`` writes in full has 309
_INTEGERS = range(-(2**63), 2**64)  # signed and unsigned ones of 64 bits
_LONGEST_INTEGER = 20  # characters, with its sign

# Memory that Python's values take at most, about: a small file may hold millions of empty ones.
MAX_MEMORY = 256 * 2**20
_OBJECT_BYTES, _ARRAY_BYTES, _MEMBER_BYTES = 240, 88, 64

_LONGEST_SHOWN = 80  # characters


def read(path: Path, *, limit: int, what: object = None) -> Any:
    """Return what a JSON file holds.

    Args:
        path: A regular file, or a link to one.
        limit: Bytes that it may have.
        what: Its name in messages; None for its path.

    Raises:
        DataMissingError: There is no such file.
        DataError: It cannot be read, is no regular file, or as for :func:`loads`.
    """
    what = path if what is None else what
    return loads(regular_file.read(path, limit=limit, what=what), limit=limit, what=what)


def loads(text: str | bytes | bytearray, *, limit: int, what: object) -> Any:
    """Return what a JSON text holds.

    Args:
        text: UTF-8, if it is bytes.
        limit: Bytes, or characters, that it may have.
        what: Its name in messages.

    Raises:
        DataError: It is too large, no JSON, nested deeper than ``MAX_DEPTH``, names a key twice, or holds a
            number that is not finite, an integer of more than 64 bits, or one of too many digits.
    """
    try:
        return _checked(text, limit)
    except _RefusedError as error:
        raise DataError(what, str(error)) from None


class _RefusedError(Exception):
    """JSON without meaning here; its text is a predicate."""


def _checked(text: str | bytes | bytearray, limit: int) -> Any:
    if len(text) > limit:
        raise _RefusedError(f"has more than {limit} bytes")
    if not isinstance(text, str):
        text = _decoded(text)
    opened = text.count("{") * _OBJECT_BYTES + text.count("[") * _ARRAY_BYTES
    if opened + text.count(",") * _MEMBER_BYTES > MAX_MEMORY:
        raise _RefusedError(f"holds too many values: they would take more than {MAX_MEMORY} bytes")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_not_finite,
            parse_float=_float,
            parse_int=_integer,
        )
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise _RefusedError(f"is not JSON ({_short(str(error))})") from None
    if text.count("{") + text.count("[") > MAX_DEPTH:
        _check_depth(value)
    return value


def _decoded(text: bytes | bytearray) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _RefusedError(f"is not UTF-8 at byte {error.start}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _RefusedError(f"holds the key {_short(repr(_first_twice(name for name, _ in pairs)))} twice")
    return found


def _first_twice(names: Iterable[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    raise AssertionError("no name is there twice")


def _not_finite(text: str) -> NoReturn:
    raise _RefusedError(f"holds {_short(text)}, not a finite number")


def _float(text: str) -> float:
    if len(text) > MAX_DIGITS:
        raise _too_long(text)
    value = float(text)
    return value if math.isfinite(value) else _not_finite(text)


def _integer(text: str) -> int:
    # Before it is converted, which takes time with the square of its length.
    if len(text) > _LONGEST_INTEGER or (value := int(text)) not in _INTEGERS:
        raise _RefusedError(f"holds {_short(text)}, an integer of more than 64 bits")
    return value


def _too_long(text: str) -> _RefusedError:
    return _RefusedError(f"holds {_short(text)}, a number of more than {MAX_DIGITS} digits")


def _too_deep() -> _RefusedError:
    return _RefusedError(f"is nested deeper than {MAX_DEPTH} levels")


def _check_depth(value: Any) -> None:
    level, depth = [each for each in [value] if isinstance(each, (dict, list))], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise _too_deep()
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]


def _short(text: str) -> str:
    line = "".join(each if each.isprintable() else "?" for each in text[: _LONGEST_SHOWN + 1])
    return line if len(line) <= _LONGEST_SHOWN else f"{line[: _LONGEST_SHOWN - 1]}…"
