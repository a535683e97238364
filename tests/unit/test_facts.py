"""Facts: what a subject does not tell is left out, never guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.engines.llama_cpp_python.invariants import facts_of
from pytest_llm.errors import RequestFailedError, WorkerDiedError
from pytest_llm.records.generation import Greedy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.records import JSON
    from pytest_llm.records.protocols import Talking


class Subject:
    """Tells what it was made to tell."""

    leads: tuple[float, ...] = ()

    def __init__(
        self,
        resolved: Mapping[str, JSON],
        refusal: Exception | None = None,
        reused: tuple[int | None, ...] = (None, None),
    ) -> None:
        self._resolved = resolved
        self._refusal = refusal
        self._reused = iter(reused)

    def resolved(self) -> Mapping[str, JSON]:
        return self._resolved

    def graphs_reused(self) -> int | None:
        return next(self._reused)

    def tokenize(self, content: str, **how: bool) -> list[int]:
        return [1, 2, 3]

    def greedy(self, prompt: str, count: int) -> Greedy:
        if self._refusal is not None:
            raise self._refusal
        return Greedy(tuple(range(count)), self.leads)


def facts(*arguments: Any) -> dict[str, JSON]:
    subject: Talking = Subject(*arguments)  # type: ignore[assignment] # as much of one as is asked
    return facts_of(subject)


def test_sizes_of_all_devices_are_added_up() -> None:
    found = facts(
        {"weights_bytes": 7, "buffers_mib": {"CPU KV": 1.5, "CUDA0 KV": 2.0, "CPU compute": 9.0}},
    )
    assert found["kv_bytes"] == 3.5 * 2**20
    assert found["weights_bytes"] == 7


@pytest.mark.parametrize("resolved", [{}, {"buffers_mib": {"CPU compute": 9.0}}])
def test_sizes_that_a_release_does_not_tell_are_left_out(resolved: dict[str, JSON]) -> None:
    assert facts(resolved).keys() == {"resolved", "token_ids", "greedy_output"}


def test_what_depends_on_the_machine_is_no_fact() -> None:
    found = facts({"n_threads": 2, "n_threads_batch": 2, "graph_nodes": "936", "flash_attn": "on"})
    assert found["resolved"] == {"flash_attn": "on"}


@pytest.mark.parametrize(
    ("before", "after", "reuse"),
    [(3, 13, "on"), (0, 6, "on"), (3, 5, "partly"), (3, 3, "off")],
)
def test_graphs_are_reused_where_most_decodes_of_the_output_do(before: int, after: int, reuse: str) -> None:
    assert facts({}, None, (before, after))["resolved"] == {"graph_reuse": reuse}


def test_where_nobody_counts_graphs_nothing_is_said_of_them() -> None:
    assert facts({})["resolved"] == {}


def test_a_model_that_refuses_to_talk_has_no_output() -> None:
    assert "greedy_output" not in facts({}, RequestFailedError("no room", ()))


def test_a_worker_that_dies_is_not_mistaken_for_one_that_refuses() -> None:
    with pytest.raises(WorkerDiedError):
        facts({}, WorkerDiedError("it died", ()))


@pytest.mark.parametrize(
    ("leads", "told"), [((0.12345, 3.0), [0.123, 3.0]), ((1.0, float("nan")), None), ((), None)]
)
def test_how_clear_each_token_was_is_told_with_the_output(
    monkeypatch: pytest.MonkeyPatch, leads: tuple[float, ...], told: list[float] | None
) -> None:
    monkeypatch.setattr(Subject, "leads", leads)
    assert facts({}).get("greedy_leads") == told
