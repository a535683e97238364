"""Which kept answers are used again."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.bisect.cache import Cache, Unfit, identity
from pytest_llm.checks.findings import Finding
from pytest_llm.records import Benchmark, Build, Series, Session, TestKey
from pytest_llm.reports import results_file
from pytest_llm.reports.document import Machine
from pytest_llm.reports.results import results_of
from pytest_llm.stats.sequential import rule_for
from pytest_llm.stats.summary import summarize_all
from tests.bare import RUN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEST = {"nodeid": "test_it.py::test"}
MACHINE = Machine("0123", "a CPU", 2, 24, "s", None)
NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)


def document(family: int = 7) -> dict[str, Any]:
    sessions = (Session({"generation": Series((0.5,))}),)
    run = replace(RUN, sessions=sessions, measurements=summarize_all(sessions))
    benchmark = Benchmark("t.py::a", TestKey("t", "a"), run.subject, run.workload)
    finding = Finding(benchmark, run, outcome="passed")
    rule = rule_for("quick", family)
    found: dict[str, Any] = json.loads(results_file.render(results_of([finding], NOW, NOW, MACHINE, rule)))
    return found


def test_what_was_kept_is_there_for_whoever_comes_next(tmp_path: Path) -> None:
    Cache(tmp_path / "new", TEST).store_comparison("a", "b", document())
    assert Cache(tmp_path / "new", TEST).comparison("a", "b", 7) == document()


def test_the_other_way_round_is_another_comparison(tmp_path: Path) -> None:
    Cache(tmp_path, TEST).store_comparison("a", "b", document())
    assert Cache(tmp_path, TEST).comparison("b", "a", 7) is None


def test_other_conditions_are_another_comparison(tmp_path: Path) -> None:
    Cache(tmp_path, TEST).store_comparison("a", "b", document())
    assert Cache(tmp_path, {**TEST, "plugin": "2"}).comparison("a", "b", 7) is None


def test_an_answer_is_used_if_it_was_judged_as_strictly(tmp_path: Path) -> None:
    cache = Cache(tmp_path, TEST)
    cache.store_comparison("a", "b", document(family=7))
    assert cache.comparison("a", "b", 6) is not None
    assert cache.comparison("a", "b", 8) is None


def test_a_damaged_file_is_as_none(tmp_path: Path) -> None:
    cache = Cache(tmp_path, TEST)
    cache.store_comparison("a", "b", document())
    cache.store_unfit("c", Unfit("cannot run", "it died"))
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:20])
    assert cache.comparison("a", "b", 7) is None
    assert cache.unfit("c") is None


def speed_of(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["tests"][0]["metrics"]["generation_tokens_per_second"]
    return found


@pytest.mark.parametrize(
    "spoil",
    [
        lambda found: speed_of(found).update(value=3.0),
        lambda found: found["runs"]["run-1"]["sessions"][0]["series"]["generation"].update(values=[0.0]),
        lambda found: found["tests"].clear(),
        lambda found: found["tests"].append(found["tests"][0]),
        lambda found: found.update(started="today"),
        lambda found: found["runs"].clear(),
    ],
)
def test_an_answer_that_was_edited_is_as_none(tmp_path: Path, spoil: Callable[[Any], object]) -> None:
    cache, found = Cache(tmp_path, TEST), document()
    cache.store_comparison("a", "b", found)
    assert cache.comparison("a", "b", 7) is not None
    spoil(found)
    cache.store_comparison("a", "b", found)
    assert cache.comparison("a", "b", 7) is None


@pytest.mark.parametrize("text", ["[" * 10**6, '{"what": "cannot run", "what": "x", "reason": "y"}', "\0"])
def test_an_odd_file_is_as_none(tmp_path: Path, text: str) -> None:
    cache = Cache(tmp_path, TEST)
    cache.store_comparison("a", "b", document())
    cache.store_unfit("c", Unfit("cannot run", "it died"))
    for path in tmp_path.iterdir():
        path.write_text(text, encoding="utf-8")
    assert cache.comparison("a", "b", 7) is None
    assert cache.unfit("c") is None


def test_a_fresh_bisect_uses_only_its_own(tmp_path: Path) -> None:
    Cache(tmp_path, TEST).store_comparison("a", "b", document())
    fresh = Cache(tmp_path, TEST, fresh=True)
    assert fresh.comparison("a", "b", 7) is None
    fresh.store_comparison("a", "b", document())
    assert fresh.comparison("a", "b", 7) is not None


def test_a_build_is_another_one_once_its_files_are(tmp_path: Path) -> None:
    library = tmp_path / "lib" / "python3.11" / "site-packages" / "llama_cpp" / "lib" / "libllama.so"
    library.parent.mkdir(parents=True)
    library.write_bytes(b"1")
    build = Build("llama-cpp-python", "0.3.36", "", str(tmp_path / "bin" / "python"))
    before = identity("venv", build)
    assert identity("venv", build) == before
    os.utime(library, (1, 1))
    assert identity("venv", build) != before


def test_a_build_is_another_one_under_another_environment() -> None:
    plain = Build("llama-cpp-python", "0.3.36", "", "/nowhere/bin/python")
    slow = Build("llama-cpp-python", "0.3.36", "", "/nowhere/bin/python", environment={"LD_PRELOAD": "x"})
    assert identity("venv", plain) != identity("venv", slow)
