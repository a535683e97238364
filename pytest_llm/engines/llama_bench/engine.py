"""llama-bench: upstream's own benchmark program, for builds of llama.cpp that no binding fits.

It cannot stay loaded between two slices: what it is asked to do it does to the end, and then it ends. So
every slice is a process of its own, which loads the model, warms up as llama-bench does (the prompt once, or
one generated token), and times the inside alone. Two subjects still have their slices next to each other in
time, and nothing of the one runs while the other is timed.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from pytest_llm.engines.llama_bench import output
from pytest_llm.engines.llama_bench.options import Flag, arguments, read_help
from pytest_llm.engines.llama_bench.output import Asked
from pytest_llm.engines.llama_bench.process import run_once
from pytest_llm.engines.llama_cpp_python.process import worker_environment
from pytest_llm.engines.offload_check import OffloadCheck
from pytest_llm.errors import (
    EngineError,
    EngineMissingError,
    LoadRefusedError,
    NotCoveredError,
    RequestFailedError,
)
from pytest_llm.records import Build
from pytest_llm.records.protocols import Coverage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.engines.llama_bench.process import Ended
    from pytest_llm.records import JSON, BuildReference, Model, Subject, Workload

_NAME = "llama-bench"
_ONLY = "llama-bench measures prompt and generation speed only"
_NEEDED = ("-m", "-o", "-r", "-p", "-n", "-b", "-t", "-ngl")
# "version: 6097 (9515c613)", later "version: 0.5.0 (build 9915, commit 0c1e570)".
_VERSION = re.compile(r"version: (?:(?P<number>\d+) \(|.*\(build (?P<build>\d+), commit )(?P<commit>\w+)\)")
# One token generated: it loads, makes a context, and says what it is.
_LOOK = Asked(prompt=0, generate=1, depth=0, repetitions=1)
# At a depth, most programs take the depth in again for each repetition; without one, loading the model costs
# far more than a few.
_REPETITIONS = 5
# What programs need to start, and does not change speed.
_NO_MATTER = ("PATH", "HOME", "TMPDIR", "LANG", "XDG_CACHE_HOME", "LC_")


class _Program(NamedTuple):
    """A program and what it takes."""

    path: str
    name: str
    timeout: float
    flags: Mapping[str, Flag]

    def run(self, words: Sequence[str], doing: str) -> Ended:
        return run_once([self.path, *words], worker_environment(os.environ), self.timeout, self.name, doing)


class LlamaBench:
    """The engine: a program, started anew for each slice."""

    def __init__(self, build: BuildReference, timeout: float, program: str = "") -> None:
        """Take the build, the seconds that a slice may take, and the program of a build that was made."""
        self._build = build
        self._timeout = timeout
        self._made = program
        self._program: _Program | None = None

    def describe(self) -> Build:
        """Return what the program says of itself without a model.

        Raises:
            EngineError: It does not start, or is no llama-bench.
        """
        program = self._asked()
        told: dict[str, JSON] = {}
        if "--version" in program.flags:
            ended = program.run(["--version"], "saying its version")
            said = _VERSION.search(ended.output + ended.log)
            if said:
                number = int(said["number"] or said["build"])
                told = {"build_number": number, "build_commit": said["commit"]}
        return _build(told, self._build, program)

    def start(self, subject: Subject, model: Model) -> LoadedBench:
        """Return a subject to be measured; nothing is loaded yet.

        Raises:
            EngineMissingError: There is no such program.
            EngineError: It does not start, or is no llama-bench.
        """
        return LoadedBench(self._asked(), self._build, subject, model)

    def start_generation(self, subject: Subject, model: Model) -> NoReturn:  # noqa: ARG002
        """Refuse.

        Raises:
            NotCoveredError: Always: llama-bench says nothing of what a model says.
        """
        raise NotCoveredError(f"{self._build}: nobody can talk with it: {_ONLY}")

    def _asked(self) -> _Program:
        if self._program is None:
            unasked = _Program(self._path(), str(self._build), self._timeout, {})
            flags = read_help(unasked.run(["--help"], "saying which flags it has").output)
            lacking = [each for each in _NEEDED if each not in flags]
            if lacking:
                raise EngineError(
                    f"{self._build}: {unasked.path} is no llama-bench: its --help tells of no "
                    f"{', '.join(lacking)}; name another program"
                )
            if "jsonl" not in flags["-o"].choices:
                raise EngineError(f"{self._build}: its -o has no jsonl: take a newer llama-bench")
            self._program = unasked._replace(flags=flags)
        return self._program

    def _path(self) -> str:
        if self._made or self._build.where:
            return self._made or self._build.where
        found = shutil.which(_NAME)
        if found is None:
            raise EngineMissingError(
                f"{_NAME}: there is none on PATH: name the program or its folder, {_NAME}@bin:PATH"
            )
        return found


class LoadedBench:
    """A subject that a program loads for each slice; see ``Loaded`` of :mod:`pytest_llm.records.protocols`.

    Attributes:
        pid: 0: no process stays whose memory could be watched.
        build: The build as it describes itself.
        on_gpu: Whether layers were put on a GPU; known after ``load``.
    """

    pid = 0

    def __init__(self, program: _Program, build: BuildReference, subject: Subject, model: Model) -> None:
        self._program = program
        self._reference = build
        self._subject = subject
        self._model = model
        self._options: list[str] = []
        self._told: Mapping[str, JSON] = {}
        self._effective_options: Mapping[str, JSON] = {}
        self._logs: list[str] = []
        self._workload: Workload | None = None
        self.build = _build({}, build, program)
        self.on_gpu = False

    def coverage(self, workload: Workload) -> Coverage:
        """Return what can be measured: the speeds of one sequence."""
        single = workload.parallel == self._subject.load_options.n_seq_max == 1
        return Coverage(slices=single, requests=False, load=False)

    def load(self) -> float:
        """Have the program load the model once and say what it is; return the seconds of the whole process.

        Raises:
            LoadRefusedError: It has no flag for a load option, or refuses the model.
            CPUFallbackError: Layers that were asked for are not on a device.
            EngineError: It died or hung.
        """
        if "," in self._model.path:
            raise LoadRefusedError(
                f"{self._program.name}: llama-bench takes {self._model.path} for several models: give the "
                "file a path without a comma"
            )
        self._options = arguments(self._program.flags, self._subject.load_options, self._program.name)
        verbose = ["-v"] if "-v" in self._program.flags else []
        started = time.monotonic()
        answer, ended = self._bench(_LOOK, "loading the model", verbose, LoadRefusedError)
        seconds = time.monotonic() - started
        self.build = _build(answer, self._reference, self._program)
        self.on_gpu = output.on_gpu(answer)
        self._told, self._effective_options = answer, output.effective_options(answer, ended.log)
        devices = OffloadCheck(self._model.path, self._subject.load_options)
        devices.check_weights(ended.log, str(self.build), named=self.on_gpu)
        return seconds

    def effective_options(self) -> Mapping[str, JSON]:
        """Return the load options as the program tells them back."""
        return self._effective_options

    def inject_slowdown(self, share: float) -> None:
        """Refuse to be slower than the build is.

        Raises:
            NotCoveredError: Always, unless the share is 0.
        """
        if share:
            raise NotCoveredError(f"{self._program.name}: it cannot be made slower: {_ONLY}")

    def invariants(self) -> Mapping[str, JSON]:
        """Return what the program tells of the model and the options."""
        return output.invariants(self._told, self._effective_options)

    def on_devices(self) -> Mapping[str, float]:
        """Return nothing: no process stays that could be asked."""
        return {}

    def rehearse(self, workload: Workload) -> None:
        """Stand at the workload's depth from now on; each process warms up by itself.

        Raises:
            RequestFailedError: The program knows no depth.
        """
        if workload.depth and "-d" not in self._program.flags:
            raise RequestFailedError(
                f"{self._program.name}: depth={workload.depth} cannot be had: this llama-bench has no flag "
                "-d; take a newer one, or leave the depth out"
            )
        self._workload = workload

    def prompt_slice(self) -> tuple[int, float]:
        """Time one ubatch of fresh prompt (the whole prompt, if shorter): tokens and seconds."""
        work = self._rehearsed()
        tokens = min(work.prompt_tokens, self._subject.load_options.n_ubatch)
        return self._slice(Asked(tokens, 0, work.depth, 1), "decoding a prompt")

    def generation_slice(self, steps: int) -> tuple[int, float]:
        """Time ``steps`` decodes of one token, without a depth several times: tokens and seconds."""
        work = self._rehearsed()
        return self._slice(Asked(0, steps, work.depth, 1 if work.depth else _REPETITIONS), "generating")

    def generate_steps(self, steps: int) -> NoReturn:  # noqa: ARG002
        """Refuse.

        Raises:
            NotCoveredError: Always: after each of its programs, nothing is held any more.
        """
        raise NotCoveredError(f"{self._program.name}: it generates nothing that stays: {_ONLY}")

    def request(self) -> NoReturn:
        """Refuse.

        Raises:
            NotCoveredError: Always: llama-bench neither tokenises nor samples.
        """
        raise NotCoveredError(f"{self._program.name}: it goes through no requests: {_ONLY}")

    def suspend(self) -> None:
        """Do nothing: between slices no process is there."""

    def resume(self) -> None:
        """Do nothing: between slices no process is there."""

    def log(self) -> str:
        """Return everything that the processes so far wrote to standard error."""
        return "".join(self._logs)

    def close(self) -> None:
        """Do nothing: between slices no process is there."""

    def _rehearsed(self) -> Workload:
        assert self._workload is not None, "rehearse comes first"
        return self._workload

    def _slice(self, asked: Asked, doing: str) -> tuple[int, float]:
        answer, _ = self._bench(asked, doing, [], RequestFailedError)
        return output.timed(answer)

    def _bench(
        self, asked: Asked, doing: str, also: Sequence[str], refused: type[EngineError]
    ) -> tuple[Mapping[str, JSON], Ended]:
        depth = ["-d", str(asked.depth)] if "-d" in self._program.flags else []
        words = ["-m", self._model.path, "-o", "jsonl", "-r", str(asked.repetitions)]
        words += ["-p", str(asked.prompt), "-n", str(asked.generate), *depth, *self._options, *also]
        ended = self._program.run(words, doing)
        self._logs.append(ended.log)
        if ended.status:
            raise refused(
                f"{self._program.name}: llama-bench ended with exit status {ended.status} while {doing}: its "
                "last lines say why",
                ended.last_lines(),
            )
        try:
            return output.read_answer(ended.output, asked), ended
        except output.UnreadableError as error:
            raise refused(
                f"{self._program.name}: the answer of llama-bench cannot be read: {error}; give the program "
                "itself, not one that wraps it",
                ended.last_lines(),
            ) from None


def _build(answer: Mapping[str, JSON], reference: BuildReference, program: _Program) -> Build:
    environment = worker_environment(os.environ)
    return Build(
        engine=_NAME,
        version=output.version(answer, reference.where or program.path),
        llama_cpp_commit=output.commit(answer),
        where=program.path,
        compiled_with=output.compiled_with(answer),
        environment={name: environment[name] for name in sorted(environment) if not _no_matter(name)},
    )


def _no_matter(name: str) -> bool:
    return name.startswith(_NO_MATTER)
