"""Counts of the real engine repeat to the last digit; instructions under valgrind nearly so."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.engines.llama_cpp_python.instructions import BY_HARDWARE, BY_VALGRIND, find_valgrind
from pytest_llm.records import LoadOptions, Model, Subject, Workload
from pytest_llm.system.sandbox import Policy
from tests.system.engines.conftest import BUILD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.records import Series

SHORT = Workload(prompt_tokens=16, generate_tokens=8)


def counted(model: Model, policy: Policy, **options: Any) -> Mapping[str, Series]:
    chosen = LoadOptions(**{"n_ctx": 512, "n_threads": 1, "n_threads_batch": 1, **options})
    engine = LlamaCppPython(BUILD, 300.0, "", policy)
    with closing(engine.start(Subject(model.name, BUILD, chosen), model)) as loaded:
        loaded.load()
        loaded.rehearse(SHORT)
        first = loaded.counts()
        loaded.rehearse(SHORT)
        assert loaded.counts() == first
    return first


def test_counts_of_graph_cache_and_request_are_told_and_repeat(smollm2: Model) -> None:
    found, again = (counted(smollm2, Policy()) for _ in range(2))
    assert found == again
    assert found["kv_cells"].values == (512,)
    assert found["graph_splits"].values == found["graph_splits_prompt"].values == (1,)
    assert found["graph_nodes"].values[0] > 500
    # The first token after the prompt needs a graph of its own.
    assert found["graphs_reused"].values == (SHORT.generate_tokens - 2,)
    assert "instructions_per_token" not in found


def test_cells_of_sequences_apart_add_up(smollm2: Model) -> None:
    found = counted(smollm2, Policy(), n_seq_max=2, kv_unified=False)
    assert found["kv_cells"].values == (512,)


@pytest.mark.skipif(find_valgrind(os.environ) is None, reason="no valgrind on PATH")
def test_instructions_repeat_and_other_kernels_take_others(smollm2: Model) -> None:
    policy = Policy("strict" if not Policy().lacking else "on", counts=True)
    options: tuple[dict[str, Any], ...] = ({}, {}, {"flash_attn": "off"})
    first, again, plain = (counted(smollm2, policy, **each)["instructions_per_token"] for each in options)
    assert first.note in (BY_HARDWARE, BY_VALGRIND), first.note
    assert again.values[0] == pytest.approx(first.values[0], rel=2e-4)
    assert abs(plain.values[0] / first.values[0] - 1) > 0.005
