"""Events of recorded streams, and of streams that went wrong."""

from __future__ import annotations

import pytest

from pytest_llm.engines.servers.client import MalformedError, Piece, RefusedError
from pytest_llm.engines.servers.events import Event, read_events
from tests.recordings import pieces


def events(*texts: str) -> list[Event]:
    return list(read_events([Piece(float(at), text.encode()) for at, text in enumerate(texts, 1)]))


def test_each_event_has_the_time_at_which_its_last_byte_came() -> None:
    found = events('data: {"a":', "1}\n", '\ndata: {"a":2}\n\ndata: {"a":3}', "\n\n")
    assert found == [Event(3.0, {"a": 1}), Event(3.0, {"a": 2}), Event(4.0, {"a": 3})]


def test_a_character_may_be_cut_in_two() -> None:
    data = 'data: {"a": "é"}\n\n'.encode()
    cut = data.index(b"\xc3") + 1
    assert list(read_events([Piece(1.0, data[:cut]), Piece(2.0, data[cut:])])) == [Event(2.0, {"a": "é"})]


def test_comments_are_no_events_and_the_mark_of_the_end_has_no_data() -> None:
    assert events(":\n\n", 'data: {"a":1}\n\n', ": ping\n\n", "data: [DONE]\n\n") == [
        Event(2.0, {"a": 1}),
        Event(4.0, None),
    ]


def test_a_recorded_stream_is_one_event_a_token_and_one_for_the_end() -> None:
    found = list(read_events(pieces("completion_stream")))
    assert [each.data["tokens_predicted"] for each in found if each.data] == [*range(1, 13), 12]
    assert found[0].at == pytest.approx(0.022954)
    assert found[-1].data is not None
    assert found[-1].data["stop"] is True


def test_an_error_inside_a_stream_is_the_server_s() -> None:
    with pytest.raises(RefusedError, match="Unexpected empty grammar stack"):
        list(read_events(pieces("grammar_ignore_eos")))
    with pytest.raises(RefusedError, match="no room"):
        events('event: error\ndata: {"message": "no room"}\n\n')


@pytest.mark.parametrize("text", ["data: {\n\n", "data: 7\n\n", 'data: {"a": NaN}\n\n', "data: \n\n"])
def test_an_event_that_is_no_object_of_json_is_refused(text: str) -> None:
    with pytest.raises(MalformedError, match="sent an event which"):
        events(text)


def test_an_event_without_its_end_is_none() -> None:
    assert events('data: {"a":1}\n\n', 'data: {"a":2}\n') == [Event(1.0, {"a": 1})]
