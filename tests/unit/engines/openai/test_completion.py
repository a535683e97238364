"""Recorded streams of OpenAI-compatible servers: every figure, and each trap."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from pytest_llm.engines.openai.completion import read_completion
from pytest_llm.engines.servers.client import AnswerError, MalformedError, Piece, RefusedError, UnfitError
from pytest_llm.engines.servers.completion import StoppedEarlyError, Usage
from pytest_llm.engines.servers.events import Event, read_events
from tests import STAND_IN
from tests.recordings import pieces

BINDING = STAND_IN / "llama_cpp_python_server" / "said"


def text(words: str, at: float = 0.1, reason: str | None = None, **more: Any) -> Event:
    return Event(at, {"choices": [{"text": words, "index": 0, "finish_reason": reason}], **more})


def usage(prompt: int, generated: int, **more: Any) -> dict[str, Any]:
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": generated, **more}}


DONE = Event(9.0, None)


def test_llama_server_s_stream_is_read_to_the_last_figure() -> None:
    found = read_completion(read_events(pieces("oai_completions_stream")), 5)
    assert found.usage == Usage(6, 5, 0)
    assert found.text == " right, and up,"
    gaps = [after - before for before, after in pairwise(found.arrivals)]
    assert gaps == pytest.approx([0.001709, 0.0051, 0.005179, 0.005087])


def test_the_binding_s_stream_has_no_usage_and_is_whole_all_the_same() -> None:
    found = read_completion(read_events(pieces("completions_stream", BINDING)), 12)
    assert found.usage == Usage()
    assert found.text.startswith(" five, six, seven")
    assert found.arrivals[0] == pytest.approx(0.067391)
    assert len(found.arrivals) == 12


def test_a_request_that_another_one_cut_off_is_no_answer() -> None:
    with pytest.raises(MalformedError, match=r"without saying why \(finish_reason\)"):
        read_completion(read_events(pieces("interrupted_first", BINDING)), 200)


def test_a_context_that_is_full_is_an_error_although_the_status_says_otherwise() -> None:
    with pytest.raises(AnswerError):
        read_completion(read_events(pieces("overflow", BINDING)), 8)


def test_an_end_of_text_is_an_early_stop() -> None:
    with pytest.raises(StoppedEarlyError, match=r"stopped after 3 of 8 tokens \(stop\)"):
        read_completion([text("a"), text("b"), text("", reason="stop", **usage(4, 3)), DONE], 8)
    with pytest.raises(StoppedEarlyError, match=r"stopped \(stop\)"):
        read_completion([text("a"), text("", reason="stop"), DONE], 8)


def test_usage_may_come_in_a_chunk_without_choices_or_be_zero_until_the_last() -> None:
    apart = [text("a"), text("b", 0.2, "length"), Event(0.3, {"choices": [], **usage(4, 2)}), DONE]
    zero = [text("a", **usage(0, 0)), text("b", 0.2, "length", **usage(4, 2)), DONE]
    for each in apart, zero:
        assert read_completion(each, 2).usage == Usage(4, 2)


def test_cached_tokens_are_read_where_they_are_told() -> None:
    details = usage(4, 1, prompt_tokens_details={"cached_tokens": 3})
    assert read_completion([text("a", reason="length", **details), DONE], 1).usage.cached == 3


def test_chunks_that_hold_several_tokens_give_each_its_time() -> None:
    found = read_completion([text("ab", 0.1), text(" cd ef gh", 0.4), text(" i", 0.5, "length"), DONE], 5)
    assert found.arrivals == (0.1, 0.4, 0.4, 0.4, 0.5)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([text("a"), text("b"), text("c", reason="length"), DONE], "sent 3 pieces of text where 2 tokens"),
        ([text("a", reason="length", **usage(4, 3)), DONE], "generated 3 tokens where 2 were asked for"),
        ([text("", reason="length"), DONE], "sent no text for 2 tokens"),
    ],
)
def test_an_answer_of_another_length_is_none(events: list[Event], reason: str) -> None:
    with pytest.raises(UnfitError, match=reason):
        read_completion(events, 2)


@pytest.mark.parametrize("name", ["error", "event"])
def test_an_error_inside_a_stream_is_one(name: str) -> None:
    first = b'data: {"choices": [{"text": "a", "finish_reason": null}]}\n\n'
    error = json.dumps({"error": {"message": "context exceeded"}}).encode()
    last = b"event: error\ndata: " + error + b"\n\n" if name == "event" else b"data: " + error + b"\n\n"
    with pytest.raises(RefusedError, match="context exceeded"):
        read_completion(read_events([Piece(0.1, first), Piece(0.2, last)]), 4)
