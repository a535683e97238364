"""Speeds of earlier runs, in pytest's cache."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.measure.duration import Measured, Speed
from pytest_llm.plugin.speeds import Speeds
from pytest_llm.records import Measurement, Workload
from pytest_llm.records.metrics import EMBEDDING_SPEED, METRICS
from tests.bare import RUN, SUBJECT

if TYPE_CHECKING:
    from pytest_llm.records import Run

CHAT = Workload(prompt_tokens=100, generate_tokens=11, parallel=2)
PROMPT, GENERATION = "prompt_tokens_per_second", "generation_tokens_per_second"


class Cache:
    def __init__(self, kept: Any = None) -> None:
        self.kept = kept

    def get(self, key: str, default: object) -> Any:
        return default if self.kept is None else self.kept

    def set(self, key: str, value: object) -> None:
        self.kept = value


def speeds(cache: Cache | None) -> Speeds:
    return Speeds(cache)  # type: ignore[arg-type]


def a_run(values: dict[str, float], workload: Workload = CHAT) -> Run:
    found = {name: Measurement(METRICS[name], value, (value,)) for name, value in values.items()}
    return replace(RUN, workload=workload, measurements=found)


def test_what_a_run_showed_is_known_to_the_next_one_of_its_subject_alone() -> None:
    cache = Cache()
    speeds(cache).note(SUBJECT, a_run({PROMPT: 200.0, GENERATION: 50.0}))
    assert speeds(cache).of(SUBJECT) == {str(CHAT): Measured(1 / 200, 2 / 50)}
    assert speeds(cache).of(replace(SUBJECT, model="other")) == {}
    other = replace(SUBJECT, load_options=replace(SUBJECT.load_options, n_threads=7))
    assert speeds(cache).of(other) == {}


def test_the_latest_run_counts_and_other_workloads_stay() -> None:
    cache, texts = Cache(), Workload(64, embed=True)
    known = speeds(cache)
    known.note(SUBJECT, a_run({PROMPT: 1.0, GENERATION: 1.0}))
    known.note(SUBJECT, a_run({EMBEDDING_SPEED: 400.0}, texts))
    known.note(SUBJECT, a_run({PROMPT: 200.0, GENERATION: 50.0}))
    assert known.of(SUBJECT) == {str(CHAT): Measured(1 / 200, 2 / 50), str(texts): Measured(1 / 400, 1 / 400)}


def test_a_run_without_speeds_and_a_run_without_a_cache_note_nothing() -> None:
    cache = Cache()
    speeds(cache).note(SUBJECT, a_run({}))
    assert cache.kept is None
    speeds(None).note(SUBJECT, a_run({PROMPT: 1.0, GENERATION: 1.0}))
    assert speeds(None).of(SUBJECT) == {}


@pytest.mark.parametrize("odd", [[], "x", 3, {"of": 1}, None])
@pytest.mark.parametrize(
    "seconds", [None, "x", [], [1.0], [1.0, "x"], [0.0, 1.0], [-1.0, 1.0], [float("nan"), 1.0]]
)
def test_whatever_stands_in_the_cache_is_no_error(odd: Any, seconds: Any) -> None:
    assert speeds(Cache(odd)).of(SUBJECT) == {}
    cache = Cache()
    speeds(cache).note(SUBJECT, a_run({PROMPT: 1.0, GENERATION: 1.0}))
    ((name, _),) = cache.kept.items()
    assert speeds(Cache({name: odd})).of(SUBJECT) == {}
    assert speeds(Cache({name: {str(CHAT): seconds}})).of(SUBJECT) == {}


def test_what_was_measured_goes_before_what_is_thought() -> None:
    thought = Speed(start=1.0, token=0.001, step=0.01)
    known = replace(thought, measured={str(CHAT): Measured(0.01, 0.1)})
    assert thought.request(CHAT) == pytest.approx(0.2 + 10 * 0.01)
    assert known.request(CHAT) == pytest.approx(2.0 + 10 * 0.1)
    assert known.request(replace(CHAT, depth=1)) == thought.request(replace(CHAT, depth=1))
