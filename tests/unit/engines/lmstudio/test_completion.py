"""Streams of LM Studio, written after its documentation and reports: each trap."""

from __future__ import annotations

import pytest

from pytest_llm.engines.openai.completion import read_completion
from pytest_llm.engines.servers.client import RefusedError
from pytest_llm.engines.servers.completion import StoppedEarlyError
from pytest_llm.engines.servers.events import read_events
from tests import STAND_IN
from tests.recordings import pieces

SAID = STAND_IN / "lmstudio" / "said"


def test_an_error_event_is_told_although_the_status_was_200() -> None:
    with pytest.raises(RefusedError, match="greater than the context length"):
        read_completion(read_events(pieces("openai_stream_error", SAID)), 4)


def test_a_prompt_longer_than_the_context_may_end_in_silence() -> None:
    with pytest.raises(StoppedEarlyError, match="stop"):
        read_completion(read_events(pieces("openai_overflow_silent", SAID)), 4)
