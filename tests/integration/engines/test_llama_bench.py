"""llama-bench as an engine, on programs that look like the real one of two generations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.builds.reference import parse_build
from pytest_llm.engines import ENGINES, describe, engine_for
from pytest_llm.engines.llama_bench.engine import LlamaBench
from pytest_llm.engines.llama_bench.output import (
    Request,
    WrongAnswerError,
    commit,
    read_answer,
    timed,
    version,
)
from pytest_llm.errors import (
    CPUFallbackError,
    EngineError,
    EngineMissingError,
    LoadRefusedError,
    NotCoveredError,
    RequestFailedError,
    UsageError,
    WorkerDiedError,
    WorkerHungError,
)
from pytest_llm.models.footprint import Placed
from pytest_llm.models.footprint.prediction import Predicted
from pytest_llm.records import LoadOptions, Model, Program, Subject, Workload
from pytest_llm.records.protocols import Coverage
from tests.faults import fault
from tests.gguf_files import GGUF, array, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.engines.llama_bench.engine import LoadedBench

    Write = Callable[..., Path]

RELEASES = ("0.3.16", "0.3.36")
OPTIONS = LoadOptions(n_threads=2, n_threads_batch=2)
CHAT = Workload(prompt_tokens=128, generate_tokens=64)
DEEP = replace(CHAT, depth=1024)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF")
    return Model("m", str(path), "0" * 64, 4, "llama", "Q4_1", 1, 1, 1, 1, 1, 1, 1)


def started(
    program: Path, model: Model, options: LoadOptions = OPTIONS, timeout: float = 60.0
) -> LoadedBench:
    build = Program("llama-bench", str(program))
    return LlamaBench(build, timeout).start(Subject("m", build, options), model)


def ready(program: Path, model: Model, workload: Workload = CHAT, timeout: float = 60.0) -> LoadedBench:
    loaded = started(program, model, timeout=timeout)
    loaded.load()
    loaded.rehearse(workload)
    return loaded


def asked_of(diary: Path) -> dict[str, str]:
    """Return the last command line, by flag."""
    words = json.loads(diary.read_text(encoding="utf-8").splitlines()[-1])
    return dict(zip(words[::2], words[1::2], strict=True))


# ── what is measured ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("release", RELEASES)
def test_slices_are_tokens_and_the_seconds_that_the_program_timed(
    bench_program: Write, model: Model, release: str
) -> None:
    loaded = ready(bench_program(release, prompt=256.0, generation=50.0), model)
    assert not loaded.continues
    assert loaded.prompt_slice(128) == (128, 0.5)
    tokens, seconds = loaded.generation_slice(4)
    assert tokens == 4
    assert seconds == pytest.approx(0.08)


def test_slices_are_the_prompt_at_the_depth_and_what_follows_it(
    bench_program: Write, model: Model, tmp_path: Path
) -> None:
    loaded = ready(bench_program(diary=str(tmp_path / "diary")), model, replace(DEEP, prompt_tokens=1280))
    assert loaded.prompt_slice(1280)[0] == 1280
    asked = asked_of(tmp_path / "diary")
    assert (asked["-p"], asked["-n"], asked["-d"], asked["-r"]) == ("1280", "0", "1024", "1")
    loaded.generation_slice(16)
    asked = asked_of(tmp_path / "diary")
    # An old program would take the depth in again for each repetition.
    assert (asked["-p"], asked["-n"], asked["-d"], asked["-r"]) == ("0", "16", "2304", "1")
    assert (asked["-m"], asked["-o"], asked["-t"]) == (model.path, "jsonl", "2")


@pytest.mark.parametrize("release", RELEASES)
def test_what_the_program_tells_of_itself(bench_program: Write, model: Model, release: str) -> None:
    program = bench_program(release, answer={"build_number": 6097, "build_commit": "9515c613"})
    loaded = ready(program, model)
    assert str(loaded.build) == "llama-bench b6097 (llama.cpp 9515c613)"
    assert loaded.build.where == str(program)
    assert loaded.build.compiled_with.startswith("CPU : CPU = 1 | CPU_INFO = ")
    effective_options = loaded.effective_options()
    assert effective_options["flash_attn"] == ("off" if release == "0.3.16" else "auto")
    assert effective_options["load_mode"] in ("mmap", "auto")
    expected = {"n_batch": 2048, "n_ubatch": 512, "n_threads": 2, "type_k": "f16", "offload_kqv": True}
    assert {name: effective_options[name] for name in expected} == expected
    invariants = loaded.invariants()
    assert invariants["parameters"] == 134515008
    assert invariants["model_type"] == "llama 256M Q4_1"
    assert "n_threads" not in invariants["effective_options"]  # type: ignore[operator]
    assert (loaded.pid, loaded.on_gpu) == (0, False)


def test_a_program_that_does_not_know_its_number_goes_by_its_place(
    bench_program: Write, model: Model
) -> None:
    program = bench_program()
    assert started(program, model).build.release == f"llama-bench {program}"
    assert version({"build_number": 0}, "there") == version({}, "there") == "there"
    assert commit({"build_commit": "unknown"}) == commit({}) == ""


@pytest.mark.parametrize(
    "said",
    ["{number} ({commit})", "0.5.0-dev (build {number}, commit {commit})"],
)
def test_without_a_model_it_tells_its_version(bench_program: Write, said: str) -> None:
    program = bench_program(version=said, answer={"build_number": 6097, "build_commit": "9515c613"})
    build = describe(Program("llama-bench", str(program)), 60.0)
    assert build.release == "llama-bench b6097"
    assert build.llama_cpp_commit == "9515c613"
    old = bench_program("0.3.16")  # which has no --version
    assert describe(Program("llama-bench", str(old)), 60.0).release == f"llama-bench {old}"


def test_layers_are_on_a_gpu_where_there_is_one_and_it_was_to_have_some(
    bench_program: Write, model: Model
) -> None:
    gpu = {"gpu_info": "NVIDIA H100", "backends": "CUDA"}
    loaded = ready(bench_program(answer=gpu), model)
    assert loaded.on_gpu
    assert loaded.build.compiled_with.startswith("CUDA : CUDA = 1 | ")
    assert loaded.build.compiled_with.endswith(" | GPU_INFO = NVIDIA H100")
    assert not ready(bench_program(answer={**gpu, "n_gpu_layers": 0}), model).on_gpu


# What llama.cpp writes of the same weights with a device that takes all of them, and one that takes none.
USING = "llama_model_load_from_file_impl: using device CUDA0 (NVIDIA H100) - 80000 MiB free\n"
ON_DEVICE = (
    f"{USING}load_tensors: CUDA0 model buffer size = 10.00 MiB\n"
    "llama_kv_cache: CUDA0 KV buffer size = 0.02 MiB\n"
)
ON_CPU = f"{USING}load_tensors: CPU_Mapped model buffer size = 11.00 MiB\n"
H100 = {"gpu_info": "NVIDIA H100", "backends": "CUDA"}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("backends", ["CPU", "CUDA"])
def test_layers_that_no_device_can_take_are_an_error(
    bench_program: Write, model: Model, release: str, backends: str
) -> None:
    log = "load_tensors: CPU_Mapped model buffer size = 92.10 MiB\n"
    program = bench_program(release, answer={"backends": backends}, log=log)
    with pytest.raises(
        CPUFallbackError, match="n_gpu_layers=12 asks for layers on a device, and all of"
    ) as told:
        started(program, model, replace(OPTIONS, n_gpu_layers=12)).load()
    assert told.value.log == (log.strip(),)
    silent = bench_program(release, answer={"backends": backends})
    with pytest.raises(CPUFallbackError, match="no GPU backend, or none that finds a device"):
        started(silent, model, replace(OPTIONS, n_gpu_layers=12)).load()


@pytest.mark.parametrize("layers", [-1, 0])
def test_without_a_device_what_there_is_will_do_where_no_number_of_layers_was_asked_for(
    bench_program: Write, model: Model, layers: int
) -> None:
    started(bench_program(), model, replace(OPTIONS, n_gpu_layers=layers)).load()


@pytest.fixture
def _ten_mib_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def predicted(path: str, options: LoadOptions, *, on_device: bool) -> Predicted:
        there = 10 * 2**20 * on_device * (options.n_gpu_layers != 0)
        cache = 50 * 2**20 * options.offload_kqv
        return Predicted(Placed(2**20, there), Placed(0, cache), None, 3 * bool(there), 4 * 2**20)

    monkeypatch.setattr("pytest_llm.engines.offload_check.predict_file", predicted)


@pytest.mark.usefixtures("_ten_mib_for_the_device")
@pytest.mark.parametrize("layers", [-1, 12])
def test_layers_that_a_device_was_there_for_and_did_not_get_are_an_error(
    bench_program: Write, model: Model, layers: int
) -> None:
    started(bench_program(answer=H100, log=ON_DEVICE), model, replace(OPTIONS, n_gpu_layers=layers)).load()
    short = bench_program(answer=H100, log=ON_CPU)
    with pytest.raises(
        CPUFallbackError, match=r"with 10\.00 MiB of weights: about 0 with 0\.00 MiB are there"
    ):
        started(short, model, replace(OPTIONS, n_gpu_layers=layers)).load()
    started(short, model, replace(OPTIONS, n_gpu_layers=0)).load()


def test_a_program_that_names_a_gpu_and_keeps_its_log_is_believed(bench_program: Write, model: Model) -> None:
    loaded = started(bench_program(answer=H100), model, replace(OPTIONS, n_gpu_layers=12))
    loaded.load()
    assert loaded.on_gpu


def test_a_program_too_old_to_name_the_gpu_is_believed_by_its_log(bench_program: Write, model: Model) -> None:
    started(bench_program(log=ON_DEVICE), model, replace(OPTIONS, n_gpu_layers=12)).load()


# ── what is not ─────────────────────────────────────────────────────────────────────────────────────


def test_speeds_of_one_sequence_are_covered_and_nothing_else(bench_program: Write, model: Model) -> None:
    loaded = started(bench_program(), model)
    covers = ENGINES["llama-bench"].covers
    assert loaded.coverage(CHAT) == Coverage(slices=True, requests=False, load=False, reason=covers)
    assert not loaded.coverage(replace(CHAT, parallel=2)).slices
    several = started(bench_program(), model, replace(OPTIONS, n_seq_max=2))
    assert not several.coverage(CHAT).slices


_FORGED = (
    "x'\nload_tensors: CUDA0 model buffer size = 10.00 MiB",
    USING,
    "offloaded 3/3 layers",
    "flash_attn = 1",
)


@fault(
    "a model whose tokens, for llama-bench, read as a log of layers on a GPU",
    "the model is refused, and the text shown",
)
@pytest.mark.parametrize(
    ("place", "forged"),
    [  # each place and each text once in every run; all pairs in the slow tests
        pytest.param(place, text, marks=[] if at == line else [pytest.mark.slow])
        for at, place in enumerate(("token", "name", "tensor", "path"))
        for line, text in enumerate(_FORGED)
    ],
)
def test_a_model_whose_text_reads_as_a_log_is_refused(
    forged: str, place: str, bench_program: Write, model: Model, tmp_path: Path
) -> None:
    gguf, path = GGUF(), tmp_path / "forged.gguf"
    if place == "token":
        tokens = array(GGUF.STRING, [text("a"), text(forged)])
        gguf = gguf.with_key("tokenizer.ggml.merges", GGUF.ARRAY, tokens)
    elif place == "name":
        gguf = gguf.with_key("general.name", GGUF.STRING, text(forged))
    elif place == "tensor":
        gguf = replace(gguf, tensors=(replace(gguf.tensors[0], name=forged[:63]), *gguf.tensors[1:]))
    else:
        path = tmp_path / forged
        path.parent.mkdir(exist_ok=True)
    path.write_bytes(gguf.build())
    program = bench_program(answer=H100, log=ON_CPU)
    with pytest.raises(LoadRefusedError, match=r"would read as a message of llama\.cpp") as caught:
        started(program, replace(model, path=str(path))).load()
    assert str(caught.value).isprintable()


def test_nobody_talks_with_it_and_it_is_never_slower_than_it_is(bench_program: Write, model: Model) -> None:
    program = bench_program()
    build = Program("llama-bench", str(program))
    with pytest.raises(NotCoveredError, match="it measures prompt and generation speed only"):
        LlamaBench(build, 60.0).start_generation(Subject("m", build, OPTIONS), model)
    loaded = started(program, model)
    with pytest.raises(NotCoveredError, match="speed only"):
        loaded.request()
    with pytest.raises(NotCoveredError, match="speed only"):
        loaded.inject_slowdown(0.05)
    loaded.inject_slowdown(0.0)


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────────


def test_an_old_program_without_depth_measures_what_has_none(bench_program: Write, model: Model) -> None:
    loaded = ready(bench_program("0.3.16", without=("-d",)), model)
    assert loaded.generation_slice(4)[0] == 20
    with pytest.raises(RequestFailedError, match=r"depth=1024 cannot be had: .* has no flag -d; take"):
        loaded.rehearse(DEEP)


def test_a_flag_that_the_program_does_not_take_after_all_shows_its_words(
    bench_program: Write, model: Model
) -> None:
    program = bench_program(without=("-b",))
    with pytest.raises(EngineError, match="is not llama-bench: its --help has no -b"):
        started(program, model)
    loaded = started(bench_program(), model)
    bench_program(without=("-ctk",))  # the same file, other flags than its help had
    with pytest.raises(LoadRefusedError, match="exit status 1 while loading the model") as caught:
        loaded.load()
    assert "error: invalid parameter for argument: -ctk" in caught.value.log


def test_a_model_that_it_refuses(bench_program: Write, model: Model) -> None:
    Path(model.path).write_bytes(b"ZIP!")
    with pytest.raises(LoadRefusedError) as caught:
        started(bench_program(), model).load()
    assert caught.value.log == (f"llama_bench: error: failed to load model '{model.path}'",)
    with pytest.raises(LoadRefusedError, match="a path without a comma"):
        started(bench_program(), replace(model, path="a,b.gguf")).load()


@pytest.mark.parametrize(
    ("when", "doing"),
    [("load", "loading the model"), ("prompt", "decoding a prompt"), ("generation", "generating")],
)
def test_a_crash_is_told_with_what_it_was_doing(
    bench_program: Write, model: Model, when: str, doing: str
) -> None:
    program = bench_program(trouble="crash", when=when)

    def measure() -> None:
        loaded = ready(program, model)
        loaded.prompt_slice(128)
        loaded.generation_slice(4)

    with pytest.raises(WorkerDiedError, match=f"the program ended while {doing}: SIGABRT") as caught:
        measure()
    assert caught.value.log == ("ggml.c:1: GGML_ASSERT(false) failed",)


def test_a_program_that_hangs_is_ended(bench_program: Write, model: Model) -> None:
    loaded = ready(bench_program(), model)
    hanging = started(bench_program(trouble="hang", when="load"), model, timeout=60.0)
    impatient = hanging._program._replace(timeout=0.5)
    hanging._program = impatient
    with pytest.raises(WorkerHungError, match=r"did not end within 0\.5 s while loading the model"):
        hanging.load()
    assert loaded.log() == ""


@pytest.mark.parametrize("trouble", ["garbage", "silence"])
def test_an_answer_that_is_none_is_told(bench_program: Write, model: Model, trouble: str) -> None:
    with pytest.raises(LoadRefusedError, match="the answer of llama-bench cannot be read: it wrote"):
        started(bench_program(trouble=trouble), model).load()
    loaded = ready(bench_program(trouble=trouble, when="prompt"), model)
    with pytest.raises(RequestFailedError, match="cannot be read"):
        loaded.prompt_slice(128)


ANSWER = {"n_prompt": 8, "n_gen": 0, "n_depth": 4, "samples_ns": [500, 700]}


def test_an_answer_is_read_by_what_was_asked() -> None:
    asked = Request(prompt=8, generate=0, depth=4, repetitions=2)
    assert timed(read_answer(json.dumps(ANSWER) + "\n", asked)) == (16, 1200 / 1e9)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("", "it wrote 0 lines"),
        ("{}\n{}\n", "it wrote 2 lines"),
        ("{", "it is not JSON"),
        (json.dumps(ANSWER).replace("500", "NaN"), "it holds NaN"),
        (json.dumps(ANSWER)[:-1] + ', "n_gen": 0}', "it holds the key 'n_gen' twice"),
        ("[]", "not an object"),
        (json.dumps({**ANSWER, "n_prompt": 512}), "instead of"),
        (json.dumps({**ANSWER, "n_depth": 0}), "instead of"),
        (json.dumps({**ANSWER, "samples_ns": "fast"}), "are not times: 'fast'"),
        (json.dumps({**ANSWER, "samples_ns": [500, 0]}), "are not times"),
        (json.dumps({**ANSWER, "samples_ns": [500, True]}), "are not times"),
        (json.dumps({**ANSWER, "samples_ns": [500]}), "it has 1 samples_ns instead of 2"),
        (json.dumps({**ANSWER, "n_gpu_layers": "all"}), "its n_gpu_layers is 'all'"),
        (json.dumps({**ANSWER, "type_k": {"f16": 1}}), "its type_k is {'f16': 1}"),
        (json.dumps({**ANSWER, "gpu_info": ["H100"]}), "its gpu_info is"),
    ],
)
def test_an_answer_to_something_else_is_none(output: str, reason: str) -> None:
    with pytest.raises(WrongAnswerError, match=reason):
        read_answer(output, Request(prompt=8, generate=0, depth=4, repetitions=2))


# ── which program is meant ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("written", ["programs/llama-bench", "programs", "."])
def test_a_program_is_named_by_its_path_or_its_folder(
    bench_program: Write, tmp_path: Path, written: str
) -> None:
    program = bench_program()
    (tmp_path / "bin").symlink_to("programs")
    build = parse_build(f"llama-bench@bin:{written}", tmp_path)
    place = tmp_path / "bin" / "llama-bench" if written == "." else program
    assert build == Program("llama-bench", str(place))
    assert parse_build(str(build), Path("/")) == build


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("llama-bench@0.3.36", "'0.3.36' is not a place of llama-bench; write llama-bench@bin:PATH for the"),
        ("llama-bench@venv:.", "or llama-bench alone for the one on PATH"),
        ("llama-bench@lib:.", "is not a place of llama-bench"),
        ("llama-bench@bin:", "is not a place of llama-bench"),
        ("llama-bench@bin:nowhere", "there is no program"),
        ("llama-bench@bin:m.txt", "is no program; name the one that was compiled"),
        ("bin:programs", "'bin:programs' is not a place of llama-cpp-python"),
    ],
)
def test_a_place_that_llama_bench_does_not_have_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "m.txt").touch()
    with pytest.raises(UsageError) as caught:
        parse_build(text, tmp_path)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_name_alone_is_the_program_on_path(
    bench_program: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = bench_program()
    alone = parse_build("llama-bench", tmp_path)
    monkeypatch.setenv("PATH", str(program.parent))
    assert describe(alone, 60.0).where == str(program)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(EngineMissingError, match="it is not on PATH: name the program or its folder"):
        describe(alone, 60.0)


def test_the_program_of_a_build_that_was_made_comes_first(bench_program: Write) -> None:
    made = bench_program(name="made")
    engine = engine_for(Program("llama-bench", "/nowhere"), 60.0, str(made))
    assert isinstance(engine, LlamaBench)
    assert engine.describe().where == str(made)


def test_what_is_no_llama_bench_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "llama-bench"
    program.write_text("#!/bin/sh\necho hello\n", encoding="utf-8")
    program.chmod(0o755)
    with pytest.raises(EngineError, match="is not llama-bench: its --help has no -m, -o"):
        describe(Program("llama-bench", str(program)), 60.0)
    program.write_text("#!/nowhere/at/all\n", encoding="utf-8")
    with pytest.raises(EngineMissingError, match="cannot be started"):
        describe(Program("llama-bench", str(program)), 60.0)
