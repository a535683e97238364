"""What JSON from outside must be: everything else is one line, soon, and never a crash."""

from __future__ import annotations

import contextlib
import gc
import json
import math
import sys
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_llm.errors import DataError, DataMissingError, UsageError
from pytest_llm.system import strict_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIMIT = 2**26


def load(text: str | bytes) -> Any:
    return strict_json.loads(text, limit=LIMIT, what="it")


def refusal(text: str | bytes) -> str:
    with pytest.raises(DataError) as caught:
        load(text)
    message = str(caught.value)
    assert message == f"it {caught.value.reason}"
    assert len(message) < 250
    assert message.isprintable()
    return caught.value.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "b": 2, "a": 1}', "holds the key 'a' twice"),
        ('[{"x": {"\\u001b[2J": 1, "\\u001b[2J": 2}}]', "holds the key '\\x1b[2J' twice"),
        ('{"' + "k" * 10**6 + '": 1, "' + "k" * 10**6 + '": 2}', f"holds the key '{'k' * 78}… twice"),
        ("NaN", "holds NaN, not a finite number"),
        ("[-Infinity]", "holds -Infinity, not a finite number"),
        ("[1e999]", "holds 1e999, not a finite number"),
        ("-1E400", "holds -1E400, not a finite number"),
        ("9" * 10**6, f"holds {'9' * 79}…, an integer of more than 64 bits"),
        (str(2**64), f"holds {2**64}, an integer of more than 64 bits"),
        (str(-(2**63) - 1), f"holds {-(2**63) - 1}, an integer of more than 64 bits"),
        ("0." + "1" * 10**6, f"holds 0.{'1' * 77}…, a number of more than 400 digits"),
        ("[" * 101 + "]" * 101, "is nested deeper than 100 levels"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "is nested deeper than 100 levels"),
        ("[" * 10**6, "is nested deeper than 100 levels"),
        (b'"\xff"', "is not UTF-8 at byte 1"),
        ("[" + "{}," * 10**6 + "1]", "holds too many values: they would take more than 268435456 bytes"),
        (" " * (LIMIT + 1), f"has more than {LIMIT} bytes"),
    ],
    ids=lambda each: repr(each[:30]),
)
def test_what_python_takes_and_has_no_meaning_is_refused(text: str | bytes, reason: str) -> None:
    assert refusal(text) == reason


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a" 1}', "01", "[1,]", "\x00", "\ufeff{}", '"\x1b[2J"', "nul", '"' + '\\"' * 10**6],
    ids=lambda text: repr(text[:30]),
)
def test_what_is_not_json_is_refused(text: str) -> None:
    assert refusal(text).startswith("is not JSON (")


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        2**64 - 1,
        -(2**63),
        sys.float_info.max,
        5e-324,
        -0.0,
        "[" * 300,
        {"": {"a": [1.5, "b", None]}},
        [[[["deep"]]]],
    ],
)
def test_sound_values_are_read_as_they_are(value: object) -> None:
    assert load(json.dumps(value)) == value
    assert load(json.dumps(value).encode()) == value


def test_a_hundred_levels_are_read() -> None:
    found = load("[" * 100 + "]" * 100)
    for _ in range(99):
        (found,) = found
    assert found == []


def test_a_reader_that_is_itself_deep_in_calls_still_answers_in_one_line() -> None:
    def deep(left: int) -> object:
        return deep(left - 1) if left else load("[" * 90 + "]" * 90)

    reasons = set()
    for left in range(sys.getrecursionlimit() - 300, sys.getrecursionlimit(), 10):
        try:
            deep(left)
        except DataError as error:
            reasons.add(error.reason)
        except RecursionError:  # the caller's own, before it calls
            break
    assert reasons <= {"is nested deeper than 100 levels"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(VALUES)
def test_every_finite_value_is_read_as_it_was_written(value: Any) -> None:
    text = json.dumps(value)
    if "Infinity" in text and any(map(math.isinf, floats_in(value))):
        assert "Infinity, not a finite number" in refusal(text)
    else:
        assert load(text) == value


def floats_in(value: Any) -> list[float]:
    if isinstance(value, float):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [each for part in inner for each in floats_in(part)]


PIECES = st.sampled_from(
    ['"', "\\", "{", "}", "[", "]", ",", ":", "1", "-", "e", "9" * 30, ".", "NaN", "true", '"a":', " ", "\0"]
)


@given(st.lists(PIECES | st.text(), max_size=40).map("".join) | st.binary(max_size=200))
@example('{"a":1,"a":2}')
@example(b"\xf0\x9f")
def test_whatever_comes_is_a_value_or_one_line(text: str | bytes) -> None:
    try:
        value = load(text)
    except DataError:
        refusal(text)
    else:
        assert json.loads(json.dumps(value, allow_nan=False)) == value


GROWING: dict[str, Callable[[int], str]] = {
    "one key twice, at the end": lambda n: "{" + "".join(f'"a{i}":1,' for i in range(n // 10)) + '"a0":2}',
    "one key again and again": lambda n: "{" + '"a":1,' * (n // 6) + '"a":1}',
    "a long integer": lambda n: "9" * n,
    "a long fraction": lambda n: "0." + "3" * n,
    "brackets": lambda n: "[" * n,
    "closed brackets": lambda n: "[" * (n // 2) + "]" * (n // 2),
    "an open string of escaped quotes": lambda n: '"' + '\\"' * (n // 2),
    "white space": lambda n: " " * n,
    "numbers": lambda n: "[" + "0.12345678," * (n // 11) + "1]",
    "empty objects": lambda n: "[" + "{}," * (n // 3) + "1]",
    "objects of one key": lambda n: '{"a":{"a":[' + '{"a":1},' * (n // 8) + "1]}}",
    "keys with equal ends": lambda n: "{" + "".join(f'"{"k" * 50}{i}":1,' for i in range(n // 60)) + '"z":1}',
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", GROWING)
def test_time_grows_with_the_size_and_memory_has_a_bound(kind: str) -> None:
    small, large = (GROWING[kind](size) for size in (2**17, 2**20))
    # Eight times as large; three times more for the clock and caches. A square would be 64.
    assert cpu_seconds(large) < max(24 * cpu_seconds(small), 0.05)
    tracemalloc.start()
    try:
        try_to(large)
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()


def cpu_seconds(text: str) -> float:
    gc.collect()
    times = []
    for _ in range(3):
        started = time.process_time()
        try_to(text)
        times.append(time.process_time() - started)
    return min(times)


def try_to(text: str) -> None:
    with contextlib.suppress(DataError):
        load(text)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, "ä"]}', encoding="utf-8")
    assert strict_json.read(path, limit=100) == {"a": [1, "ä"]}


def test_a_refused_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[1e999]", encoding="utf-8")
    with pytest.raises(UsageError, match=r"a\.json holds 1e999, not a finite number$"):
        strict_json.read(path, limit=100)
    with pytest.raises(UsageError, match=r"^the answer holds 1e999"):
        strict_json.read(path, limit=100, what="the answer")


def test_a_file_that_is_not_there_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(DataMissingError, match=r"a\.json cannot be read: No such file or directory$"):
        strict_json.read(tmp_path / "a.json", limit=100)
