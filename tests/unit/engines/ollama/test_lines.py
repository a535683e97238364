"""Streams of Ollama, written after its source: every figure, and each trap."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pytest_llm.engines.ollama.lines import Line, read_completion, read_lines
from pytest_llm.engines.servers.client import AnswerError, MalformedError, Piece, RefusedError, UnfitError
from pytest_llm.engines.servers.completion import Completion, DiscardedError, StoppedEarlyError, Usage
from tests import STAND_IN
from tests.recordings import pieces

SAID = STAND_IN / "ollama" / "said"


def read(name: str, count: int) -> Completion:
    return read_completion(read_lines(pieces(name, SAID)), count)


def test_a_stream_is_read_to_the_last_figure() -> None:
    found = read("generate_stream", 12)
    assert found.usage == Usage(8, 12)
    assert found.text == " five, six, seven, eight, nine, ten,"
    assert found.arrivals[0] == pytest.approx(0.045)
    assert [after - before for before, after in pairwise(found.arrivals)] == pytest.approx([0.0075] * 11)


def test_the_count_of_a_prompt_holds_what_was_cached() -> None:
    found = read("generate_cached", 3)
    assert found.usage == Usage(275, 3)
    assert found.arrivals == pytest.approx([0.014, 0.0215, 0.029])


def test_a_prompt_that_was_cut_in_silence_shows_in_its_count() -> None:
    assert read("generate_truncated", 3).usage.prompt == 514  # of 2042


@pytest.mark.parametrize(("name", "told"), [("generate_first_load", "1.9 s"), ("generate_reload", "1.4 s")])
def test_a_request_in_which_the_model_was_loaded_does_not_count(name: str, told: str) -> None:
    with pytest.raises(DiscardedError, match=f"loaded the model again, for {told}"):
        read(name, 12)


def test_an_end_of_text_is_an_early_stop() -> None:
    with pytest.raises(StoppedEarlyError, match=r"stopped after 4 of 12 tokens \(stop\)"):
        read("generate_eos", 12)


def test_a_text_that_repeats_itself_is_dropped_without_a_word() -> None:
    with pytest.raises(StoppedEarlyError, match="dropped a request after more than 30 equal pieces"):
        read("generate_repeat_abort", 64)


def test_an_error_inside_that_is_lost_is_no_answer() -> None:
    with pytest.raises(MalformedError, match=r"ended a stream after 3 pieces without its last line \(done\)"):
        read("generate_sse_error_lost", 64)


def test_an_error_in_the_midst_is_told_although_the_status_was_200() -> None:
    with pytest.raises(RefusedError, match="answered 200: an error was encountered while running the model"):
        read("generate_midstream_error", 64)


def test_half_a_line_is_no_answer() -> None:
    with pytest.raises(MalformedError, match="sent a line which"):
        read("generate_cut", 64)


def test_thoughts_are_tokens_as_well() -> None:
    done = {"done": True, "done_reason": "length", "prompt_eval_count": 5, "eval_count": 3}
    lines = [
        Line(0.1, {"thinking": "Hm", "response": "", "done": False}),
        Line(0.2, {"thinking": ".", "response": "", "done": False}),
        Line(0.3, {"response": "Yes", "done": False}),
        Line(0.4, {**done, "response": ""}),
    ]
    assert read_completion(lines, 3) == Completion((0.1, 0.2, 0.3), "Hm.Yes", Usage(5, 3))
    with pytest.raises(UnfitError, match="sent 3 pieces of text where 2 tokens"):
        read_completion([*lines[:3], Line(0.4, {**done, "eval_count": 2})], 2)


@pytest.mark.parametrize("data", [b"[1]\n", b'{"a": NaN}\n', b"{\n", b'{"error": "no"}\n', b"\xff\n"])
def test_what_is_no_answer_is_an_error(data: bytes) -> None:
    with pytest.raises(AnswerError):
        list(read_lines([Piece(0.1, data)]))


def test_lines_may_come_in_any_pieces() -> None:
    data = b'{"response":"a","done":false}\n\n{"response":"b","done":true}'
    for size in range(1, len(data)):
        parts = [Piece(at / 100, data[at : at + size]) for at in range(0, len(data), size)]
        assert [each.data["response"] for each in read_lines(parts)] == ["a", "b"]
