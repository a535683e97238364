"""Every command that reads a file refuses the same ones, in one line, soon, and stores nothing of them."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llm.cli import main
from pytest_llm.reports import results_file

from .things import SPEED, Command, Test, results_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RESULTS_DOORS = {
    "report": ["report"],
    "report --markdown": ["report", "--markdown", "-"],
    "accept": ["baselines", "accept"],
    "diff": ["baselines", "diff"],
}
TEXT = json.dumps(results_of(Test()))
SECONDS = 5.0  # on a busy machine; a hang is minutes


def with_value(text: str) -> str:
    """A whole results file with another text in place of a number."""
    return TEXT.replace('"duration_s": 0.0', f'"duration_s": {text}')


def series(*values: float) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        (session,) = document["runs"]["run-1"]["sessions"]
        session["series"]["generation"]["values"] = list(values)

    return change


def edited(change: Callable[[dict[str, Any]], None]) -> str:
    document = results_of(Test())
    change(document)
    return json.dumps(document)


def speed(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["tests"][0]["metrics"][SPEED]
    return found


def many_sessions(document: dict[str, Any]) -> None:
    run = document["runs"]["run-1"]
    run["sessions"] *= 1000


def many_readings(document: dict[str, Any]) -> None:
    (session,) = document["runs"]["run-1"]["sessions"]
    session["series"]["anonymous_memory"] = {
        "values": [1.0] * 5000,
        "tokens": 1,
        "note": "",
        "token_counts": [],
    }


BAD = {
    "cut off": (TEXT[:-20], "is not JSON ("),
    "empty": ("", "is not JSON ("),
    "a key twice": (TEXT[:-1] + ', "tests": []}', "holds the key 'tests' twice"),
    "NaN": (with_value("NaN"), "holds NaN, not a finite number"),
    "1e999": (with_value("1e999"), "holds 1e999, not a finite number"),
    "long integer": (with_value("9" * 5000), "holds 9999999"),
    "deep": ("[" * 10**6, "is nested deeper than 100 levels"),
    "deep inside": (with_value("[" * 200 + "]" * 200), "is nested deeper than 100 levels"),
    "a list": ("[]", "no results: $: [] is not of type 'object'"),
    "another version": (
        TEXT.replace('"schema_version": 1', '"schema_version": 2'),
        "is of version 2, this plugin reads up to 1",
    ),
    "an escape": (
        TEXT.replace('"schema_version": 1', '"schema_version": 1, "\\u001b[2J\\n::error::x": 1'),
        "no results: $: Additional properties are not allowed",
    ),
    "negative duration": (with_value("-1"), "no results: $.duration_s: -1 is less than the minimum of 0"),
    "no time": (TEXT.replace("2026-01-02T", "2026-13-99T"), "started is '2026-13-99T"),
    "no zone": (TEXT.replace("03:04:05+00:00", "03:04:05"), "not a time with its zone"),
    "an edited speed": (edited(lambda d: speed(d).update(value=200.0)), SPEED),
    "an edited sample": (edited(lambda d: speed(d).update(samples=[200.0])), SPEED),
    "an edited verdict": (edited(lambda d: speed(d)["baseline"].update(verdict="pass")), SPEED),
    "an edited series": (edited(series(0.001)), SPEED),
    "an empty series": (edited(series()), SPEED),
    "zeros": (edited(series(0, 0)), "its numbers cannot be judged (ZeroDivisionError: "),
    "next to zero": (edited(series(5e-324)), SPEED),
    "next to infinity": (
        edited(series(1e308, 1e308, 1e308)),
        "its numbers cannot be judged (OverflowError: ",
    ),
    "an unknown metric": (
        TEXT.replace(f'"{SPEED}": ', '"generation_tokens_per_fortnight": '),
        "its numbers cannot be judged (unknown metric ",
    ),
    "a run that is not there": (TEXT.replace('"run": "run-1"', '"run": "run-9"'), "'run-9' is named"),
    "too many sessions": (edited(many_sessions), "1000 sessions, more than 250"),
    "too many readings": (edited(many_readings), "more than 1000 readings of memory in a session"),
}


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.isprintable()
    assert len(line) < 600
    return str(line)


@pytest.mark.parametrize("door", RESULTS_DOORS)
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_results_file_is_refused_at_every_door(
    baselines: Command, capsys: pytest.CaptureFixture[str], door: str, kind: str
) -> None:
    text, reason = BAD[kind]
    name = baselines.file(text)
    started = time.monotonic()
    status = main([*RESULTS_DOORS[door], name])
    if door == "report" and reason == SPEED:  # which tells all that is wrong
        out = capsys.readouterr().out
        assert status == 1
        assert f"not what its series say: tests/test_speed.py::test_chat: {SPEED}" in out
    else:
        assert status == 2
        line = one_line(capsys)
        assert line.startswith("pytest-llm: results.json")
        assert reason in line
    assert time.monotonic() - started < SECONDS
    assert not baselines.baselines.exists()


def no_file(path: Path) -> None:
    path.unlink(missing_ok=True)


def holes(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)


def binary(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


ODD_FILES: dict[str, Callable[[Path], None]] = {
    "a pipe": os.mkfifo,
    "a folder": lambda path: path.mkdir(),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a loop": lambda path: path.symlink_to(path.name),
    "1 GB of holes": lambda path: holes(path, 10**9),
    "1 TB of holes": lambda path: holes(path, 10**12),
    "a binary": binary,
    "nothing": no_file,
}


@pytest.mark.parametrize("door", RESULTS_DOORS)
@pytest.mark.parametrize("kind", ODD_FILES)
def test_what_is_no_results_file_is_refused_at_every_door(
    baselines: Command, capsys: pytest.CaptureFixture[str], door: str, kind: str
) -> None:
    ODD_FILES[kind](baselines.folder / "results.json")
    started = time.monotonic()
    assert main([*RESULTS_DOORS[door], "results.json"]) == 2
    assert one_line(capsys).startswith("pytest-llm: results.json ")
    assert time.monotonic() - started < SECONDS
    assert not baselines.baselines.exists()


BASELINES_DOORS = {
    "show": ["show"],
    "prune": ["prune"],
    "move": ["move", "tests/test_speed.py::test_chat", "tests/test_speed.py::test_talk"],
    "merge": ["merge", "FILE", "OTHER"],
    "accept": ["accept", "results.json"],
    "diff": ["diff", "results.json"],
}


@pytest.mark.parametrize("door", BASELINES_DOORS)
@pytest.mark.parametrize("kind", [each for each in ODD_FILES if each != "nothing"])
def test_what_is_no_file_of_baselines_is_refused_at_every_door(
    baselines: Command, capsys: pytest.CaptureFixture[str], door: str, kind: str
) -> None:
    baselines.accept(100.0)
    (path,) = baselines.baselines.glob("machines/**/*.json")
    other = baselines.folder / "other.json"
    path.replace(other)
    ODD_FILES[kind](path)
    baselines.file(results_of(Test(), hours=1))
    words = {"FILE": str(path), "OTHER": str(other)}
    started = time.monotonic()
    status = main(["baselines", *(words.get(each, each) for each in BASELINES_DOORS[door])])
    assert status == 2
    assert one_line(capsys).startswith(f"pytest-llm: {path} ")
    assert time.monotonic() - started < SECONDS


def test_duplicate_keys_are_found_in_time_that_grows_with_the_size(baselines: Command) -> None:
    """The file of 418 KiB that took 15 s."""
    baselines.accept(100.0)
    (path,) = baselines.baselines.glob("machines/**/*.json")
    names = "".join(f'"a{number}":1,' for number in range(60_000))
    path.write_text(f'{{{names}"a59999":2}}', encoding="utf-8")
    started = time.process_time()
    line = baselines.refused("show")
    assert f"{path} holds the key 'a59999' twice" in line
    assert time.process_time() - started < 1.5


def test_a_file_as_large_as_is_read_is_refused_before_it_is_read(
    baselines: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = baselines.file(TEXT)
    monkeypatch.setattr(results_file, "MAX_BYTES", len(TEXT) - 1)
    assert main(["report", name]) == 2
    assert f"results.json has more than {len(TEXT) - 1} bytes" in one_line(capsys)
    monkeypatch.setattr(results_file, "MAX_BYTES", len(TEXT))
    assert main(["report", name]) == 0


@pytest.mark.parametrize("home", ["/etc", "a\0b", "../" * 50, "x" * 5000])
def test_a_home_that_is_none_is_one_line(
    baselines: Command, capsys: pytest.CaptureFixture[str], home: str
) -> None:
    document = results_of(Test())
    document["tests"][0]["home"] = home
    assert main(["baselines", "diff", baselines.file(document)]) == 2
    assert "with an ini file at or above" in one_line(capsys)


ODD_VALUES = [
    0,
    -1,
    1,
    5e-324,
    1e308,
    -1e308,
    2**63,
    "",
    "x" * 1000,
    "\x1b[2J",
    None,
    True,
    [],
    {},
    [0],
    {"a": 0},
]
WHOLE = results_of(
    Test(gated=True, stored_facts={"weights_bytes": 91_000_000}), Test("test_other", speed=50.0, ram=1e6)
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(each for key, part in inner for each in places(part, (*path, key)))]


PLACES = places(WHOLE)[1:]


@contextlib.contextmanager
def in_folder(folder: str) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@given(
    st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(ODD_VALUES)), min_size=1, max_size=3),
    st.sampled_from(list(RESULTS_DOORS)),
)
def test_whatever_stands_in_a_results_file_every_door_answers_in_its_own_words(
    changes: list[tuple[tuple[str | int, ...], Any]], door: str
) -> None:
    document = copy.deepcopy(WHOLE)
    for path, value in changes:
        at: Any = document
        with contextlib.suppress(LookupError, TypeError):  # an earlier change took the place away
            for step in path[:-1]:
                at = at[step]
            at[path[-1]] = value
    with tempfile.TemporaryDirectory() as folder, in_folder(folder):
        Path("results.json").write_text(json.dumps(document), encoding="utf-8")
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main([*RESULTS_DOORS[door], "results.json"])
        assert status in (0, 1, 2)
        assert (status == 2) == bool(err.getvalue())
        assert len(err.getvalue().splitlines()) <= 1
