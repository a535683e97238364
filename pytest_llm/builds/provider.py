"""Engines of any build: releases and commits are made first, and stored for later runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm import engines
from pytest_llm.builds import BuildStore
from pytest_llm.builds.archive_lock import NAME, ArchiveLock
from pytest_llm.checks.operators import compare, without
from pytest_llm.engines.servers.engine import ServerEngine
from pytest_llm.errors import BuildError, LLMBenchError
from pytest_llm.records import Archive, Commit, Release
from pytest_llm.system.program import PROGRESS_SECONDS
from pytest_llm.system.sandbox import Policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.builds import SourceTree
    from pytest_llm.checks.operators import ProfilingContext, Work
    from pytest_llm.records import Build, BuildReference, OperatorRun
    from pytest_llm.records.protocols import Engine
    from pytest_llm.system.sandbox import SandboxMode

ANSWER_SECONDS = 600.0  # far above a worker's first answer on a busy machine


class Provider:
    """Gives engines, and keeps their builds from being removed until it is closed."""

    def __init__(
        self,
        cache: Path,
        timeout: float,
        mode: SandboxMode = "on",
        *,
        home: Path | None = None,
        counts: bool = False,
    ) -> None:
        """Take the folders, the seconds for each answer, and how processes are locked in.

        Args:
            cache: Of builds.
            timeout: Seconds.
            mode: See :class:`~pytest_llm.system.sandbox.Policy`, also for ``counts``.
            home: Of the project, in which the lock file of archives lies; None is the current folder.
            counts: Workers count instructions.
        """
        self._timeout = timeout
        self._policy = Policy(mode, cache, counts)
        self._builds = build_store(cache, home)
        self._misfits: dict[BuildReference, str] = {}
        self._tools: dict[BuildReference, ServerEngine] = {}

    def engine(
        self, build: BuildReference, on_progress: Callable[[str], None], beside: BuildReference | None = None
    ) -> Engine:
        """Return the engine of a build, made first if necessary.

        A commit's library is loaded by the installed binding if it fits. If not, its own llama-bench measures
        it and the build beside it, because results of different programs are not comparable.

        Raises:
            EngineError: It could not be made; or the two cannot be measured by the same program.
        """
        engine: Engine = self._engine(build, on_progress, beside)
        return engine

    def describe(self, build: BuildReference, on_progress: Callable[[str], None]) -> Build:
        """Return how a build describes itself, made first if necessary; ``EngineError`` if it fails."""
        described: Build = self._engine(build, on_progress, None).describe()
        return described

    def tree(self, build: BuildReference, on_progress: Callable[[str], None]) -> SourceTree | None:
        """Return the sources of a commit, made first if necessary; None of any other kind of build."""
        return self._builds.tree(build, on_progress)

    def compare_operators(
        self, builds: tuple[BuildReference, BuildReference], work: Work, context: ProfilingContext
    ) -> OperatorRun:
        """Return a candidate's and a reference's times; an error of ours becomes a reason in the record."""
        try:
            candidate, reference = (self.tree(build, context.on_progress) for build in builds)
            if candidate is None or reference is None:
                return without(work.phase, f"{builds[candidate is not None]} has no sources here")
            return compare(candidate, reference, work, context)
        except LLMBenchError as error:
            return without(work.phase, str(error))

    def close(self) -> None:
        for each in self._tools.values():
            each.close()
        self._builds.close()

    def _engine(
        self, build: BuildReference, on_progress: Callable[[str], None], beside: BuildReference | None
    ) -> Any:
        sides = [build] if beside is None else [build, beside]
        benches = [each for each in sides if each.engine == engines.LLAMA_BENCH]
        commits = [each for each in sides if isinstance(each, Commit) and each.engine == engines.DEFAULT]
        unfit = next((each for each in commits if self._abi_mismatch(each, on_progress)), None)
        others = [each for each in sides if each not in (*benches, *commits)]
        if unfit is not None and others:
            raise BuildError(
                f"{unfit} and {others[0]} cannot be compared: only llama-bench measures the first, which "
                f"does not fit the installed llama-cpp-python ({self._abi_mismatch(unfit, on_progress)}), "
                "and the second has none: name both as git:REF:CHECKOUT"
            )
        if isinstance(build, Commit) and (benches or unfit is not None):
            program = self._builds.ready(build, on_progress)
            return engines.llama_bench_for(build, self._timeout, program, self._policy)
        if build in self._tools:  # what it has imported serves all subjects of a run
            return self._tools[build]
        found = engines.engine_for(build, self._timeout, self._made(build, on_progress), self._policy)
        if isinstance(found, ServerEngine):
            self._tools[build] = found
        return found

    def _abi_mismatch(self, build: BuildReference, on_progress: Callable[[str], None]) -> str:
        if build not in self._misfits:
            made = self._made(build, on_progress)
            reason = engines.abi_mismatch(build, self._timeout, made, self._policy)
            if reason:
                on_progress(
                    f"only llama-bench measures {build}: it does not fit the installed "
                    f"llama-cpp-python: {reason}"
                )
            self._misfits[build] = reason
        return self._misfits[build]

    def _made(self, build: BuildReference, on_progress: Callable[[str], None]) -> str:
        """Return what an engine starts from; "" if nothing has to be made.

        That is a release's interpreter or server, a commit's folder of libraries or server, or an archive's
        server.
        """
        if not isinstance(build, Release | Commit | Archive):
            return ""
        if isinstance(build, Commit) and build.engine == engines.LLAMA_SERVER:
            tree = self.tree(build, on_progress)
            assert tree is not None
            return str(tree.program(engines.LLAMA_SERVER, on_progress))
        program = self._builds.ready(build, on_progress)
        return str(Path(program).parent) if isinstance(build, Commit) else program


def build_store(
    cache: Path, home: Path | None = None, progress_seconds: float = PROGRESS_SECONDS
) -> BuildStore:
    """Return the store in a cache, for the project in a folder; None is the current one."""

    def describe(build: BuildReference, interpreter: str) -> Build:
        return engines.describe(build, ANSWER_SECONDS, interpreter)

    return BuildStore(cache, describe, ArchiveLock((home or Path.cwd()) / NAME), progress_seconds)
