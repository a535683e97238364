"""What lies inside the timed region, to the nanosecond: a pretended llama.cpp moves a pretended clock."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llm.engines.llama_cpp_python.worker import params
from pytest_llm.engines.llama_cpp_python.worker.bindings import RefusedError
from pytest_llm.engines.llama_cpp_python.worker.subject import LoadedSubject
from pytest_llm.engines.llama_cpp_python.worker.timing import Timed, Workload, checked_share

DECODE_A_TOKEN = 100
SYNCHRONIZE = 7
SAMPLE = 1_000
TOKENIZE = 50_000
RENDER = 300_000
ANYTHING_ELSE = 10_000_000


@dataclass
class Llama:
    """Moves the clock with every call; what must never be timed moves it furthest."""

    now: int = 0
    n_ctx: int = 10_000
    gpu: bool = False
    forgets: bool = True
    code: int = 0
    reading: int = 0
    shows_logits: bool = False
    counts_reuse: bool = True
    logit: float = 0.0
    calls: list[str] = field(default_factory=list)
    positions: list[list[tuple[int, int]]] = field(default_factory=list)
    held: dict[int, int] = field(default_factory=dict)

    def clock(self) -> int:
        self.now += self.reading
        return self.now

    def llama_decode(self, context: object, struct: Any) -> int:
        rows = [(struct.seq_id[i][0], struct.pos[i]) for i in range(struct.n_tokens)]
        for sequence, position in rows:
            assert position == self.held.get(sequence, 0), "a position was skipped or used twice"
            self.held[sequence] = position + 1
        self.positions.append(rows)
        self.calls.append(f"decode {struct.n_tokens}")
        self.now += DECODE_A_TOKEN * struct.n_tokens
        return self.code

    def llama_get_logits_ith(self, context: object, index: int) -> Any:
        self.now += 10**15
        return (ctypes.c_float * 100)(*[self.logit] * 100)

    def llama_synchronize(self, context: object) -> None:
        self.calls.append("synchronize")
        self.now += SYNCHRONIZE

    def llama_sampler_sample(self, chain: object, context: object, index: int) -> int:
        self.now += SAMPLE
        return 5

    def llama_tokenize(self, vocabulary: object, data: bytes, size: int, tokens: Any, *rest: Any) -> int:
        self.now += TOKENIZE
        count = len(data.split())
        tokens[:count] = [3] * count
        return count

    def llama_chat_apply_template(
        self, template: bytes, message: Any, count: int, add: bool, buffer: Any, size: int
    ) -> int:
        self.now += RENDER
        text = b"user " + message.contents.content
        buffer.value = text
        return len(text)

    def llama_batch_init(self, capacity: int, embeddings: int, sequences: int) -> Any:
        self.now += ANYTHING_ELSE
        return SimpleNamespace(
            n_tokens=0,
            token=[0] * capacity,
            pos=[0] * capacity,
            n_seq_id=[0] * capacity,
            seq_id=[[0] for _ in range(capacity)],
            logits=[0] * capacity,
        )

    def memory_clear(self) -> None:
        self.calls.append("clear")
        self.now += ANYTHING_ELSE
        self.held.clear()

    def memory_seq_rm(self, sequence: int, start: int) -> bool:
        self.calls.append(f"forget {sequence} from {start}")
        self.now += ANYTHING_ELSE
        if self.forgets:
            self.held[sequence] = start
        return self.forgets

    def llama_supports_gpu_offload(self) -> bool:
        return self.gpu

    def __getattr__(self, name: str) -> Any:
        known: dict[str, Any] = {
            "llama_chat_message": ChatMessage,
            "llama_batch_free": lambda *_: None,
            "llama_vocab_n_tokens": lambda *_: 100,
            "llama_vocab_type": lambda *_: 1,
            "llama_n_batch": lambda *_: 64,
            "llama_n_ubatch": lambda *_: 16,
            "llama_model_chat_template": lambda *_: b"a template",
            "llama_sampler_chain_default_params": dict,
            "llama_sampler_chain_init": lambda *_: "chain",
            "llama_sampler_chain_add": lambda *_: None,
            "llama_sampler_init_greedy": str,
            "llama_state_seq_get_size": lambda *_: 4,
            "llama_state_seq_get_data": self._save,
            "llama_state_seq_set_data": self._restore,
        }
        return known[name]

    def _save(self, context: object, buffer: Any, size: int, sequence: int) -> int:
        buffer[0] = self.held[sequence]
        return size

    def _restore(self, context: object, buffer: Any, size: int, sequence: int) -> int:
        self.calls.append(f"restore {sequence}")
        self.now += ANYTHING_ELSE
        self.held[sequence] = buffer[0]
        return size


class ChatMessage(ctypes.Structure):
    _fields_ = (("role", ctypes.c_char_p), ("content", ctypes.c_char_p))


def timed(llama: Llama, workload: Workload) -> Timed:
    bindings: Any = SimpleNamespace(
        llama=llama,
        renders_templates=True,
        has=lambda name: name == "llama_get_logits_ith" and llama.shows_logits,
        graphs_reused=lambda context: llama.calls.count("decode 1") if llama.counts_reuse else None,
        remembers=lambda model, memory: True,
        pooling_type=lambda context: 0,
        vocabulary_of=lambda model: "vocabulary",
        memory_of=lambda context: "memory",
        memory_clear=lambda memory: llama.memory_clear(),
        memory_seq_rm=lambda memory, sequence, start: llama.memory_seq_rm(sequence, start),
        memory_span=lambda memory, sequence: (0, llama.held.get(sequence, 0) - 1),
    )
    subject = LoadedSubject(bindings, "model", "context", {"n_gpu_layers": -1})
    work = Timed(subject, workload, seed=1, clock=llama.clock)
    work.rehearse()
    llama.calls.clear()
    llama.positions.clear()
    return work


def test_a_prompt_slice_times_one_decode_and_one_synchronize() -> None:
    found = timed(Llama(), Workload(10, 8, 0, 1)).prompt_slice(10)
    assert found == (10, (10 * DECODE_A_TOKEN + SYNCHRONIZE) / 1e9)


def test_each_slice_starts_where_the_last_one_ended() -> None:
    llama = Llama()
    work = timed(llama, Workload(40, 8, 30, 1))
    slices = [work.prompt_slice(16), work.prompt_slice(16), work.prompt_slice(16)]
    slices += [work.generation_slice(4), work.generation_slice(3)]
    assert [tokens for tokens, _ in slices] == [16, 16, 8, 4, 3]
    assert slices[3][1] == 4 * (DECODE_A_TOKEN + SYNCHRONIZE) / 1e9
    decoded = [position for rows in llama.positions for _, position in rows]
    assert decoded == [*range(30, 30 + 40), *range(70, 74), 74, *range(74, 77)]
    assert "forget 0 from 30" not in llama.calls


def test_a_prompt_that_was_read_is_no_slice() -> None:
    work = timed(Llama(), Workload(10, 8, 0, 1))
    work.prompt_slice(16)
    with pytest.raises(RefusedError, match="the prompt of this round has been read"):
        work.prompt_slice(16)
    work.end_round()
    assert work.prompt_slice(16)[0] == 10


def test_a_slice_of_more_than_a_batch_is_timed_as_a_whole() -> None:
    llama = Llama()
    found = timed(llama, Workload(150, 8, 0, 1)).prompt_slice(150)
    assert found == (150, (150 * DECODE_A_TOKEN + 3 * SYNCHRONIZE) / 1e9)
    assert [len(rows) for rows in llama.positions] == [64, 64, 22]


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        (True, [0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 7, 0, 1, 2, 0, 1, 2, 3]),
        (False, [0, 1, 2, 3, 4, 4, 5, 6, 7, 0, 1, 2, 3]),
    ],
    ids=["gpu", "cpu"],
)
def test_the_first_steps_are_decoded_twice_at_the_same_positions(gpu: bool, expected: list[int]) -> None:
    llama = Llama(gpu=gpu)
    work = timed(llama, Workload(10, 8, 0, 1))
    for _ in range(2):
        assert work.generation_slice(4) == (4, 4 * (DECODE_A_TOKEN + SYNCHRONIZE) / 1e9)
    work.end_round()
    work.generation_slice(4)
    decoded = [position for rows in llama.positions for _, position in rows]
    assert decoded == expected


@pytest.mark.parametrize("gpu", [True, False])
def test_a_memory_that_cannot_forget_has_no_lead_in(gpu: bool) -> None:
    llama = Llama(gpu=gpu, forgets=False)
    assert timed(llama, Workload(10, 8, 20, 1)).generation_slice(4)[0] == 4
    assert llama.calls.count("decode 1") == 4


def test_parallel_sequences_share_a_step() -> None:
    llama = Llama()
    work = timed(llama, Workload(5, 8, 20, 3))
    work.prompt_slice(15)
    assert work.generation_slice(2) == (6, 2 * (3 * DECODE_A_TOKEN + SYNCHRONIZE) / 1e9)
    assert llama.positions[-1] == [(0, 26), (1, 26), (2, 26)]


def test_the_prompts_of_parallel_sequences_are_read_one_after_the_other() -> None:
    llama = Llama()
    work = timed(llama, Workload(6, 8, 0, 4))
    assert [work.prompt_slice(16)[0] for _ in range(2)] == [16, 8]
    assert [sequence for sequence, _ in llama.positions[0]] == [0] * 6 + [1] * 6 + [2] * 4


def test_the_end_of_a_round_leaves_the_context_at_the_depth() -> None:
    llama = Llama()
    work = timed(llama, Workload(10, 8, 20, 2))
    work.prompt_slice(20)
    work.generation_slice(3)
    work.end_round()
    assert llama.held == {0: 20, 1: 20}
    work.request()
    assert llama.held == {0: 20, 1: 20}


def test_a_rehearsal_tells_the_seconds_of_a_step() -> None:
    llama = Llama()
    step = DECODE_A_TOKEN + SYNCHRONIZE + SAMPLE
    assert timed(llama, Workload(10, 8, 20, 1)).rehearse().step_seconds == step / 1e9
    assert timed(llama, Workload(10, 1, 20, 1)).rehearse().step_seconds == 0


def test_the_graphs_that_a_request_reused_are_those_of_no_other_work() -> None:
    llama = Llama()
    work = timed(llama, Workload(10, 8, 20, 1))
    work.generation_slice(3)
    assert work.rehearse().graphs_reused == 7  # decodes of single tokens, of which the first token needs none
    llama.counts_reuse = False
    assert work.rehearse().graphs_reused is None


def test_a_memory_that_cannot_forget_is_restored_instead() -> None:
    llama = Llama(forgets=False)
    work = timed(llama, Workload(10, 8, 20, 1))
    found = work.generation_slice(4)
    work.end_round()
    assert found[1] == 4 * (DECODE_A_TOKEN + SYNCHRONIZE) / 1e9
    assert llama.calls[-1] == "restore 0"
    assert llama.held == {0: 20}


def test_a_request_is_timed_from_its_text_to_each_of_its_tokens() -> None:
    found = timed(Llama(), Workload(10, 8, 20, 1)).request()
    prefill = RENDER + TOKENIZE + 10 * DECODE_A_TOKEN + SYNCHRONIZE + SAMPLE
    step = DECODE_A_TOKEN + SYNCHRONIZE + SAMPLE
    assert found == (prefill / 1e9, [step / 1e9] * 7)


def test_a_long_prompt_goes_in_batches_of_n_batch() -> None:
    llama = Llama()
    timed(llama, Workload(150, 1, 0, 1)).request()
    assert [call for call in llama.calls if call.startswith("decode")] == [
        "decode 64",
        "decode 64",
        "decode 22",
    ]


READING = 1


def stretched(nanoseconds: int, share: float) -> int:
    """What slowed work takes, on a clock whose readings take time, too.

    The slowdown reads the clock before the work and after it, and the second reading is stretched as well.
    """
    return READING + round((nanoseconds + READING) * (1 + share))


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_a_slowdown_stretches_every_decode_of_a_slice_inside_the_timed_region(share: float) -> None:
    work = timed(Llama(reading=READING), Workload(10, 8, 20, 1))
    work.injected_slowdown = share
    prompt = stretched(10 * DECODE_A_TOKEN + SYNCHRONIZE, share) + READING
    assert work.prompt_slice(10) == (10, prompt / 1e9)
    steps = 4 * stretched(DECODE_A_TOKEN + SYNCHRONIZE, share) + READING
    assert work.generation_slice(4) == (4, steps / 1e9)


def test_a_slowdown_stretches_the_decodes_of_a_request_and_nothing_else_of_it() -> None:
    work = timed(Llama(reading=READING), Workload(10, 8, 20, 1))
    work.injected_slowdown = 0.5
    decode = stretched(10 * DECODE_A_TOKEN + SYNCHRONIZE, 0.5)
    prefill = RENDER + TOKENIZE + decode + SAMPLE + READING
    step = stretched(DECODE_A_TOKEN + SYNCHRONIZE, 0.5) + SAMPLE + READING
    assert work.request() == (prefill / 1e9, [step / 1e9] * 7)


@pytest.mark.parametrize("ended", [False, True])
def test_without_a_slowdown_a_slice_reads_the_clock_twice_and_a_request_once_a_token(ended: bool) -> None:
    work = timed(Llama(reading=READING), Workload(10, 8, 20, 1))
    if ended:
        work.injected_slowdown = 0.5
        work.generation_slice(4)
        work.end_round()
        work.injected_slowdown = 0.0
    steps = 4 * (DECODE_A_TOKEN + SYNCHRONIZE) + READING
    assert work.generation_slice(4)[1] == steps / 1e9
    work.end_round()
    step = DECODE_A_TOKEN + SYNCHRONIZE + SAMPLE + READING
    assert work.request()[1] == [step / 1e9] * 7


def test_a_slowed_decode_that_fails_is_no_measurement() -> None:
    llama = Llama(reading=READING)
    work = timed(llama, Workload(10, 8, 0, 1))
    work.injected_slowdown = 0.5
    llama.code = 1
    with pytest.raises(RefusedError, match="raise n_ctx"):
        work.generation_slice(4)


def test_stalls_double_the_decodes_of_about_their_share_of_slices() -> None:
    work = timed(Llama(reading=READING), Workload(10, 400, 0, 1))
    work.injected_stalls = 0.25
    seen = [work.generation_slice(1)[1] * 1e9 - READING for _ in range(300)]
    usual = DECODE_A_TOKEN + SYNCHRONIZE
    assert {round(each) for each in seen} == {usual, stretched(usual, 1.0)}
    assert 0.15 < sum(each > 1.5 * usual for each in seen) / len(seen) < 0.35


def test_stalls_come_on_top_of_a_slowdown() -> None:
    work = timed(Llama(reading=READING), Workload(10, 8, 0, 1))
    work.injected_slowdown, work.injected_stalls = 0.5, 1.0
    steps = 2 * stretched(DECODE_A_TOKEN + SYNCHRONIZE, 2.0) + READING
    assert work.generation_slice(2) == (2, steps / 1e9)


@pytest.mark.parametrize("share", [-0.1, float("inf"), float("nan")])
def test_a_slowdown_that_is_not_a_share_is_refused(share: float) -> None:
    with pytest.raises(RefusedError, match=f"0 or more, not {share}"):
        checked_share(share)


def test_fresh_tokens_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    llama = Llama()
    work = timed(llama, Workload(16, 8, 0, 1))
    seen = []
    plain_decode = Llama.llama_decode

    def decode(self: Llama, context: object, struct: Any) -> int:
        seen.append(tuple(struct.token[: struct.n_tokens]))
        return plain_decode(self, context, struct)

    monkeypatch.setattr(Llama, "llama_decode", decode)
    for _ in range(3):
        work.prompt_slice(16)
        work.end_round()
    assert len(set(seen)) == 3


@pytest.mark.parametrize(("code", "words"), [(1, "raise n_ctx"), (-3, "code -3")])
def test_a_decode_that_fails_is_no_measurement(code: int, words: str) -> None:
    llama = Llama()
    work = timed(llama, Workload(10, 8, 0, 1))
    llama.code = code
    with pytest.raises(RefusedError, match=words):
        work.generation_slice(4)


def test_the_load_options_of_the_worker_are_those_of_the_records() -> None:
    from typing import get_args

    from pytest_llm import records

    assert set(get_args(records.CacheType)) == set(params._CACHE_TYPES)
    assert set(get_args(records.LoadMode)) == set(params._LOAD_MODES)
    assert set(get_args(records.SplitMode)) == set(params._SPLIT_MODES)
    assert set(get_args(records.FlashAttention)) == set(params._FLASH_ATTENTION)


def test_the_check_for_nan_is_no_part_of_the_time() -> None:
    blind, seen = Llama(), Llama(shows_logits=True)
    slices = []
    for llama in (blind, seen):
        work = timed(llama, Workload(10, 8, 0, 2))
        found = work.prompt_slice(20), work.generation_slice(4)
        work.end_round()
        slices.append((*found, work.request()))
    assert slices[0] == slices[1]
    assert seen.now > 10**15 > blind.now


@pytest.mark.parametrize("logit", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("take", ["prompt_slice", "request", "generation_slice"])
def test_logits_that_are_not_finite_are_no_measurement_and_the_round_can_be_ended(
    logit: float, take: str
) -> None:
    llama = Llama(shows_logits=True)
    work = timed(llama, Workload(10, 8, 0, 1))
    llama.logit = logit
    with pytest.raises(RefusedError, match="NaN or infinite logits") as caught:
        getattr(work, take)(*([] if take == "request" else [10]))
    assert caught.value.kind == "output"
    llama.logit = 0.0
    if take != "request":
        work.end_round()
        work.prompt_slice(10)
