"""The fuzzer's readers take what they are fed; fuzzing itself is a step of ``.ci/run``."""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import TYPE_CHECKING

import pytest

from benchmarks import fuzz

if TYPE_CHECKING:
    from pathlib import Path

every_target = pytest.mark.parametrize("target", fuzz.TARGETS)


@every_target
def test_a_target_takes_its_seeds_and_any_bytes(target: str) -> None:
    read = fuzz.TARGETS[target]()
    for data in (*fuzz.seeds(target), b"", b"\xff" * 99, b"[" * 9999):
        read(data)


def test_an_error_must_be_one_line_about_a_byte_of_the_input() -> None:
    fuzz.check(ValueError("one line"), 3, 3)
    for message, offset in (("two\nlines", 3), ("beyond", 4), ("before", -1)):
        with pytest.raises(AssertionError):
            fuzz.check(ValueError(message), offset, 3)


def test_without_atheris_one_line_says_that_nothing_is_fuzzed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fuzz"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert fuzz.main() == 0
    assert capsys.readouterr().out.startswith("not covered: atheris has no wheel for Python 3.")


def test_an_input_is_slow_by_the_time_of_the_processor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "input").write_bytes(b"")
    monkeypatch.setattr(fuzz, "LONGEST_SECONDS", 0.02)
    monkeypatch.setitem(fuzz.TARGETS, "waits", lambda: lambda _: time.sleep(0.1))
    monkeypatch.setitem(fuzz.TARGETS, "works", lambda: lambda _: _work(0.1))

    assert not fuzz.is_slow("waits", tmp_path / "input")
    assert fuzz.is_slow("works", tmp_path / "input")


def _work(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
