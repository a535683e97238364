"""Facts: what a subject does not tell is left out, never guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.engines.invariants import invariants_of
from pytest_llm.errors import RequestFailedError, WorkerDiedError
from pytest_llm.records.generation import Greedy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.engines.llama_cpp_python.client import LoadedModel
    from pytest_llm.records import JSON


class Subject:
    """Tells what it was made to tell."""

    leads: tuple[float, ...] = ()

    def __init__(
        self,
        effective_options: Mapping[str, JSON],
        refusal: Exception | None = None,
        reused: tuple[int | None, ...] = (None, None),
    ) -> None:
        self._effective_options = effective_options
        self._refusal = refusal
        self._reused = iter(reused)

    def effective_options(self) -> Mapping[str, JSON]:
        return self._effective_options

    def graphs_reused(self) -> int | None:
        return next(self._reused)

    def tokenize(self, content: str, **how: bool) -> list[int]:
        return [1, 2, 3]

    def greedy(self, prompt: str, count: int) -> Greedy:
        if self._refusal is not None:
            raise self._refusal
        return Greedy(tuple(range(count)), self.leads)


def invariants(*arguments: Any) -> dict[str, JSON]:
    subject: LoadedModel = Subject(*arguments)  # type: ignore[assignment] # as much of one as is asked
    return invariants_of(subject)


def test_sizes_of_all_devices_are_added_up() -> None:
    found = invariants(
        {"weights_bytes": 7, "buffers_mib": {"CPU KV": 1.5, "CUDA0 KV": 2.0, "CPU compute": 9.0}},
    )
    assert found["kv_bytes"] == 3.5 * 2**20
    assert found["weights_bytes"] == 7


@pytest.mark.parametrize("effective_options", [{}, {"buffers_mib": {"CPU compute": 9.0}}])
def test_sizes_that_a_release_does_not_tell_are_left_out(effective_options: dict[str, JSON]) -> None:
    assert invariants(effective_options).keys() == {"effective_options", "token_ids", "greedy_output"}


def test_what_depends_on_the_machine_is_no_fact() -> None:
    found = invariants({"n_threads": 2, "n_threads_batch": 2, "graph_nodes": "936", "flash_attn": "on"})
    assert found["effective_options"] == {"flash_attn": "on"}


@pytest.mark.parametrize(
    ("before", "after", "reuse"),
    [(3, 13, "on"), (0, 6, "on"), (3, 5, "partly"), (3, 3, "off")],
)
def test_graphs_are_reused_where_most_decodes_of_the_output_do(before: int, after: int, reuse: str) -> None:
    assert invariants({}, None, (before, after))["effective_options"] == {"graph_reuse": reuse}


def test_where_nobody_counts_graphs_nothing_is_said_of_them() -> None:
    assert invariants({})["effective_options"] == {}


def test_a_model_that_refuses_to_talk_has_no_output() -> None:
    assert "greedy_output" not in invariants({}, RequestFailedError("no room", ()))


def test_a_worker_that_dies_is_not_mistaken_for_one_that_refuses() -> None:
    with pytest.raises(WorkerDiedError):
        invariants({}, WorkerDiedError("it died", ()))


@pytest.mark.parametrize(
    ("leads", "told"), [((0.12345, 3.0), [0.123, 3.0]), ((1.0, float("nan")), None), ((), None)]
)
def test_how_clear_each_token_was_is_told_with_the_output(
    monkeypatch: pytest.MonkeyPatch, leads: tuple[float, ...], told: list[float] | None
) -> None:
    monkeypatch.setattr(Subject, "leads", leads)
    assert invariants({}).get("greedy_leads") == told
