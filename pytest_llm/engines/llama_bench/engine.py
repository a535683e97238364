"""llama-bench: upstream's own benchmark program, for builds of llama.cpp that no binding fits.

The program cannot stay loaded between two slices, so every slice is a process of its own. It loads the model,
warms up as llama-bench does (the prompt once, or one generated token), and times the inside alone. Two
subjects still have their slices next to each other in time, and only one process runs at a time.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from pytest_llm.engines import ENGINES, LLAMA_BENCH
from pytest_llm.engines.environment import recorded
from pytest_llm.engines.last_words import last_words
from pytest_llm.engines.libraries import Libraries, llama_library
from pytest_llm.engines.llama_bench import output
from pytest_llm.engines.llama_bench.options import arguments, read_help
from pytest_llm.engines.llama_bench.output import Request
from pytest_llm.engines.llama_cpp_python.process import worker_environment
from pytest_llm.engines.load_mode import ProcessMemory, real_load_mode
from pytest_llm.engines.offload_check import OffloadCheck
from pytest_llm.engines.program import EngineProgram, find_program, read_version
from pytest_llm.engines.slices_only import SlicesOnlyEngine, SlicesOnlySubject
from pytest_llm.engines.thread_check import ThreadCheck
from pytest_llm.errors import (
    EngineError,
    LoadRefusedError,
    RequestFailedError,
)
from pytest_llm.models import files_of
from pytest_llm.models.opened import loadable
from pytest_llm.records import Build, Commit
from pytest_llm.records.protocols import Coverage
from pytest_llm.system.sandbox import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pytest_llm.engines.llama_bench.options import Flag
    from pytest_llm.records import JSON, BuildReference, Model, Subject, Workload
    from pytest_llm.system.program import Ended

_NAME = "llama-bench"
_NEEDED = ("-m", "-o", "-r", "-p", "-n", "-b", "-t", "-ngl")
# One generated token: the program loads, makes a context, and describes itself.
_PROBE = Request(prompt=0, generate=1, depth=0, repetitions=1)
# At a depth, most programs decode the depth again for each repetition; without one, loading the model costs
# far more than a few repetitions.
_REPETITIONS = 5


class LlamaBench(SlicesOnlyEngine):
    """The engine: a program, started anew for each slice."""

    _program: tuple[EngineProgram, Mapping[str, Flag]] | None = None

    def __init__(
        self, reference: BuildReference, timeout: float, made: str = "", policy: Policy | None = None
    ) -> None:
        """Take the build; ``policy`` is how its processes are locked in, None is as far as the kernel can."""
        super().__init__(reference, timeout, made)
        self._policy = policy or Policy()

    def describe(self) -> Build:
        """Return what the program tells without a model.

        Raises:
            EngineError: It does not start, or is not llama-bench.
        """
        program, flags = self._checked()
        answer: dict[str, JSON] = {}
        if "--version" in flags:
            ended = program.run(["--version"], "printing its version")
            number, commit = read_version(ended.output + ended.log)
            answer = {"build_number": number, "build_commit": commit}
        return _build(answer, self.reference, program)

    def start(self, subject: Subject, model: Model) -> LoadedBench:
        """Return a subject to be measured; nothing is loaded yet.

        Raises:
            EngineMissingError: There is no such program.
            EngineError: It does not start, or is not llama-bench.
        """
        return LoadedBench(*self._checked(), self.reference, subject, model)

    def _checked(self) -> tuple[EngineProgram, Mapping[str, Flag]]:
        """Return the program, and the flags that it takes."""
        if self._program is None:
            name = str(self.reference)
            libraries = Libraries(name, worker_environment(os.environ))
            program = EngineProgram(
                find_program(_NAME, self.reference, self.made), name, self.timeout, libraries, self._policy
            )
            ended = program.run(["--help"], "printing its flags")
            flags = read_help(ended.output)
            lacking = [each for each in _NEEDED if each not in flags]
            if lacking:
                raise EngineError(
                    f"{self.reference}: {program.path} is not llama-bench: its --help has no "
                    f"{', '.join(lacking)}; name another program",
                    ended.last_lines() if ended.status else (),
                )
            if "jsonl" not in flags["-o"].choices:
                raise EngineError(f"{self.reference}: its -o has no jsonl: take a newer llama-bench")
            self._program = program, flags
        return self._program


class LoadedBench(SlicesOnlySubject):
    """A subject that a program loads for each slice."""

    def __init__(
        self,
        program: EngineProgram,
        flags: Mapping[str, Flag],
        reference: BuildReference,
        subject: Subject,
        model: Model,
    ) -> None:
        super().__init__(_build({}, reference, program))
        self._program = program
        self._flags = flags
        self._reference = reference
        self._load_options = subject.load_options
        self._threads = ThreadCheck(subject.load_options)
        self._model = model
        self._options: list[str] = []
        self._answer: Mapping[str, JSON] = {}
        self._effective_options: Mapping[str, JSON] = {}
        self._libraries: frozenset[Path] = frozenset()
        self._logs: list[str] = []
        self._workload: Workload | None = None

    def coverage(self, workload: Workload) -> Coverage:
        single = workload.parallel == self._load_options.n_seq_max == 1
        covers = ENGINES[LLAMA_BENCH].covers
        return Coverage(single and not workload.embed, requests=False, load=False, reason=covers)

    def load(self) -> float:
        """Have the program load the model once and describe it; return the seconds of the whole process.

        Raises:
            NotCoveredError: The file is no model that generates; the program would time it all the same.
            LoadRefusedError: It has no flag for a load option, or refuses the model; or a variable of the
                environment forbids the threads that were asked for.
            CPUFallbackError: Layers that were asked for are not on a device.
            EngineError: It died or hung, or had libraries of another build.
        """
        if "," in self._model.path:
            raise LoadRefusedError(
                f"{self._program.name}: llama-bench takes {self._model.path} for several models: give the "
                "file a path without a comma"
            )
        check = OffloadCheck(self._model.path, self._load_options)
        check.check_drafts(self._program.name)
        check.check_generates(self._program.name)
        check.check_text(self._model.opened, self._program.name)
        check.check_places(self._program.name)
        self._options = arguments(self._flags, self._load_options, self._program.name)
        verbose = ["-v"] if "-v" in self._flags else []
        started = time.monotonic()
        memory = ProcessMemory()
        answer, ended = self._bench(
            _PROBE,
            "loading the model",
            verbose,
            LoadRefusedError,
            memory.read,
        )
        seconds = time.monotonic() - started
        self._program.check_libraries(memory.mapped)
        self._libraries = self._program.code(memory.mapped)
        self.build = _build(answer, self._reference, self._program, llama_library(memory.mapped))
        self.on_gpu = output.on_gpu(answer)
        if not self.on_gpu:
            self._threads.check_environment(self.build)
        self._answer = answer
        messages = ended.log.splitlines()
        self._effective_options = self._really(output.effective_options(answer, messages), memory)
        check.check_weights(messages, str(self.build), named=self.on_gpu)
        return seconds

    def _really(self, written: Mapping[str, JSON], memory: ProcessMemory) -> dict[str, JSON]:
        """Return effective options with what was locked; a process may end before its files are seen."""
        locks = ProcessMemory()
        locks.locked = memory.locked
        buffers: Any = written.get("buffers_mib") or {}
        mode, path = str(written.get("load_mode", "auto")), self._model.path
        return {**written, **real_load_mode(mode, locks, path, buffers, on_gpu=self.on_gpu)}

    def libraries(self) -> frozenset[Path]:
        return self._libraries

    def effective_options(self) -> Mapping[str, JSON]:
        return {**self._effective_options, "threads_at_work": self._threads.at_once()}

    def invariants(self) -> Mapping[str, JSON]:
        return output.invariants(self._answer, self._effective_options)

    def rehearse(self, workload: Workload) -> float:
        """Take a workload; each process warms up by itself.

        Raises:
            RequestFailedError: The program knows no depth.
        """
        if workload.depth and "-d" not in self._flags:
            raise RequestFailedError(
                f"{self._program.name}: depth={workload.depth} cannot be had: this llama-bench has no flag "
                "-d; take a newer one, or leave the depth out"
            )
        self._workload = workload
        return 0.0

    def prompt_slice(self, tokens: int) -> tuple[int, float]:
        return self._slice(Request(tokens, 0, self._rehearsed().depth, 1), "decoding a prompt")

    def generation_slice(self, steps: int) -> tuple[int, float]:
        """Time a slice behind the prompt, as a request's; behind nothing if the program knows no depth."""
        work = self._rehearsed()
        depth = work.depth + work.prompt_tokens if "-d" in self._flags else 0
        return self._slice(Request(0, steps, depth, 1 if depth else _REPETITIONS), "generating")

    def log(self) -> str:
        return "".join(self._logs)

    def _rehearsed(self) -> Workload:
        assert self._workload is not None, "rehearse comes first"
        return self._workload

    def _slice(self, request: Request, doing: str) -> tuple[int, float]:
        answer, _ = self._bench(request, doing, [], RequestFailedError)
        return output.timed(answer)

    def _bench(
        self,
        request: Request,
        doing: str,
        also: Sequence[str],
        refused: type[EngineError],
        watch: Callable[[int], None] | None = None,
    ) -> tuple[Mapping[str, JSON], Ended]:
        depth = ["-d", str(request.depth)] if "-d" in self._flags else []
        descriptors = [each.descriptor for each in self._model.opened]
        with loadable(self._model) as path:
            words = ["-m", path, "-o", "jsonl", "-r", str(request.repetitions)]
            words += ["-p", str(request.prompt), "-n", str(request.generate), *depth, *self._options, *also]
            ended = self._program.run(words, doing, watch, files_of(self._model), descriptors)
        ended = ended._replace(log=ended.log.replace(path, self._model.path))
        self._logs.append(ended.log)
        if ended.status:
            last = last_words(ended.log or ended.output)
            raise refused(
                f"{self._program.name}: llama-bench ended with exit status {ended.status} while {doing}: "
                f"{last.cause or 'its last lines say why'}",
                last.lines,
            )
        try:
            return output.read_answer(ended.output, request), ended
        except output.WrongAnswerError as error:
            raise refused(
                f"{self._program.name}: the answer of llama-bench cannot be read: {error}; give the program "
                "itself, not one that wraps it",
                ended.last_lines(),
            ) from None


def _build(
    answer: Mapping[str, JSON], reference: BuildReference, program: EngineProgram, library: str = ""
) -> Build:
    unnumbered = reference.commit[:12] if isinstance(reference, Commit) else program.path
    return Build(
        engine=_NAME,
        version=output.version(answer, unnumbered),
        llama_cpp_commit=output.commit(answer),
        where=program.path,
        library=library,
        compiled_with=output.compiled_with(answer),
        environment=recorded(worker_environment(os.environ)),
    )
