"""The flags of a server inside of a tool."""

from __future__ import annotations

import pytest

from pytest_llm.engines.servers.inside import options_of, server_inside_of, without_ours

WORDS = (
    "-m /m.gguf --port 4711 --host=127.0.0.1 --offline -c 1024 -np 2 --flash-attn on -b 512 -ub 512 -t 3 "
    "-ub 16"
)


def test_flags_state_load_options_and_the_last_one_counts() -> None:
    assert options_of(WORDS.split()) == {
        "n_ctx": 1024,
        "n_batch": 512,
        "n_ubatch": 16,
        "n_seq_max": 2,
        "n_threads": 3,
        "flash_attn": "on",
    }
    assert options_of(["-c", "many", "-fa", "auto", "-t"]) == {}


def test_what_is_ours_to_choose_is_left_out() -> None:
    assert " ".join(without_ours(WORDS.split())) == (
        "--offline -c 1024 -np 2 --flash-attn on -b 512 -ub 512 -t 3 -ub 16"
    )


@pytest.mark.parametrize("url", ["http://box.example:80", "http://127.0.0.1", "http://127.0.0.1:9"])
def test_where_nothing_can_be_seen_there_is_no_child(url: str) -> None:
    assert server_inside_of(url, "m.gguf") is None
