"""A program of llama.cpp, run to its end in a sandbox of its own."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.engines.last_words import last_words
from pytest_llm.engines.libraries import Libraries, computing, program_folders
from pytest_llm.engines.llama_cpp_python.process import (
    NOT_STARTED,
    NOT_STARTED_BECAUSE,
    cause_of_end,
    launcher,
    worker_environment,
)
from pytest_llm.errors import EngineMissingError, WorkerDiedError, WorkerHungError
from pytest_llm.records import Command, Program
from pytest_llm.system.procfs import oom_kills
from pytest_llm.system.program import TimeLimitError, run_once
from pytest_llm.system.sandbox import Policy, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pytest_llm.records import BuildReference
    from pytest_llm.system.program import Ended


_LIBRARY_PATH = "LD_LIBRARY_PATH"
# "version: 6097 (9515c613)", later "version: 0.5.0 (build 9915, commit 0c1e570)".
_VERSION = re.compile(r"version: (?:(?P<number>\d+) \(|.*\(build (?P<build>\d+), commit )(?P<commit>\w+)\)")


def read_version(text: str) -> tuple[int, str]:
    """Return the build number and the commit in what ``--version`` prints; 0 and "" if it says neither."""
    match = _VERSION.search(text)
    return (int(match["number"] or match["build"]), match["commit"]) if match else (0, "")


def find_program(name: str, reference: BuildReference, made: str) -> str:
    """Return the path of a build's program: the one that was made or named, or the one on PATH.

    Raises:
        EngineMissingError: There is none on PATH.
    """
    if made:
        return made
    if isinstance(reference, Program):
        return reference.path
    if isinstance(reference, Command):
        return reference.words[0]
    found = shutil.which(name)
    if found is None:
        raise EngineMissingError(
            f"{name}: it is not on PATH: name the program or its folder, {name}@bin:PATH"
        )
    return found


class EngineProgram(NamedTuple):
    """A program of a build; each run of it is locked in."""

    path: str
    name: str
    timeout: float
    libraries: Libraries
    policy: Policy
    prebuilt: bool = False  # elsewhere: not every archive says that its libraries lie beside it

    def environment(self) -> dict[str, str]:
        """Return the variables of its processes."""
        found = worker_environment(os.environ)
        if self.prebuilt:
            folders = [str(Path(self.path).parent), found.get(_LIBRARY_PATH, "")]
            found[_LIBRARY_PATH] = os.pathsep.join(each for each in folders if each)
        return found

    def check_libraries(self, mapped: Iterable[str]) -> None:
        """Raise ``BuildError`` if a process had libraries of another build mapped."""
        path = Path(self.path)
        self.libraries.check(mapped, program_folders(path), path)

    def code(self, mapped: Iterable[str]) -> frozenset[Path]:
        """Return the program and the libraries that a process of it had mapped, as far as that was seen."""
        path = Path(self.path).resolve()
        beside = (str(each) for folder in program_folders(path) for each in folder.glob("lib*"))
        return frozenset({path, *(computing(mapped) or computing(beside))})

    def run(
        self,
        words: Sequence[str],
        doing: str,
        watch: Callable[[int], None] | None = None,
        readable: Sequence[Path] = (),
        descriptors: Sequence[int] = (),
    ) -> Ended:
        """Run the program to its end.

        Args:
            words: Its arguments.
            doing: For messages.
            watch: Is called with its process again and again.
            readable: The files of a model.
            descriptors: Files that it inherits, under the same numbers.

        Raises:
            EngineMissingError: It cannot be started.
            WorkerHungError: It did not end in time.
            WorkerDiedError: A signal ended it.
        """
        kills = oom_kills()
        try:
            ended = self._run(words, watch, readable, descriptors)
        except OSError as error:
            raise EngineMissingError(
                f"{self.name}: {self.path} cannot be started ({error.strerror}): name a program of this "
                "machine"
            ) from error
        except TimeLimitError as error:
            raise WorkerHungError(
                f"{self.name}: the program did not end within {self.timeout:g} s while {doing}, and was "
                "ended: raise --llm-timeout if the machine is that slow",
                error.log,
            ) from None
        if ended.status < 0:
            last = last_words(ended.log)
            cause = cause_of_end(ended.status, last.cause, out_of_memory=oom_kills() > kills)
            raise WorkerDiedError(f"{self.name}: the program ended while {doing}: {cause}", last.lines)
        return ended

    def _run(
        self,
        words: Sequence[str],
        watch: Callable[[int], None] | None,
        readable: Sequence[Path],
        descriptors: Sequence[int],
    ) -> Ended:
        sandbox = Sandbox(
            self.policy,
            self.name,
            self.environment(),
            [self.path, *readable],
            libraries=program_folders(Path(self.path)),
            becomes=self.path,
        )
        try:
            if sandbox.folder is None:
                return run_once([self.path, *words], sandbox.environment(), self.timeout, watch, descriptors)
            if not os.access(self.path, os.X_OK):
                code = errno.EACCES if Path(self.path).exists() else errno.ENOENT
                raise OSError(code, os.strerror(code))
            become = [*launcher(sandbox.description()), self.path, *words]
            ended = run_once(become, sandbox.environment(), self.timeout, watch, descriptors)
        finally:
            sandbox.close()
        if ended.status == NOT_STARTED and ended.log.startswith(NOT_STARTED_BECAUSE):
            raise OSError(errno.ENOEXEC, ended.log.removeprefix(NOT_STARTED_BECAUSE))
        return ended
