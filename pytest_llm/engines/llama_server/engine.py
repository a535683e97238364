"""llama-server: the HTTP server that most people ship, one process for each subject."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

from pytest_llm.engines import DEFAULT
from pytest_llm.engines.environment import recorded
from pytest_llm.engines.libraries import Libraries
from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.engines.llama_cpp_python.process import worker_environment
from pytest_llm.engines.llama_server.flags import read_help
from pytest_llm.engines.llama_server.generation import GeneratingServer
from pytest_llm.engines.llama_server.loaded import LoadedServer
from pytest_llm.engines.llama_server.start import start_server
from pytest_llm.engines.program import EngineProgram, find_program, read_version
from pytest_llm.errors import EngineError, EngineMissingError, RequestFailedError
from pytest_llm.records import Archive, Build, Command, Commit, Installed, LoadOptions, Release, Subject
from pytest_llm.system.sandbox import Policy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_llm.engines.llama_server.start import Started
    from pytest_llm.records import BuildReference, Model

_NAME = "llama-server"
_NEEDED = ("-m", "-c", "-b", "-ub", "-np", "-t", "-tb", "-ngl", "--host", "--port")


class LlamaServer:
    """The engine: a server for each subject."""

    on_port = False

    def __init__(
        self, reference: BuildReference, timeout: float, made: str = "", policy: Policy | None = None
    ) -> None:
        """Take the build.

        Args:
            reference: The build, as the user wrote it.
            timeout: Seconds to wait for each answer, and for each token.
            made: The program of a build that had to be made, or "".
            policy: How servers are locked in; None is as far as the kernel can.
        """
        self._reference = reference
        self._timeout = timeout
        self._made = made
        self._policy = policy or Policy()
        self._checked: tuple[EngineProgram, Mapping[str, str], Build] | None = None

    def describe(self) -> Build:
        """Return what the program tells without a model.

        Raises:
            EngineError: It does not start, or is not llama-server.
        """
        return self._program()[-1]

    def start(self, subject: Subject, model: Model) -> LoadedServer:
        """Start a process; its ``load`` starts the server.

        Raises:
            EngineMissingError: There is no such program, or no HTTP library.
            LoadRefusedError: The program has no flag for a load option; or its command line names another
                model.
            EngineError: It does not start, or is not llama-server.
        """
        started, build = self._start(subject, model)
        return LoadedServer(started, build, subject, model, self._timeout)

    def start_generation(self, subject: Subject, model: Model) -> GeneratingServer:
        started, build = self._start(subject, model)
        return GeneratingServer(started, build, subject, model, self._timeout, self._write_copy)

    def _start(self, subject: Subject, model: Model) -> tuple[Started, Build]:
        program, flags, build = self._program()
        command = self._reference.words[1:] if isinstance(self._reference, Command) else None
        options = subject.load_options
        return start_server(program, flags, options, model, command, on_port=self.on_port), build

    def _write_copy(self, model: Model, target: Path, threads: int, file_type: int) -> None:
        """Have the installed binding write a copy: no server can, and a copy is one whoever makes it."""
        maker = LlamaCppPython(Installed(DEFAULT), self._timeout, policy=self._policy)
        subject = Subject(model.name, Installed(DEFAULT), LoadOptions(n_threads=threads))
        try:
            started = maker.start_generation(subject, model)
        except EngineMissingError as error:
            raise RequestFailedError(str(error)) from None
        with closing(started):
            started.write_copy(target, file_type)

    def _program(self) -> tuple[EngineProgram, Mapping[str, str], Build]:
        if self._checked is None:
            name = str(self._reference)
            libraries = Libraries(name, worker_environment(os.environ))
            path = find_program(_NAME, self._reference, self._made)
            prebuilt = isinstance(self._reference, Archive)
            program = EngineProgram(path, name, self._timeout, libraries, self._policy, prebuilt)
            ended = program.run(["--help"], "printing its flags")
            flags = read_help(ended.output)
            lacking = [each for each in _NEEDED if each not in flags]
            if lacking:
                raise EngineError(
                    f"{name}: {program.path} is not llama-server: its --help has no {', '.join(lacking)}; "
                    "name another program",
                    ended.last_lines() if ended.status else (),
                )
            self._checked = program, flags, self._build(program)
        return self._checked

    def _build(self, program: EngineProgram) -> Build:
        ended = program.run(["--version"], "printing its version")
        number, commit = read_version(ended.output + ended.log)
        return Build(
            engine=_NAME,
            version=f"b{number}" if number else _version(self._reference, program.path),
            llama_cpp_commit=commit,
            where=program.path,
            environment=recorded(worker_environment(os.environ)),
        )


def _version(reference: BuildReference, path: str) -> str:
    """Return the version of a program that knows no number."""
    if isinstance(reference, Release):
        return reference.version
    return reference.commit[:12] if isinstance(reference, Commit) else path
