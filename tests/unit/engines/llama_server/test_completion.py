"""Answers of ``/completion``: every figure of recorded ones, and what makes an answer another one."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.engines.llama_server.completion import Completion, read_completion, read_likely
from pytest_llm.engines.servers.client import MalformedError, RefusedError, UnfitError
from pytest_llm.engines.servers.events import Event, read_events
from tests.recordings import LLAMA_SERVER, pieces

if TYPE_CHECKING:
    from collections.abc import Sequence


def recorded(name: str, count: int) -> Completion:
    return read_completion(read_events(pieces(name)), count)


def times(name: str) -> list[float]:
    """The times of the chunks with tokens, from the recording itself."""
    lines = [json.loads(each) for each in (LLAMA_SERVER / f"{name}.jsonl").read_text().splitlines()[1:]]
    sent = next(each["t"] for each in lines if "send" in each)
    with_tokens = [each for each in lines if '"stop":false' in each.get("recv", "")]
    return [each["t"] - sent for each in with_tokens]


def test_each_token_has_its_time_and_its_id() -> None:
    found = recorded("completion_stream", 12)
    assert found.arrivals == tuple(times("completion_stream"))
    assert found.ids == (2531, 28, 2976, 28, 4962, 28, 4475, 28, 7462, 28, 3772, 28)
    assert found.gaps == tuple(b - a for a, b in zip(found.arrivals, found.arrivals[1:], strict=False))
    assert (found.prompt, found.cached, found.leads) == (8, 0, ())


def test_tokens_of_the_cache_are_counted_by_the_server() -> None:
    found = recorded("cache_hit", 3)
    assert (found.prompt, found.cached) == (275, 274)


def test_progress_is_no_token() -> None:
    found = recorded("progress", 3)
    assert found.ids == (33, 30, 378)
    assert found.arrivals[0] == pytest.approx(1.350021)


def test_the_lead_of_a_token_is_over_the_next_likeliest() -> None:
    found = recorded("probs", 2)
    first, second = -2.9841012954711914 + 3.065495491027832, -1.4760087728500366 + 2.180781602859497
    assert found.leads == pytest.approx((first, second))


def test_one_token_has_no_gap() -> None:
    found = recorded("completion_one", 1)
    assert (len(found.arrivals), found.gaps) == (1, ())


def test_an_empty_prompt_is_answered_by_nothing() -> None:
    with pytest.raises(UnfitError, match=r"stopped after 0 of 2 tokens \(none\)"):
        recorded("empty_prompt", 2)


def test_a_stream_without_its_last_event_is_no_answer() -> None:
    with pytest.raises(MalformedError, match="after 3 of 300 tokens, without its last event"):
        recorded("killed", 300)


def test_an_error_in_mid_stream_is_told() -> None:
    with pytest.raises(RefusedError, match="empty grammar stack"):
        recorded("grammar_ignore_eos", 8)


@pytest.mark.parametrize("count", [11, 13])
def test_another_count_than_was_asked_for_is_no_answer(count: int) -> None:
    with pytest.raises(UnfitError, match="12 "):
        recorded("completion_stream", count)


def answer(chunks: Sequence[tuple[float, int, list[int]]], **last: Any) -> Completion:
    """Read an answer of chunks with so many tokens in all, and these ids."""
    count = chunks[-1][1]
    end = {
        "tokens": [],
        "tokens_predicted": count,
        "tokens_evaluated": 5,
        "stop": True,
        "stop_type": "limit",
        "timings": {"cache_n": 2, "prompt_n": 3},
        **last,
    }
    stream = [Event(at, {"tokens": ids, "tokens_predicted": held}) for at, held, ids in chunks]
    return read_completion([*stream, Event(9.0, end)], count)


def test_tokens_that_share_a_chunk_came_together_and_only_the_last_id_is_there() -> None:
    found = answer([(1.0, 1, [7]), (3.0, 4, [9])])
    assert (found.arrivals, found.gaps, found.ids) == ((1.0, 3.0, 3.0, 3.0), (2.0, 0.0, 0.0), (7, 9))


def test_a_chunk_without_a_new_token_has_no_time() -> None:
    assert answer([(1.0, 1, [7]), (2.0, 1, []), (3.0, 2, [8])]).arrivals == (1.0, 3.0)


def test_older_builds_count_what_they_decoded_and_name_the_limit_otherwise() -> None:
    end = {"tokens_predicted": 1, "tokens_evaluated": 5, "stop": True, "stopped_limit": True}
    stream = [Event(1.0, {"tokens_predicted": 1}), Event(2.0, {**end, "timings": {"prompt_n": 3}})]
    found = read_completion(stream, 1)
    assert (found.prompt, found.cached) == (5, 2)


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ({"truncated": True}, "cut the prompt"),
        ({"stop_type": "eos"}, "eos"),
        ({"timings": None}, "no timings"),
        ({"timings": {"cache_n": -1}}, "no count"),
        ({"tokens_evaluated": "5"}, "no count"),
    ],
)
def test_an_answer_that_is_not_whole_is_refused(last: dict[str, Any], told: str) -> None:
    with pytest.raises((UnfitError, MalformedError), match=told):
        answer([(1.0, 1, [7])], **last)


def test_a_text_that_the_model_ends_is_without_the_token_that_ends_it() -> None:
    chunk = {"content": " yes", "tokens": [5], "tokens_predicted": 1, "stop": False}
    end = {"content": "", "tokens": [2], "tokens_predicted": 2, "stop": False}
    last = {"stop": True, "stop_type": "eos", "tokens_predicted": 2, "timings": {"cache_n": 0}}
    events = [Event(float(at), data) for at, data in enumerate((chunk, end, last), start=1)]
    found = read_completion(events, 8, may_end=True)
    assert (found.ids, found.texts, found.arrivals, found.ended) == ((5,), (" yes",), (1.0,), True)
    with pytest.raises(UnfitError, match=r"stopped after 2 of 8 tokens \(eos\)"):
        read_completion(events, 8)


def test_probabilities_are_read_with_ids_and_nan_stays_nan() -> None:
    told = [{"id": 3, "token": "a", "logprob": -0.5}, {"id": 4, "token": "b", "logprob": None}]
    first, second = read_likely({"top_logprobs": told})
    assert (first.id, first.text, first.logprob, second.id) == (3, "a", -0.5, 4)
    assert math.isnan(second.logprob)


@pytest.mark.parametrize(
    "position", [{"probs": [{"tok_str": "a", "prob": 0.5}]}, {"top_logprobs": [{"token": "a"}]}]
)
def test_probabilities_of_older_servers_name_no_ids(position: dict[str, Any]) -> None:
    with pytest.raises(MalformedError, match="form of its own"):
        read_likely(position)
