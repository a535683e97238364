"""The real engine: an error in what a model computes is seen, and rounding is not taken for one."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.campaign import Side, compare_outputs
from pytest_llm.campaign.texts import PROMPT
from pytest_llm.engines.llama_cpp_python import LlamaCppPython
from pytest_llm.models.hashes import hash_file
from pytest_llm.records import LoadOptions, OutputGate, Subject, Verdict, Workload
from pytest_llm.verdicts import judge_output

from .conftest import BUILD, PATIENCE

if TYPE_CHECKING:
    from pytest_llm.records import Model

# About 360 tokens: the error of a rotation grows with the distance.
GATE = OutputGate(prompts=(PROMPT[:1200],))
ONE = Workload()
ROPE_KEY = b"llama.rope.freq_base" + struct.pack("<I", 6)  # a 32-bit float


def side(model: Model, **options: object) -> Side:
    chosen = replace(LoadOptions(n_ctx=512, n_threads=1, n_threads_batch=1), **options)  # type: ignore[arg-type]
    return Side(Subject(model.name, BUILD, chosen), model, LlamaCppPython(BUILD, PATIENCE))


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("f32")


@pytest.fixture
def doctored(smollm2: Model, tmp_path: Path) -> Model:
    """SmolLM2 with a RoPE base that is 2 % too large."""
    content = bytearray(Path(smollm2.path).read_bytes())
    at = content.index(ROPE_KEY) + len(ROPE_KEY)
    (base,) = struct.unpack_from("<f", content, at)
    struct.pack_into("<f", content, at, base * 1.02)
    path = tmp_path / "doctored.gguf"
    path.write_bytes(content)
    return replace(smollm2, path=str(path), sha256=hash_file(path))


def test_a_rope_base_that_is_2_percent_off_is_wrong_output(
    smollm2: Model, doctored: Model, copies: Path
) -> None:
    found = compare_outputs(side(doctored), side(smollm2), GATE, ONE, copies).pair

    judged = judge_output(GATE, found)
    assert judged.verdict is Verdict.WRONG_OUTPUT
    assert "F32 weights" in judged.reasons[0]


def test_a_benign_option_is_not_accused(smollm2: Model, copies: Path) -> None:
    run = compare_outputs(side(smollm2, flash_attn="off", n_threads=2), side(smollm2), GATE, ONE, copies)

    assert not run.pair.same
    assert [each.weights for each in run.pair.contrasts] == [
        "Q4_1 weights",
        "F32 weights",
        "F32 weights without flash attention",
    ]
    assert judge_output(GATE, run.pair).verdict is Verdict.PASS
    assert run.candidate.resolved["flash_attn"] == "off"


def test_the_same_build_says_the_same_to_the_last_bit(smollm2: Model, copies: Path) -> None:
    pair = compare_outputs(
        side(smollm2, n_seq_max=2, n_ctx=1024),
        side(smollm2, n_seq_max=2, n_ctx=1024, n_threads=2),
        GATE,
        Workload(parallel=2),
        copies,
    ).pair

    assert pair.same
    assert (pair.not_finite, pair.tokenized, pair.template, pair.greedy, pair.loops) == (
        0,
        (),
        False,
        None,
        False,
    )
    assert pair.positions > 2 * 16 + 64 + 300
