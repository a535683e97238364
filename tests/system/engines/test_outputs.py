"""The real engine: an error in what a model computes is seen, and rounding is not taken for one."""

from __future__ import annotations

import shutil
import struct
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_llm.checks import judge_output
from pytest_llm.checks.output.corpus import PROMPT
from pytest_llm.checks.output.f32_copies import F32Copies
from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.measure import compare_outputs
from pytest_llm.records import (
    LoadOptions,
    OutputGate,
    Passage,
    Provenance,
    StoredSnapshot,
    Subject,
    Verdict,
    Workload,
)
from pytest_llm.records.side import Side
from pytest_llm.stats.divergence import read_logits

from .conftest import BUILD, PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.records import Model

# About 360 tokens: the error of a rotation grows with the distance.
GATE = OutputGate(prompts=(PROMPT[:1200],))
SHORT = OutputGate(prompts=(PROMPT[:300],))
ONE = Workload()
ROPE_KEY = b"llama.rope.freq_base" + struct.pack("<I", 6)  # a 32-bit float


def side(model: Model, **options: object) -> Side:
    chosen = replace(
        LoadOptions(n_ctx=512, n_threads=1, n_threads_batch=1, flash_attn="off"),
        **options,  # type: ignore[arg-type]
    )
    return Side(Subject(model.name, BUILD, chosen), model, LlamaCppPython(BUILD, PATIENCE))


@pytest.fixture(scope="module")
def exact(smollm2: Model, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """SmolLM2 with 32-bit floats for weights, as the steps after the first have it."""
    path = tmp_path_factory.mktemp("f32") / "exact.gguf"
    quantised = side(smollm2)
    with closing(quantised.engine.start_generation(quantised.subject, smollm2)) as started:
        started.write_copy(path)
    return replace(smollm2, path=str(path), quantization="F32")


@pytest.fixture
def doctored(exact: Model, tmp_path: Path) -> Model:
    """The same with a RoPE base that is 2 % too large."""
    path = tmp_path / "doctored.gguf"
    shutil.copy(exact.path, path)
    with path.open("r+b") as file:
        at = file.read(2**16).index(ROPE_KEY) + len(ROPE_KEY)
        file.seek(at)
        (base,) = struct.unpack("<f", file.read(4))
        file.seek(at)
        file.write(struct.pack("<f", base * 1.02))
    return replace(exact, path=str(path))


def test_a_rope_base_that_is_2_percent_off_is_wrong_output(
    exact: Model, doctored: Model, tmp_path: Path
) -> None:
    pair = compare_outputs(side(doctored), side(exact), GATE, ONE, F32Copies(tmp_path)).comparison

    judged = judge_output(GATE, pair)
    assert judged.verdict is Verdict.WRONG_OUTPUT
    (contrast,) = pair.contrasts
    assert (contrast.weights, len(contrast.variants)) == ("F32 weights", 2)


def test_another_rounding_of_the_cache_is_not_accused(exact: Model, tmp_path: Path) -> None:
    run = compare_outputs(side(exact, type_v="f32"), side(exact), SHORT, ONE, F32Copies(tmp_path))

    assert not run.comparison.same
    assert judge_output(SHORT, run.comparison).verdict is Verdict.PASS
    assert run.run.effective_options["flash_attn"] == "off"


def test_what_is_stored_tells_a_wrong_rope_base_and_not_the_same_again(
    exact: Model, doctored: Model, tmp_path: Path
) -> None:
    before = compare_outputs(side(exact), None, GATE, ONE, F32Copies(tmp_path)).snapshot
    assert before is not None
    stored = StoredSnapshot(before, Provenance())

    again = compare_outputs(side(exact), stored, GATE, ONE, F32Copies(tmp_path)).comparison
    wrong = compare_outputs(side(doctored), stored, GATE, ONE, F32Copies(tmp_path)).comparison

    assert judge_output(GATE, again).verdict is Verdict.PASS
    judged = judge_output(GATE, wrong)
    assert judged.verdict is Verdict.WRONG_OUTPUT
    assert "KL divergence" in judged.reasons[0]


def test_the_last_positions_see_everything_before_them(smollm2: Model, tmp_path: Path) -> None:
    subject = side(smollm2)
    tokens = tuple(range(1000, 1512))
    end = Passage((tokens[448:],), start=448, singly=16, before=tokens[:448])
    logits = []
    with closing(subject.engine.start_generation(subject.subject, smollm2)) as loaded:
        loaded.load()
        for number, passages in enumerate([[end], [replace(end, before=())], [Passage((tokens,))]]):
            path = tmp_path / str(number)
            loaded.write_logits(path, passages, 0)
            logits.append(read_logits(path, passages[0].positions()))
    full, alone, whole = logits
    assert abs(full - alone).max() > 1
    assert abs(full - whole[448:]).max() < 1  # the same tokens, in other batches


def test_a_greedy_token_that_leads_is_the_likeliest(smollm2: Model) -> None:
    subject = side(smollm2)
    with closing(subject.engine.start_generation(subject.subject, smollm2)) as loaded:
        loaded.load()
        greedy = loaded.greedy("The capital of France is", 4)
        likely = loaded.top_logprobs("The capital of France is", 2)[-1].top
    assert greedy.tokens[0] == likely[0].id
    assert greedy.leads[0] == pytest.approx(likely[0].logprob - likely[1].logprob, abs=0.5)
    assert len(greedy.leads) == 4
    assert min(greedy.leads) >= 0


def test_the_same_build_says_the_same_to_the_last_bit(smollm2: Model, tmp_path: Path) -> None:
    both = {"n_seq_max": 2, "n_ctx": 1024, "flash_attn": "auto"}

    pair = compare_outputs(
        side(smollm2, **both), side(smollm2, **both), SHORT, Workload(parallel=2), F32Copies(tmp_path)
    ).comparison

    assert pair.same
    assert (pair.not_finite, pair.token_ids, pair.template) == (0, (), ())
    assert (pair.greedy, pair.loops) == (None, False)
    assert pair.positions > 2 * 16 + 64 + 64
