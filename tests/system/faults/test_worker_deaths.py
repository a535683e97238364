"""Whatever ends a worker: one clear line, llama.cpp's own last words, and nothing left behind."""

from __future__ import annotations

import gc
import os
import re
import signal
import struct
import threading
import time
import venv
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from pytest_llm.engines.llama_cpp_python import process
from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.errors import (
    EngineError,
    EngineMissingError,
    LoadRefusedError,
    WorkerDiedError,
    WorkerHungError,
)
from pytest_llm.models import ModelStore
from pytest_llm.records import BuildReference, Installed, LoadOptions, Subject, Venv, Workload

from .preload import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_llm.engines.llama_cpp_python.client import LoadedModel
    from pytest_llm.records import Model

    from .conftest import Start

WORKLOAD = Workload(prompt_tokens=16, generate_tokens=16)
# In the middle of the rehearsal: graph 1 is the prompt, each one after it a token.
MIDDLE = 8


@pytest.fixture(scope="module")
def neighbour(starter: Start) -> LoadedModel:
    """A healthy subject beside the one that dies."""
    loaded = starter()
    loaded.rehearse(WORKLOAD)
    return loaded


@pytest.fixture(autouse=True)
def _nothing_left_behind(neighbour: LoadedModel) -> Iterator[None]:
    """No process and no open file is left after a test, and the neighbour has not noticed."""
    before = _left()
    yield
    assert _left() == before
    assert neighbour.generation_slice(2)[0] == 2


def _left() -> tuple[set[int], int]:
    gc.collect()  # a model that an error refers to keeps its file open
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    return children, len(list(Path("/proc/self/fd").iterdir()))


def ending_of(loaded: LoadedModel, act: Callable[[], object]) -> WorkerDiedError:
    """Let a worker die; return the error after checking what every such error has in common."""
    with pytest.raises(WorkerDiedError) as caught:
        act()
    assert not loaded.alive
    assert_clear(caught.value)
    written = [line.rstrip() for line in loaded.log().splitlines() if line.strip()]
    assert list(caught.value.log) == written[-len(caught.value.log) :]
    return caught.value


def assert_clear(error: EngineError) -> None:
    assert "\n" not in str(error)
    assert str(error).startswith("llama-cpp-python")


@pytest.mark.parametrize(
    ("number", "meaning"),
    [
        (signal.SIGILL, "an instruction this CPU lacks: rebuild with CMAKE_ARGS=-DGGML_NATIVE=OFF"),
        (signal.SIGSEGV, "a crash inside llama.cpp: try another build, or report it upstream"),
        (signal.SIGBUS, "a crash inside llama.cpp, or the model's file shrank while it was mapped"),
        (signal.SIGFPE, "a crash inside llama.cpp: try another build, or report it upstream"),
        (signal.SIGABRT, "llama.cpp gave up: its last lines say why"),
        (signal.SIGUSR1, "sent by someone"),
    ],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else "",
)
def test_a_signal_in_the_middle_of_a_decode_is_named_with_its_meaning(
    number: signal.Signals, meaning: str, start: Start
) -> None:
    loaded = start(Fault(signal=number, begin=MIDDLE))
    error = ending_of(loaded, lambda: loaded.rehearse(WORKLOAD))
    assert str(error) == (
        f"llama-cpp-python: the worker ended while going through a first request: {number.name}, {meaning}"
    )
    assert error.log[-1] == f"graph_compute: signal {int(number)} in graph {MIDDLE}"
    assert len(error.log) > 1


def test_a_worker_that_someone_kills_is_not_blamed_on_memory(start: Start) -> None:
    loaded = start(Fault(hang=True, begin=MIDDLE))
    killer = threading.Thread(target=_kill_when_it_hangs, args=(loaded,))
    killer.start()
    error = ending_of(loaded, lambda: loaded.rehearse(WORKLOAD))
    killer.join()
    assert str(error).endswith(
        "SIGKILL, sent by someone; the system's out-of-memory killer counted no victim"
    )


def _kill_when_it_hangs(loaded: LoadedModel) -> None:
    while "hangs" not in loaded.log():
        time.sleep(0.01)
    os.kill(loaded.pid, signal.SIGKILL)


def test_a_worker_killed_for_memory_says_what_to_do(start: Start, small_cgroup: Path) -> None:
    loaded = start(Fault(allocate=2**30, begin=MIDDLE))
    (small_cgroup / "cgroup.procs").write_text(str(loaded.pid))
    error = ending_of(loaded, lambda: loaded.rehearse(WORKLOAD))
    assert str(error).endswith(
        "killed by the out-of-memory killer: lower n_ctx, take a smaller model, or add memory"
    )


def test_a_kill_that_the_kernel_counted_is_a_kill_for_memory(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same where no control group can be made: the kernel's count is made up, the death is real.
    counts = iter([7, 8])
    monkeypatch.setattr(process, "oom_kills", lambda: next(counts))
    loaded = start(Fault(signal=signal.SIGKILL, begin=MIDDLE))
    error = ending_of(loaded, lambda: loaded.rehearse(WORKLOAD))
    assert "killed by the out-of-memory killer" in str(error)


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A control group of 256 MiB below this process's own, or beside it where it may not have any below."""
    for folder, limits in _cgroup_candidates(f"pytest-llm-{os.getpid()}"):
        with suppress(OSError):
            folder.mkdir()
            try:
                for name, value in limits.items():
                    (folder / name).write_text(value)
                yield folder
            finally:
                _remove(folder)
            return
    pytest.skip("this process may not make a control group that limits memory")


def _cgroup_candidates(name: str) -> Iterator[tuple[Path, dict[str, str]]]:
    root, limit = Path("/sys/fs/cgroup"), str(256 * 2**20)
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            yield root / "memory" / path.lstrip("/") / name, {"memory.limit_in_bytes": limit}
        elif not controllers and (root / "cgroup.controllers").exists():
            own = root / path.lstrip("/")
            for above in own, own.parent:
                yield above / name, {"memory.max": limit, "memory.swap.max": "0"}


def _remove(folder: Path) -> None:
    # Who was killed leaves a control group only once the kernel is done with it.
    for _ in range(100):
        with suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.05)


@pytest.mark.timed
def test_a_hanging_worker_is_ended_after_the_timeout(start: Start) -> None:
    # Starting takes less than a second; the rest is for busy machines.
    loaded = start(Fault(hang=True, begin=MIDDLE), timeout=8)
    started = time.monotonic()
    with pytest.raises(WorkerHungError) as caught:
        loaded.rehearse(WORKLOAD)
    assert 8 <= time.monotonic() - started < 16
    assert_clear(caught.value)
    assert str(caught.value) == (
        "llama-cpp-python: the worker gave no answer for 8 s while going through a first request, and was "
        "ended: raise --llm-timeout if the machine is that slow"
    )
    assert caught.value.log[-1] == f"graph_compute: graph {MIDDLE} hangs"
    while loaded.alive:  # killed, and soon gone
        assert time.monotonic() - started < 16


def test_a_dead_worker_stays_dead(start: Start) -> None:
    loaded = start(Fault(signal=signal.SIGSEGV, begin=MIDDLE))
    first = ending_of(loaded, lambda: loaded.rehearse(WORKLOAD))
    again = ending_of(loaded, lambda: loaded.generation_slice(1))
    assert "SIGSEGV" in str(first)
    assert "SIGSEGV" in str(again)
    loaded.close()
    loaded.close()


def test_a_refused_model_is_named_with_llama_cpps_reason(tmp_path: Path) -> None:
    path = tmp_path / "unheard-of.gguf"
    path.write_bytes(_header({"general.architecture": "unheard-of"}))
    model = ModelStore(tmp_path / "cache", {}, tmp_path).resolve(str(path))  # our own reader has no objection
    loaded = _start(Installed("llama-cpp-python"), model)
    try:
        with pytest.raises(LoadRefusedError) as caught:
            loaded.load()
        assert loaded.alive
    finally:
        loaded.close()
    assert_clear(caught.value)
    assert (
        str(caught.value)
        == f"llama-cpp-python: llama.cpp refused to load the model: {path}: error loading model: "
        "unknown model architecture: 'unheard-of'"
    )
    assert any("unknown model architecture: 'unheard-of'" in line for line in caught.value.log)


def test_options_that_no_context_can_have_are_refused_with_llama_cpps_reason(start: Start) -> None:
    loaded = start(load=False, type_v="q8_0", flash_attn="off")
    with pytest.raises(LoadRefusedError, match="loaded the model but refused to make a context") as caught:
        loaded.load()
    assert_clear(caught.value)
    assert "quantized V cache requires flash_attn" in caught.value.log[-1]


def test_a_model_that_vanished_is_refused(start: Start, smollm2: Model, tmp_path: Path) -> None:
    loaded = _start(Installed("llama-cpp-python"), replace(smollm2, path=str(tmp_path / "gone.gguf")))
    try:
        with pytest.raises(LoadRefusedError, match=re.escape(f"{tmp_path / 'gone.gguf'}")):
            loaded.load()
    finally:
        loaded.close()


def _header(keys: dict[str, str]) -> bytes:
    """A whole GGUF file: no tensors, and these texts."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    pairs = b"".join(text(key) + struct.pack("<I", 8) + text(value) for key, value in keys.items())
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys)) + pairs


def _start(build: BuildReference, model: Model) -> LoadedModel:
    return LlamaCppPython(build, 120.0).start(Subject(model.name, build, LoadOptions(n_ctx=512)), model)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment of its own, with nothing installed."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    return tmp_path / "venv"


def _install(environment: Path, llama_cpp: str) -> None:
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "llama_cpp.py").write_text(llama_cpp)


def _missing(folder: Path, model: Model) -> str:
    build = Venv("llama-cpp-python", str(folder))
    with pytest.raises(EngineMissingError) as caught:
        _start(build, model)
    assert_clear(caught.value)
    return str(caught.value)


def test_an_environment_without_llama_cpp_says_how_to_install_it(environment: Path, smollm2: Model) -> None:
    assert _missing(environment, smollm2) == (
        f"llama-cpp-python@venv:{environment}: ModuleNotFoundError: No module named 'llama_cpp' "
        f"({environment}/bin/python -m pip install llama-cpp-python)"
    )


def test_an_environment_whose_llama_cpp_is_broken_says_how(environment: Path, smollm2: Model) -> None:
    _install(environment, "raise AttributeError('libllama.so: undefined symbol: llama_new')")
    assert "AttributeError: libllama.so: undefined symbol: llama_new" in _missing(environment, smollm2)


def test_a_library_of_the_system_that_is_not_there_is_named_with_what_helps(
    environment: Path, smollm2: Model
) -> None:
    problem = "libvulkan.so.1: cannot open shared object file: No such file or directory"
    _install(environment, f"raise RuntimeError('Failed to load shared library: {problem}')")
    told = _missing(environment, smollm2)
    assert told.endswith(
        "(install the system's package that has libvulkan.so.1, which this build needs; if it is in a folder "
        "of your own, name that in LD_LIBRARY_PATH)"
    )


def test_a_llama_cpp_that_crashes_when_imported_is_told_as_a_death(environment: Path, smollm2: Model) -> None:
    _install(environment, "import os, sys\nprint('no such CPU', file=sys.stderr, flush=True)\nos.abort()")
    with pytest.raises(WorkerDiedError, match="SIGABRT") as caught:
        _start(Venv("llama-cpp-python", str(environment)), smollm2)
    assert_clear(caught.value)
    assert caught.value.log == ("no such CPU",)


def test_an_environment_without_python_is_named(tmp_path: Path, smollm2: Model) -> None:
    assert _missing(tmp_path, smollm2) == (
        f"llama-cpp-python@venv:{tmp_path}: {tmp_path}/bin/python cannot be started (No such file or "
        "directory): give an environment with llama-cpp-python in it"
    )


def test_a_dead_model_fails_its_own_test_and_the_next_one_gets_a_new_process(
    pytester: pytest.Pytester, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in Fault(signal=signal.SIGSEGV, begin=MIDDLE).environment(library).items():
        monkeypatch.setenv(name, value)
    pytester.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.llm_model("smollm2-135m", n_ctx=512, n_threads=1)

        def test_long(gguf_model):
            gguf_model.generate("Once", max_tokens=32)

        def test_short(gguf_model):
            assert len(gguf_model.generate("Once", max_tokens=4).tokens) == 4
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*WorkerDiedError: llama-cpp-python: the worker ended while *: SIGSEGV, *"])
