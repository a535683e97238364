"""llama-cpp-python: its low-level functions, in a worker under whatever interpreter has them."""

from __future__ import annotations

import copy
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.engines.environment import recorded
from pytest_llm.engines.libraries import Libraries
from pytest_llm.engines.llama_cpp_python.client import LoadedModel
from pytest_llm.engines.llama_cpp_python.instructions import InstructionCounter, on_one_thread
from pytest_llm.engines.llama_cpp_python.process import WorkerProcess, worker_environment
from pytest_llm.errors import BuildError, EngineError, EngineMissingError
from pytest_llm.models import files_of
from pytest_llm.models.opened import loadable
from pytest_llm.records import Build, Commit, Library, Release, Venv
from pytest_llm.system.procfs import mapped_files
from pytest_llm.system.sandbox import Policy, Sandbox, own_folder, remove_folder, take_file
from pytest_llm.system.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.engines.llama_cpp_python.instructions import Valgrind
    from pytest_llm.records import (
        JSON,
        BuildReference,
        Model,
        Subject,
    )

# Names the folder from which the binding takes its library instead of its own.
_LIBRARY = "LLAMA_CPP_LIB_PATH"
_PACKAGES = "PYTHONPATH"
# Texts in a build's description. Paths are not cleaned: files are opened by them.
_DESCRIBED = ("version", "llama_cpp_commit", "compiled_with")
_LONGEST = 4000  # characters
# What glibc says of a library that another one needs.
_LACKING = re.compile(r"(?P<name>lib[\w.+-]+\.so[\w.]*): cannot open shared object file")
# An F32 copy holds so many times the bytes of a model, at most: of one with 1 bit a weight.
_F32_BYTES, _F32_MORE = 32, 2**24
_LLAMA_CPP = ("libllama", "libggml", "libmtmd")


class LlamaCppPython:
    """The engine: one worker for each subject."""

    def __init__(
        self, build: BuildReference, timeout: float, made: str = "", policy: Policy | None = None
    ) -> None:
        """Take the build, and what runs it where that had to be made first.

        Args:
            build: Which one; the caller has checked that the library of a commit fits (:meth:`abi_mismatch`).
            timeout: The seconds to wait for each answer of a worker.
            made: A release's interpreter; the folder of a checkout's library.
            policy: How workers are locked in; None is as far as the kernel can.
        """
        self._build = build
        self._timeout = timeout
        self._policy = policy or Policy()
        self._launch = _launch(build, made)
        self._fits = not isinstance(build, Library)
        self._counters: dict[tuple[Subject, str], InstructionCounter] = {}
        self._libraries = Libraries(str(build), self._environment())

    def with_library(self, folder: Path) -> LlamaCppPython:
        """Return the same build with a copy of its library that lies in another folder."""
        made = copy.copy(self)
        made._launch = self._launch._replace(library=str(folder))
        made._libraries = Libraries(str(self._build), made._environment())
        return made

    def describe(self) -> Build:
        """Return the build's description, from a worker that ends at once.

        Raises:
            EngineError: It does not start, or its library does not fit.
        """
        worker, build = self._greeted()
        worker.close()
        return build

    def start(self, subject: Subject, model: Model) -> LoadedModel:
        counter = self._counter_of(subject, model) if self._policy.counts else None
        return self._start(subject, model, counter, all_logits=False)

    def start_generation(self, subject: Subject, model: Model) -> LoadedModel:
        return self._start(subject, model, all_logits=True)

    def abi_mismatch(self) -> str:
        """Return why the library cannot stand in for that of the installed binding, "" if it can.

        Raises:
            EngineMissingError: No binding is installed.
            EngineError: The binding does not start with its own library.
        """
        own = self._layouts(own=True)
        try:
            return _mismatch(own, self._layouts())
        except EngineError as error:
            return " ".join([str(error).removeprefix(f"{self._build}: "), *error.log[-1:]])

    def ask_once(self, operation: str, **arguments: JSON) -> Any:
        """Return the answer of a fresh worker that loads no model; see ``worker/introspection.py``.

        Raises:
            EngineError: The worker did not start, or ended.
        """
        worker = self._worker(self._sandbox())
        try:
            return self._ask(worker, operation, **arguments)
        finally:
            worker.close()

    def _counter_of(self, subject: Subject, model: Model) -> InstructionCounter:
        """Return the counter that all sessions of a subject share."""

        def start(valgrind: Valgrind, folder: Path) -> LoadedModel:
            alone = replace(subject, load_options=on_one_thread(subject.load_options))
            return self._start(alone, model, all_logits=False, under=(valgrind, folder))

        return self._counters.setdefault(
            (subject, model.sha256), InstructionCounter(subject.load_options, start)
        )

    def _start(
        self,
        subject: Subject,
        model: Model,
        counter: InstructionCounter | None = None,
        *,
        all_logits: bool,
        under: tuple[Valgrind, Path] | None = None,
    ) -> LoadedModel:
        worker, build = self._greeted(model, under)
        folders = self._own_folders(worker)

        def check_libraries() -> None:
            self._libraries.check(mapped_files(worker.pid), folders)

        def write_copy(target: Path, threads: int, file_type: int) -> None:
            self._write_copy(model, target, threads, file_type)

        return LoadedModel(
            worker, build, subject, model, check_libraries, write_copy, counter, all_logits=all_logits
        )

    def _write_copy(self, model: Model, target: Path, threads: int, file_type: int) -> None:
        """Write a copy of a model, in a worker that may write it and nothing beside it."""
        folder = own_folder(target.parent, ".f32-")
        try:
            sandbox = Sandbox(
                self._policy,
                str(self._build),
                self._environment(),
                files_of(model),
                writable=[folder],
                file_bytes=_F32_BYTES * model.file_bytes + _F32_MORE,
            )
            worker = self._worker(sandbox, _descriptors(model))
            try:
                self._ask(worker, "hello")
                written = folder / target.name
                with loadable(model) as source:
                    worker.name_path(source, model.path)
                    kind = {"threads": threads, "file_type": file_type}
                    worker.ask("write_copy", source=source, target=str(written), **kind)
            finally:
                worker.close()
            take_file(written, target)
        finally:
            remove_folder(folder)

    def _own_folders(self, worker: WorkerProcess) -> list[Path]:
        """Return the folders of the build's own libraries."""
        return [Path(self._launch.library or worker.ask("package"))]

    def _greeted(
        self, model: Model | None = None, under: tuple[Valgrind, Path] | None = None
    ) -> tuple[WorkerProcess, Build]:
        """Return a worker that has imported ``llama_cpp`` and may read a model, and its build.

        Args:
            model: What it may read.
            under: What runs it, and the folder for what that writes.
        """
        if not self._fits:
            self._check_library()
            self._fits = True
        readable = files_of(model) if model else ()
        if under is None:
            worker = self._worker(self._sandbox(readable), _descriptors(model))
        else:
            worker = self._worker_under(*under, readable, _descriptors(model))
        try:
            told = self._ask(worker, "hello")
            told["environment"] = recorded(told["environment"])
            told.update({name: clean(told[name], _LONGEST) for name in _DESCRIBED})
            build = Build(engine=self._build.engine, **told)
            self._libraries.check(mapped_files(worker.pid) | {build.library}, self._own_folders(worker))
            # A library that cannot tell its commit was made of one that is known.
            return worker, replace(build, llama_cpp_commit=build.llama_cpp_commit or self._launch.commit)
        except BaseException:
            worker.close()
            raise

    def _sandbox(self, readable: Sequence[Path] = ()) -> Sandbox:
        return Sandbox(self._policy, str(self._build), self._environment(), readable)

    def _worker(self, sandbox: Sandbox, descriptors: Sequence[int] = ()) -> WorkerProcess:
        interpreter, name = self._launch.interpreter, str(self._build)
        return WorkerProcess(interpreter, sandbox, name, self._timeout, descriptors)

    def _worker_under(
        self, valgrind: Valgrind, folder: Path, readable: Sequence[Path], descriptors: Sequence[int]
    ) -> WorkerProcess:
        sandbox = Sandbox(
            self._policy,
            str(self._build),
            {**self._environment(), **valgrind.environment},
            [*readable, valgrind.tool.parent],
            writable=[folder],
            becomes=str(valgrind.tool),
        )
        command, name = valgrind.command(folder), f"{self._build} under valgrind"
        return WorkerProcess(self._launch.interpreter, sandbox, name, self._timeout, descriptors, command)

    def _ask(self, worker: WorkerProcess, operation: str, **arguments: JSON) -> Any:
        try:
            return worker.ask(operation, **arguments)
        except EngineMissingError as error:
            raise EngineMissingError(f"{error} ({self._how_to_mend(str(error))})") from None

    def _environment(self) -> dict[str, str]:
        environment = worker_environment(os.environ, (_PACKAGES,))
        if isinstance(self._build, Release | Venv) and _PACKAGES in environment:
            # Part of what "this environment" means, and of no other one; empty, it is the same as unset.
            environment[_PACKAGES] = ""
        if isinstance(self._build, Release):
            environment.pop(_LIBRARY, None)  # it would not be that release
        if self._launch.library:
            environment[_LIBRARY] = self._launch.library
        return environment

    def _check_library(self) -> None:
        """Raise if the installed binding would misread the library."""
        own = self._layouts(own=True)
        try:
            reason = _mismatch(own, self._layouts())
        except EngineError as error:
            raise BuildError(f"{error} ({self._how_to_mend(str(error))})", error.log) from None
        if reason:
            raise BuildError(
                f"{self._build}: the library does not fit this environment's llama-cpp-python: {reason} "
                f"({self._launch.fix})"
            )

    def _layouts(self, *, own: bool = False) -> dict[str, Any]:
        """Return the layouts of the structs of this library, or of the binding's own."""
        environment = self._environment()
        if own:
            environment.pop(_LIBRARY, None)
        worker = self._worker(Sandbox(self._policy, str(self._build), environment))
        try:
            worker.ask("hello")
            layouts: dict[str, Any] = worker.ask("layouts", library=environment.get(_LIBRARY))
            return layouts
        finally:
            worker.close()

    def _how_to_mend(self, problem: str) -> str:
        lacking = _LACKING.search(problem)
        if lacking and not lacking["name"].startswith(_LLAMA_CPP):
            return (
                f"install the system's package that has {lacking['name']}, which this build needs; if it "
                "is in a folder of your own, name that in LD_LIBRARY_PATH"
            )
        if _LIBRARY in self._environment() and not self._launch.library:
            return f"{_LIBRARY} puts another library in the place of its own: unset it"
        return self._launch.fix


def _descriptors(model: Model | None) -> list[int]:
    return [each.descriptor for each in model.all_opened] if model else []


class _Launch(NamedTuple):
    """How a build's worker starts.

    Attributes:
        interpreter: The Python that has ``llama_cpp``.
        fix: How to repair a build that does not start.
        library: The folder of llama.cpp's library; "" for the binding's own.
        commit: Of that library, if it is known.
    """

    interpreter: str
    fix: str
    library: str = ""
    commit: str = ""


def _launch(build: BuildReference, made: str) -> _Launch:
    if isinstance(build, Release):
        assert made, f"{build} has to be made first"
        return _Launch(made, f"pytest-llm builds remove {build.version}, then make it again")
    if isinstance(build, Venv):
        python = str(Path(build.folder) / "bin" / "python")
        return _Launch(python, f"{python} -m pip install llama-cpp-python")
    if isinstance(build, Library):
        fix = "give a library of the installed release, or name a release instead, as 0.3.36"
        return _Launch(sys.executable, fix, build.folder)
    if isinstance(build, Commit):
        fix = f"{sys.executable} -m pip install llama-cpp-python"
        return _Launch(sys.executable, fix, made, build.commit[:12])
    return _Launch(sys.executable, "pip install 'pytest-llm-bench[llama-cpp]'")


def _mismatch(own: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return how another library's structs differ from those of the binding, "" if no difference shows.

    Both are answers of the worker's ``layouts``: the binding with its own library, and with the other.
    A default that a release changed looks like a moved field, and is refused as well.
    """
    for function, expected in own.items():
        found = other.get(function)
        if found is None:
            return f"it has no {function}"
        if found["bytes"] != expected["bytes"]:
            return (
                f"its {function} writes {found['bytes']} bytes, that of the binding's own library "
                f"{expected['bytes']}"
            )
        for field, value in expected["fields"].items():
            if found["fields"].get(field) != value:
                return (
                    f"the binding reads {field} = {found['fields'].get(field)} from its {function}, and "
                    f"{value} from that of its own library: the fields of the struct have moved, or a "
                    "default has changed"
                )
    return ""
