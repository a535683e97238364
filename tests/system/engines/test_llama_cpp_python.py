"""The real engine with a real model: what is asked for arrives, what is timed is what is said."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.errors import LoadRefusedError, RequestFailedError
from pytest_llm.machine.memory.rss import ProcessMemory
from pytest_llm.records import LoadOptions, Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_llm.engines.llama_cpp_python.client import LoadedModel
    from pytest_llm.records import Model
    from pytest_llm.records.generation import GGUFModel

    from .conftest import Start

SMALL = Workload(prompt_tokens=16, generate_tokens=8)
MIB = 2**20
# SmolLM2-135M: 30 layers, 3 KV heads of 64.
CACHE_ELEMENTS_A_TOKEN = 30 * 3 * 64


# --- The build and the load options ---------------------------------------------------------------------


@pytest.mark.quick
def test_the_build_tells_its_release_its_commit_and_its_features(loaded: LoadedModel) -> None:
    build = loaded.build
    assert re.fullmatch(r"\d+\.\d+\.\d+", build.version)
    assert re.fullmatch(r"[0-9a-f]{7,40}", build.llama_cpp_commit)
    assert build.where == sys.executable
    assert "CPU" in build.compiled_with


def test_resolved_options_are_what_the_context_really_has(start: Start) -> None:
    # llama.cpp pads n_ctx to a multiple of 256 and lowers the batches to the context that was asked for.
    effective_options = start(n_ctx=300, n_threads=1, n_threads_batch=2).effective_options()
    asked = {"n_ctx": 512, "n_batch": 300, "n_ubatch": 300, "n_seq_max": 1, "n_threads": 1}
    assert {name: effective_options[name] for name in asked} == asked
    assert effective_options["n_threads_batch"] == 2
    assert effective_options["graph_splits"] == "1"
    assert set(asdict(LoadOptions())) <= set(effective_options)


def test_what_the_model_brings_along_is_told_as_well(start: Start, loaded: LoadedModel) -> None:
    effective_options = loaded.effective_options()
    assert re.fullmatch("[0-9a-f]{12}", str(effective_options["chat_template"]))
    told = {"vocabulary_type": "bpe", "freq_base": 100000.0, "freq_scale": 1.0, "load_mode": "mmap"}
    assert {name: effective_options[name] for name in told} == told
    other = start(
        rope_freq_base=5000.0, rope_freq_scale=0.5, load_mode="direct_io", type_k="q8_0"
    ).effective_options()
    told = {"freq_base": 5000.0, "freq_scale": 0.5, "load_mode": "direct_io", "type_k": "q8_0"}
    assert {name: other[name] for name in told} == told


def test_decodes_that_use_the_graph_of_the_one_before_are_counted(start: Start) -> None:
    loaded = start()
    before = loaded.graphs_reused()  # what the model can do was asked by two decodes of one token
    assert before is not None
    assert before <= 1
    invariants: dict[str, Any] = dict(loaded.invariants())
    assert invariants["effective_options"]["graph_reuse"] == "on"
    counted = loaded.graphs_reused()
    assert counted is not None
    assert 6 <= counted - before <= 11


def test_flash_attention_left_to_llama_cpp_is_resolved_to_what_it_chose(loaded: LoadedModel) -> None:
    assert "flash_attn            = auto" in loaded.log()
    assert loaded.effective_options()["flash_attn"] in {"on", "off"}


@pytest.mark.parametrize("asked", ["on", "off"])
def test_flash_attention_is_switched(asked: str, start: Start, loaded: LoadedModel) -> None:
    effective_options = start(flash_attn=asked).effective_options()
    assert effective_options["flash_attn"] == asked
    same = asked == loaded.effective_options()["flash_attn"]
    assert (effective_options["graph_nodes"] == loaded.effective_options()["graph_nodes"]) == same


def named(value: object) -> str:
    """The id of a parameter: load options as they are written in markers."""
    return ", ".join(f"{key}={each}" for key, each in value.items()) if isinstance(value, dict) else ""


def cache_mib(loaded: LoadedModel) -> float:
    buffers: Any = loaded.effective_options()["buffers_mib"]
    return float(buffers["CPU KV"])


@pytest.mark.quick
def test_facts_are_the_sizes_the_tokens_and_what_the_model_says(
    loaded: LoadedModel, talker: GGUFModel, smollm2: Model
) -> None:
    invariants: dict[str, Any] = dict(loaded.invariants())
    assert (
        invariants["kv_bytes"] == 512 * 30 * 2 * 3 * 64 * 2
    )  # positions, layers, K and V, heads, width, f16
    assert 0 < smollm2.file_bytes - invariants["weights_bytes"] < 3 * 2**20  # the header, with its vocabulary
    assert talker.detokenize(invariants["greedy_output"]).startswith(" Paris")
    assert "東京" in talker.detokenize(invariants["token_ids"])
    assert invariants["effective_options"]["flash_attn"] == "on"
    assert not {"n_threads", "buffers_mib", "weights_bytes"} & invariants["effective_options"].keys()


def test_facts_are_the_same_with_more_threads_and_in_another_process(
    start: Start, loaded: LoadedModel
) -> None:
    assert start(n_threads=2, n_threads_batch=2).invariants() == loaded.invariants()


@pytest.mark.parametrize(
    ("options", "tokens", "bytes_k", "bytes_v"),
    [
        ({}, 512, 2, 2),
        ({"n_ctx": 1024}, 1024, 2, 2),
        ({"type_k": "q8_0"}, 512, 34 / 32, 2),
        ({"type_k": "f32", "type_v": "q4_0", "flash_attn": "on"}, 512, 4, 18 / 32),
    ],
    ids=named,
)
def test_the_cache_takes_exactly_the_bytes_of_its_types(
    options: dict[str, Any], tokens: int, bytes_k: float, bytes_v: float, start: Start
) -> None:
    expected = tokens * CACHE_ELEMENTS_A_TOKEN * (bytes_k + bytes_v) / MIB
    assert cache_mib(start(**options)) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ({"n_seq_max": 2}, r"n_ctx_seq +\(?= 256"),
        ({"n_seq_max": 2, "kv_unified": True}, r"kv_unified +\(?= true"),
        ({"n_batch": 128, "n_ubatch": 64}, r"n_ubatch +\(?= 64"),
        ({"rope_freq_base": 5000.0}, r"freq_base +\(?= 5000\.0"),
        ({"rope_freq_scale": 0.5}, r"freq_scale +\(?= 0\.5"),
        ({"load_mode": "none"}, r"load_mode = none\)"),
        ({"load_mode": "mmap+mlock"}, r"load_mode = mmap\+mlock\)"),
        ({"load_mode": "direct_io"}, r"load_mode = dio\)"),
    ],
    ids=named,
)
def test_llama_cpp_writes_that_it_got_the_option(
    options: dict[str, Any], written: str, start: Start, loaded: LoadedModel
) -> None:
    assert re.search(written, start(**options).log())
    assert not re.search(written, loaded.log())


def test_without_extra_buffer_types_no_weights_are_repacked(start: Start, loaded: LoadedModel) -> None:
    assert "CPU_REPACK" in loaded.log()
    assert "CPU_REPACK" not in start(use_extra_bufts=False).log()


def test_the_load_mode_is_mapping_unless_told_otherwise(start: Start, loaded: LoadedModel) -> None:
    assert "load_mode = mmap)" in loaded.log()
    assert "load_mode = mmap)" in start(load_mode="auto").log()


def test_smaller_ubatches_need_less_room_to_compute(start: Start, loaded: LoadedModel) -> None:
    small: Any = start(n_ubatch=64).effective_options()["buffers_mib"]
    large: Any = loaded.effective_options()["buffers_mib"]
    assert small["CPU compute"] < large["CPU compute"] / 4


@pytest.fixture
def spoilt(smollm2: Model, tmp_path: Path) -> Iterator[Model]:
    """SmolLM2, its last weights no numbers."""
    path = tmp_path / "spoilt.gguf"
    shutil.copyfile(smollm2.path, path)
    with path.open("r+b") as file:
        file.seek(-64, 2)
        file.write(b"\xff" * 64)
    yield replace(smollm2, path=str(path))
    path.unlink()  # large, and pytest keeps its folders


def test_tensors_are_checked_only_when_asked(spoilt: Model, start: Start) -> None:
    start(model=spoilt, check_tensors=False)
    with pytest.raises(LoadRefusedError) as caught:
        start(model=spoilt, check_tensors=True)
    assert any("invalid data" in line for line in caught.value.log)


# What a build without a GPU, or a model without sliding windows, shows nowhere else.
UNSEEN = {
    "n_gpu_layers": 7,
    "split_mode": 2,
    "main_gpu": 3,
    "offload_kqv": False,
    "op_offload": False,
    "swa_full": False,
}
STRUCTS = """
import json, sys
from pytest_llm.engines.llama_cpp_python.worker.bindings import Bindings
from pytest_llm.engines.llama_cpp_python.worker.params import context_params, model_params

options, bindings = json.loads(sys.argv[1]), Bindings()
structs = model_params(bindings, options), context_params(bindings.llama, options, False)
names = sys.argv[2:]
print(json.dumps({name: getattr(each, name) for each in structs for name in names if hasattr(each, name)}))
"""


def structs_of(options: LoadOptions) -> dict[str, Any]:
    # In a process of its own: this one never imports llama_cpp.
    command = [sys.executable, "-c", STRUCTS, json.dumps(asdict(options)), *UNSEEN]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_options_that_only_other_hardware_shows_are_in_llama_cpps_structs() -> None:
    asked = LoadOptions(
        n_gpu_layers=7, split_mode="row", main_gpu=3, offload_kqv=False, op_offload=False, swa_full=False
    )
    assert structs_of(asked) == UNSEEN
    usual = {**UNSEEN, "n_gpu_layers": 2**31 - 1, "split_mode": 1, "main_gpu": 0}
    assert structs_of(LoadOptions()) == {**usual, "offload_kqv": True, "op_offload": True, "swa_full": True}


def test_another_rope_base_changes_what_the_model_says(start: Start, talker: GGUFModel) -> None:
    other = start(talking=True, rope_freq_base=5000.0)
    prompt = "The capital of France is"
    usual = talker.top_logprobs(prompt, k=1)[-1].top[0]
    assert usual.text == " Paris"
    assert other.top_logprobs(prompt, 1)[-1].top[0].logprob != pytest.approx(usual.logprob, abs=0.01)


# --- Memory ---------------------------------------------------------------------------------------------


def peaks(loaded: LoadedModel) -> tuple[float, float]:
    """The peak of RAM and of its anonymous part over a load, in bytes."""
    with ProcessMemory().watch(loaded.pid) as seen:
        loaded.load()
    return seen["peak_ram"].values[0], seen["peak_ram_anonymous"].values[0]


def status(loaded: LoadedModel, field: str) -> int:
    """A field of the worker's status, in bytes."""
    text = Path(f"/proc/{loaded.pid}/status").read_text()
    return int(re.findall(rf"{field}:\s+(\d+) kB", text)[0]) * 1024


linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@linux_only
def test_mapped_weights_are_in_peak_ram_but_not_in_its_anonymous_part(start: Start, smollm2: Model) -> None:
    mapped_ram, mapped_anonymous = peaks(start(load=False))
    read_ram, read_anonymous = peaks(start(load=False, load_mode="none"))
    assert mapped_ram >= 0.97 * smollm2.file_bytes + mapped_anonymous  # the header is not weights
    assert read_ram >= 0.97 * smollm2.file_bytes
    assert read_anonymous - mapped_anonymous == pytest.approx(smollm2.file_bytes, rel=0.1)


@linux_only
def test_locked_weights_are_locked(start: Start, smollm2: Model) -> None:
    loaded = start(load_mode="mlock")
    refused = "failed to mlock" in loaded.log()  # ulimit -l
    assert refused or status(loaded, "VmLck") == pytest.approx(smollm2.file_bytes, rel=0.1)


# --- Slices and requests --------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 300])
def test_rounds_come_back_to_the_depth_that_they_started_from(depth: int, loaded: LoadedModel) -> None:
    # 512 tokens of context hold one round, never two.
    workload = Workload(prompt_tokens=110 if depth else 260, generate_tokens=16, depth=depth)
    loaded.rehearse(workload)
    for _ in range(2):
        tokens, seconds = loaded.prompt_slice(512)
        assert tokens == workload.prompt_tokens
        assert 0 < seconds < 60
        tokens, seconds = loaded.generation_slice(16)
        assert tokens == 16
        assert 0 < seconds < 60
        loaded.end_round()
        assert len(loaded.request()[1]) == 15


def test_a_prompt_is_read_ubatch_by_ubatch(start: Start) -> None:
    loaded = start(n_ubatch=32)
    loaded.rehearse(Workload(prompt_tokens=80, generate_tokens=2))
    assert loaded.prompt_batch == 32
    assert [loaded.prompt_slice(32)[0] for _ in range(3)] == [32, 32, 16]


@pytest.mark.parametrize("kv_unified", [False, True])
def test_parallel_sequences_are_decoded_together(kv_unified: bool, start: Start) -> None:
    loaded = start(n_seq_max=3, n_ctx=768, kv_unified=kv_unified)
    loaded.rehearse(Workload(prompt_tokens=16, generate_tokens=8, depth=20, parallel=3))
    for _ in range(2):
        assert loaded.prompt_slice(512)[0] == 48
        assert loaded.generation_slice(4)[0] == 12
        loaded.end_round()
        assert len(loaded.request()[1]) == 7


@pytest.mark.quick
@pytest.mark.parametrize("generated", [1, 2, 9])
def test_a_request_has_one_gap_less_than_it_has_tokens(generated: int, loaded: LoadedModel) -> None:
    loaded.rehearse(Workload(prompt_tokens=16, generate_tokens=generated))
    first, gaps = loaded.request()
    assert first > 0
    assert len(gaps) == generated - 1
    assert all(gap > 0 for gap in gaps)


@pytest.mark.timed
def test_more_work_takes_more_time(loaded: LoadedModel) -> None:
    loaded.rehearse(Workload(prompt_tokens=64, generate_tokens=16))
    rounds = []
    for _ in range(9):
        rounds.append((loaded.generation_slice(4)[1], loaded.generation_slice(16)[1]))
        loaded.end_round()
    assert 2 < median(long / short for short, long in rounds) < 8


@pytest.mark.timed
def test_a_drag_of_half_the_time_makes_slices_and_requests_take_half_as_long_again(start: Start) -> None:
    normal, slow = start(), start()
    slow.inject_slowdown(0.5)
    for each in normal, slow:
        each.rehearse(SMALL)
    generation, prompt, gaps = [], [], []
    for number in range(15):
        pair = (normal, slow) if number % 2 else (slow, normal)
        prompted = {each.pid: each.prompt_slice(SMALL.prompt_tokens)[1] for each in pair}
        generated = {each.pid: each.generation_slice(4)[1] for each in pair}
        for each in pair:
            each.end_round()
        requested = {each.pid: median(each.request()[1]) for each in pair}
        generation.append(generated[slow.pid] / generated[normal.pid])
        prompt.append(prompted[slow.pid] / prompted[normal.pid])
        gaps.append(requested[slow.pid] / requested[normal.pid])
    for ratios in generation, prompt, gaps:
        assert 1.2 < median(ratios) < 1.9


def test_a_drag_is_told_with_the_options_as_long_as_it_lasts(start: Start) -> None:
    subject = start()
    unslowed, build = subject.effective_options(), subject.build
    subject.inject_slowdown(0.05)
    assert subject.effective_options() == {**unslowed, "injected_slowdown": 0.05}
    assert subject.build == build
    with pytest.raises(RequestFailedError, match=r"0 or more, not -1\.0"):
        subject.inject_slowdown(-1.0)
    assert subject.effective_options()["injected_slowdown"] == 0.05
    subject.inject_slowdown(0.0, stalls=0.1)
    assert subject.effective_options() == {**unslowed, "injected_stalls": 0.1}
    subject.inject_slowdown(0.0)
    assert subject.effective_options() == unslowed


@pytest.mark.timed
def test_a_token_costs_more_deep_in_the_context(start: Start) -> None:
    shallow, deep = start(n_ctx=1280), start(n_ctx=1280)
    shallow.rehearse(SMALL)
    deep.rehearse(replace(SMALL, depth=1200))
    generation, prompt = [], []
    for number in range(9):
        pair = (shallow, deep) if number % 2 else (deep, shallow)
        prompted = {each.pid: each.prompt_slice(SMALL.prompt_tokens)[1] for each in pair}
        generated = {each.pid: each.generation_slice(4)[1] for each in pair}
        for each in pair:
            each.end_round()
        generation.append(generated[deep.pid] / generated[shallow.pid])
        prompt.append(prompted[deep.pid] / prompted[shallow.pid])
    assert median(generation) > 1.3
    assert median(prompt) > 1.3


# --- Text -----------------------------------------------------------------------------------------------


@pytest.mark.quick
def test_it_knows_the_capital_of_france(talker: GGUFModel) -> None:
    completion = talker.generate("The capital of France is", max_tokens=8)
    assert "Paris" in completion.text
    assert completion.finish == "length"
    assert len(completion.tokens) == 8
    assert completion.prompt_tokens == len(talker.tokenize("The capital of France is"))


def test_a_stop_text_ends_the_answer_and_is_not_part_of_it(talker: GGUFModel) -> None:
    whole = talker.generate("Count: one, two, three,", max_tokens=12)
    assert " five" in whole.text
    cut = talker.generate("Count: one, two, three,", max_tokens=12, stop=["five", "nowhere"])
    assert cut.text == whole.text.partition("five")[0]
    assert cut.finish == "stop"
    assert cut.tokens == whole.tokens[: len(cut.tokens)]
    assert cut.prompt_tokens == whole.prompt_tokens


@pytest.mark.parametrize(
    "text", ["Hello, world", "  two  spaces\n\nand lines\t", "naïve café", "🦙 und 日本語", "a\0b", ""]
)
def test_text_survives_being_tokenised(text: str, talker: GGUFModel) -> None:
    assert talker.detokenize(talker.tokenize(text)) == text


def test_special_tokens_are_recognised_unless_told_otherwise(talker: GGUFModel) -> None:
    assert len(talker.tokenize("<|im_start|>")) == 1
    assert len(talker.tokenize("<|im_start|>", parse_special=False)) > 1
    assert talker.detokenize(talker.tokenize("<|im_start|>")) == "<|im_start|>"


def test_a_character_of_several_tokens_comes_whole(talker: GGUFModel) -> None:
    # A row of emojis is continued with more of them, each three tokens long.
    tokens = list(talker.stream("🎉🎉🎉🎉🎉🎉🎉🎉", max_tokens=9))
    assert [token.text for token in tokens] == ["", "", "🎉"] * 3
    assert talker.detokenize([token.id for token in tokens]) == "🎉🎉🎉"
    unfinished = talker.generate("🎉🎉🎉🎉🎉🎉🎉🎉", max_tokens=8)
    assert unfinished.text == "🎉🎉\N{REPLACEMENT CHARACTER}"


@pytest.mark.quick
def test_a_stream_is_the_answer_piece_by_piece(talker: GGUFModel) -> None:
    whole = talker.generate("Once upon a time", max_tokens=10)
    streamed = list(talker.stream("Once upon a time", max_tokens=10))
    assert tuple(token.id for token in streamed) == whole.tokens
    assert "".join(token.text for token in streamed) == whole.text


def test_a_stream_left_early_does_not_disturb_the_next_answer(talker: GGUFModel) -> None:
    before = talker.generate("Once upon a time", max_tokens=6)
    left = talker.stream("The capital of France is", max_tokens=6)
    next(left)
    assert talker.generate("Once upon a time", max_tokens=6) == before


def test_equal_seeds_draw_equal_tokens_and_others_draw_others(talker: GGUFModel) -> None:
    def draw(seed: int) -> tuple[int, ...]:
        return talker.generate("Once upon a time", max_tokens=12, temperature=0.9, seed=seed).tokens

    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in range(1, 5)}) == 4


def test_drawing_from_the_likeliest_token_alone_is_greedy(talker: GGUFModel) -> None:
    greedy = talker.generate("Once upon a time", max_tokens=8)
    assert talker.generate("Once upon a time", max_tokens=8, temperature=1.5, top_k=1) == greedy
    assert talker.generate("Once upon a time", max_tokens=8, temperature=0.1, top_p=1e-6) == greedy


def test_a_chat_ends_where_the_model_ends_it(talker: GGUFModel) -> None:
    question = "What is the capital of France?"
    answer = talker.generate(
        f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n", max_tokens=32
    )
    assert answer.finish == "stop"
    assert answer.text == "The capital of France is Paris."
    assert len(answer.tokens) < 32


# --- What is likely -------------------------------------------------------------------------------------


def test_the_probabilities_of_all_tokens_add_up_to_one(talker: GGUFModel) -> None:
    (position,) = talker.top_logprobs(talker.tokenize("The"), k=talker.info.vocabulary_size)
    assert len(position.top) == talker.info.vocabulary_size
    assert math.fsum(math.exp(each.logprob) for each in position.top) == pytest.approx(1, abs=1e-6)
    assert len({each.id for each in position.top}) == talker.info.vocabulary_size


def test_likely_tokens_come_likeliest_first_with_their_text(talker: GGUFModel) -> None:
    for position in talker.top_logprobs("The capital of France is", k=20):
        logprobs = [each.logprob for each in position.top]
        assert logprobs == sorted(logprobs, reverse=True)
        assert len(logprobs) == 20
        assert position.top[0].text == talker.detokenize([position.top[0].id])


def test_a_tokens_own_logprob_is_what_its_predecessor_gave_it(talker: GGUFModel) -> None:
    tokens = talker.tokenize("The capital of France is Paris")
    positions = talker.top_logprobs(tokens, k=50)
    assert [position.token for position in positions] == tokens
    assert positions[0].logprob is None
    given = {each.id: each.logprob for each in positions[-2].top}
    assert positions[-1].logprob == given[tokens[-1]]


@pytest.mark.quick
def test_greedy_generation_takes_what_is_likeliest(talker: GGUFModel) -> None:
    prompt = talker.tokenize("Once upon a time")
    answer = talker.generate(prompt, max_tokens=12).tokens
    positions = talker.top_logprobs([*prompt, *answer], k=5)
    for token, position in zip(answer, positions[len(prompt) - 1 :], strict=False):
        logprobs = {each.id: each.logprob for each in position.top}
        # A batch and one token at a time round differently, so that two close ones may change places.
        assert logprobs[token] >= position.top[0].logprob - 0.05


def test_more_positions_than_an_ubatch_holds_are_all_answered(start: Start, talker: GGUFModel) -> None:
    prompt = talker.tokenize("one two three four five six seven eight nine ten " * 5)
    pieces = start(talking=True, n_ubatch=16, n_batch=32).top_logprobs(prompt, 1)
    whole = talker.top_logprobs(prompt, k=1)
    assert len(pieces) == len(whole) == len(prompt) > 32
    differences = [abs((a.logprob or 0) - (b.logprob or 0)) for a, b in zip(pieces, whole, strict=True)]
    assert max(differences) < 0.3


# --- Refusals -------------------------------------------------------------------------------------------


REFUSED: dict[str, tuple[Callable[[GGUFModel], object], str]] = {
    "token too large": (lambda it: it.generate([49152]), "token 49152 is not in the vocabulary of 49152"),
    "token negative": (lambda it: it.generate([-1]), "token -1 is not in the vocabulary of 49152"),
    "token huge": (lambda it: it.top_logprobs([2**31 - 1]), "is not in the vocabulary of 49152"),
    "text of no token": (lambda it: it.detokenize([49152]), "token 49152 is not in the vocabulary"),
    "empty text": (lambda it: it.generate(""), "the prompt is empty"),
    "no tokens": (lambda it: it.generate([]), "the prompt is empty"),
    "nothing likely": (lambda it: it.top_logprobs([]), "the prompt is empty"),
    "long prompt": (lambda it: it.generate([5] * 513, max_tokens=1), "n_ctx is 512: raise n_ctx"),
    "long answer": (lambda it: it.generate([5] * 500, max_tokens=13), "take 513 tokens, n_ctx is 512"),
    "long text": (lambda it: it.top_logprobs([5] * 513), "n_ctx is 512: raise n_ctx"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_work_that_cannot_be_is_refused_and_the_worker_goes_on(name: str, talker: GGUFModel) -> None:
    act, reason = REFUSED[name]
    with pytest.raises(RequestFailedError, match=re.escape(reason)) as caught:
        act(talker)
    assert str(caught.value).startswith("llama-cpp-python: ")
    assert "\n" not in str(caught.value)
    assert talker.generate("The capital of France is", max_tokens=1).text == " Paris"


@pytest.mark.parametrize(
    "workload",
    [
        Workload(prompt_tokens=400, generate_tokens=200),
        Workload(prompt_tokens=16, generate_tokens=8, depth=600),
        Workload(prompt_tokens=16, generate_tokens=8, parallel=2),
    ],
    ids=["too long", "too deep", "too many sequences"],
)
def test_a_workload_that_does_not_fit_is_refused_and_the_next_one_runs(
    workload: Workload, loaded: LoadedModel
) -> None:
    with pytest.raises(RequestFailedError):
        loaded.rehearse(workload)
    loaded.rehearse(SMALL)
    assert loaded.generation_slice(4)[0] == 4


def test_a_full_context_can_be_used_to_its_last_token(talker: GGUFModel) -> None:
    assert len(talker.generate([5] * 510, max_tokens=2).tokens) == 2
