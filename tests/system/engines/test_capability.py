"""Tiny models of every kind: what llama.cpp cannot do with them is asked before it is tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.errors import LoadRefusedError, NotCoveredError, RequestFailedError, WrongOutputError
from pytest_llm.models import ModelStore
from pytest_llm.models.adapters import with_adapters
from pytest_llm.records import LoadOptions, Subject, Workload
from tests import tiny_models

from .conftest import BUILD, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_llm.engines.llama_cpp_python.client import LoadedModel

    Started = Callable[..., LoadedModel]

pytestmark = pytest.mark.quick
SMALL = Workload(prompt_tokens=8, generate_tokens=4)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """Starts a worker with a file, and ends it."""
    all_of_them: list[LoadedModel] = []

    def start(path: Path, *, load: bool = True, **options: Any) -> LoadedModel:
        store = ModelStore(tmp_path / "cache", {}, tmp_path)
        model = with_adapters(store.resolve(str(path)), options.get("lora", ""), store.resolve)
        subject = Subject(str(path), BUILD, LoadOptions(**{"n_ctx": 2048, **options}))
        engine = LlamaCppPython(BUILD, PATIENCE)
        all_of_them.append(engine.start_generation(subject, model))
        if load:
            all_of_them[-1].load()
        return all_of_them[-1]

    yield start
    for each in all_of_them:
        each.close()


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (tiny_models.bert, "reads a text as a whole and has no next token"),
        (lambda path: tiny_models.t5(path), "encoder-decoder"),
        pytest.param(
            lambda path: tiny_models.t5(path, decoder=False),
            "reads a text as a whole",
            marks=pytest.mark.slow,
        ),
        (lambda path: tiny_models.bert(path, pooling=4), "reranking is not covered"),
        (lambda path: tiny_models.llama(path, kind="llama-embed"), "no output head"),
    ],
    ids=["encoder", "encoder-decoder", "T5 encoder", "reranker", "no output head"],
)
def test_a_model_without_next_tokens_is_not_asked_for_them(
    write: Callable[[Path], Path], reason: str, started: Started, tmp_path: Path
) -> None:
    loaded = started(write(tmp_path / "model.gguf"))
    coverage = loaded.coverage(SMALL)
    assert coverage.nothing
    assert reason in coverage.reason
    for ask in (
        lambda: loaded.generate("abc", max_tokens=2),
        lambda: loaded.generate([5, 6], max_tokens=2),
        lambda: loaded.top_logprobs("abc", k=2),
        lambda: loaded.rehearse(SMALL),
    ):
        with pytest.raises(NotCoveredError, match=reason):
            ask()
    assert loaded.tokenize("abc")
    assert "greedy_output" not in loaded.invariants()
    assert loaded.alive


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "reason"),
    [(tiny_models.lora, "a LoRA adapter and no model"), (tiny_models.projector, "a projector")],
)
def test_a_file_that_is_no_model_is_not_loaded(
    write: Callable[[Path], Path], reason: str, started: Started, tmp_path: Path
) -> None:
    with pytest.raises(NotCoveredError, match=reason):
        started(write(tmp_path / "model.gguf"))


def test_a_model_without_a_vocabulary_takes_and_gives_token_ids(started: Started, tmp_path: Path) -> None:
    loaded = started(tiny_models.llama(tmp_path / "none.gguf", vocabulary=False))
    answer = loaded.generate([5, 6, 7], max_tokens=4)
    assert (len(answer.tokens), answer.text) == (4, "")
    first = loaded.top_logprobs([5, 6, 7], k=2)[0]
    assert [each.text for each in first.top] == ["", ""]
    for ask in (
        lambda: loaded.generate("abc", max_tokens=2),
        lambda: loaded.generate([5, 6], max_tokens=2, stop="x"),
        lambda: loaded.tokenize("abc"),
        lambda: loaded.detokenize([5, 6]),
        lambda: loaded.token_ids([b"abc"]),
        lambda: loaded.top_logprobs("abc", k=2),
    ):
        with pytest.raises(RequestFailedError, match="no vocabulary; give token ids"):
            ask()
    loaded.rehearse(SMALL)
    assert loaded.generation_slice(4)[0] == 4
    assert loaded.alive


def test_logits_that_are_not_finite_are_wrong_output_at_every_entrance(
    started: Started, tmp_path: Path
) -> None:
    loaded = started(tiny_models.llama(tmp_path / "nan.gguf", nan=True))
    for ask in (
        lambda: loaded.rehearse(SMALL),
        lambda: loaded.generate("abc", max_tokens=2),
        lambda: loaded.top_logprobs("abc", k=2),
    ):
        with pytest.raises(WrongOutputError, match="NaN or infinite logits"):
            ask()


@pytest.mark.slow
def test_a_text_that_llama_cpp_would_abort_on_is_refused(started: Started, tmp_path: Path) -> None:
    loaded = started(tiny_models.bert(tmp_path / "bert.gguf"))
    with pytest.raises(RequestFailedError, match="raise n_ubatch"):
        loaded.embeddings([[5] * 600])
    assert loaded.alive


@pytest.mark.slow
def test_a_type_of_tensors_that_only_a_fork_knows_is_refused_by_the_build(
    started: Started, tmp_path: Path
) -> None:
    path = tiny_models.llama(tmp_path / "fork.gguf", unknown_type=137)
    with pytest.raises(LoadRefusedError, match="invalid ggml type 137") as caught:
        started(path)
    assert caught.value.log


@pytest.mark.parametrize(
    "write",
    [
        tiny_models.bert,
        pytest.param(lambda path: tiny_models.t5(path, decoder=False), marks=pytest.mark.slow),
        tiny_models.llama,
    ],
    ids=["encoder", "T5 encoder", "generating"],
)
def test_texts_are_embedded_together_and_one_by_one(
    write: Callable[[Path], Path], started: Started, tmp_path: Path
) -> None:
    loaded = started(write(tmp_path / "model.gguf"), n_seq_max=5)
    texts = Workload(prompt_tokens=200, generate_tokens=0, parallel=5, embed=True)
    coverage = loaded.coverage(texts)
    assert (coverage.slices, coverage.requests) == (True, False)
    loaded.rehearse(texts)
    tokens, seconds = loaded.embedding_slice()
    assert tokens == 5 * 200  # in three batches of an ubatch of 512
    assert 0 < seconds < 10
    first, second, again = loaded.embeddings([[5, 6, 7], [8, 9], [5, 6, 7]])
    assert len(first) == 64
    assert first == again != second
    if not loaded.coverage(SMALL).nothing:
        loaded.rehearse(SMALL)  # and it still generates
        assert loaded.generation_slice(4)[0] == 4


@pytest.mark.slow
def test_embeddings_that_are_not_finite_are_wrong_output(started: Started, tmp_path: Path) -> None:
    loaded = started(tiny_models.bert(tmp_path / "nan.gguf", nan=True))
    for ask in (
        lambda: loaded.rehearse(Workload(prompt_tokens=8, generate_tokens=0, embed=True)),
        lambda: loaded.embed("abc"),
    ):
        with pytest.raises(WrongOutputError, match="NaN or infinite embeddings"):
            ask()


@pytest.mark.slow
def test_a_text_beyond_the_positions_that_a_model_has_learned_is_refused(
    started: Started, tmp_path: Path
) -> None:
    loaded = started(tiny_models.bert(tmp_path / "bert.gguf"), n_ctx=1024, n_ubatch=1024)
    with pytest.raises(RequestFailedError, match="has 512 positions, the workload needs 600 tokens"):
        loaded.rehearse(Workload(prompt_tokens=600, generate_tokens=0, embed=True))
    assert loaded.alive


@pytest.mark.slow
def test_adapters_change_the_output_by_their_scale(started: Started, tmp_path: Path) -> None:
    path, adapter = tiny_models.llama(tmp_path / "model.gguf"), tiny_models.lora(tmp_path / "lora.gguf")
    plain, nothing, strong = (
        started(path, lora=lora).top_logprobs([5, 6, 7])[-1] for lora in ("", f"{adapter}:0", f"{adapter}:8")
    )
    assert plain == nothing != strong


@pytest.mark.slow
def test_tensors_are_placed_and_ropes_scaled_as_asked(started: Started, tmp_path: Path) -> None:
    path = tiny_models.llama(tmp_path / "model.gguf")
    plain = started(path).top_logprobs(list(range(5, 40)))[-1]
    placed = started(path, tensor_buft_overrides=r"blk\.0\..*=CPU", tensor_split="1", numa="distribute")
    assert "blk.0.attn_q.weight (0 MiB f32) buffer type overridden to CPU" in placed.log()
    assert placed.top_logprobs(list(range(5, 40)))[-1] == plain
    scaled = started(path, rope_scaling="yarn", yarn_orig_ctx=128, rope_freq_scale=0.25, yarn_ext_factor=1.0)
    assert scaled.top_logprobs(list(range(5, 40)))[-1] != plain


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"tensor_buft_overrides": r"blk\.0\.=CPU,blk\.9\.=CPU"},
            r"blk\\.9\\. matches no tensor of the model",
        ),
        ({"n_cpu_moe": 2}, "n_cpu_moe=2: the model has no experts"),
    ],
)
def test_an_option_that_moves_no_tensor_is_refused(
    options: dict[str, Any], reason: str, started: Started, tmp_path: Path
) -> None:
    with pytest.raises(LoadRefusedError, match=reason):
        started(tiny_models.llama(tmp_path / "model.gguf"), **options)


def test_a_buffer_that_no_device_has_is_refused_by_name(started: Started, tmp_path: Path) -> None:
    path = tiny_models.llama(tmp_path / "model.gguf")
    with pytest.raises(LoadRefusedError, match="no device has a buffer CUDA7; there are CPU"):
        started(path, tensor_buft_overrides="blk=CUDA7")
