"""Streams recorded from a real text-generation-webui (v4.7.3): every figure, and each trap."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

import pytest

from pytest_llm.engines.openai.completion import read_completion
from pytest_llm.engines.servers.client import MalformedError, UnfitError
from pytest_llm.engines.servers.completion import Completion, StoppedEarlyError, Usage
from pytest_llm.engines.servers.events import read_events
from pytest_llm.engines.textgen.endpoint import TextgenEndpoint
from tests import STAND_IN
from tests.recordings import pieces

SAID = STAND_IN / "textgen" / "said"


def read(name: str, count: int) -> Completion:
    return read_completion(read_events(pieces(name, SAID)), count, TextgenEndpoint.recounted)


def test_a_stream_is_read_to_the_last_figure_and_its_empty_first_chunk_is_no_token() -> None:
    found = read("completions_stream", 12)
    assert found.usage == Usage(8, 12)
    assert found.text == " five, six, seven, eight, nine, ten,"
    assert found.arrivals[0] == pytest.approx(0.035702)
    gaps = [after - before for before, after in pairwise(found.arrivals)]
    assert len(gaps) == 11
    assert (min(gaps), median(gaps)) == pytest.approx((0.000727, 0.005939), abs=1e-6)


def test_a_cached_prompt_is_told_by_nothing() -> None:
    assert read("cache_hit", 3).usage.cached is None


def test_a_text_that_is_read_anew_may_have_a_few_tokens_less() -> None:
    whole = read("ban_eos", 48)
    assert whole.usage.generated is not None
    assert 44 <= whole.usage.generated <= 48
    with pytest.raises(StoppedEarlyError):
        read_completion(read_events(pieces("ban_eos", SAID)), 60, TextgenEndpoint.recounted)


def test_a_prompt_longer_than_the_context_is_no_answer_although_it_ends_as_one() -> None:
    with pytest.raises((UnfitError, StoppedEarlyError)):
        read("overflow", 8)


def test_without_a_model_a_stream_just_ends() -> None:
    with pytest.raises(MalformedError, match="ended a stream after 0 chunks"):
        read("unloaded_completion", 1)
