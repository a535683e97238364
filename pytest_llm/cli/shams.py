"""Sham pairs that can be made of a build on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.errors import EngineError, UsageError
from pytest_llm.machine.qualification import sham
from pytest_llm.records import Commit, Release

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.builds.provider import Provider
    from pytest_llm.machine.qualification.sham import Sham
    from pytest_llm.records import Build
    from pytest_llm.records.protocols import Engine
    from pytest_llm.records.side import Side


def shams_of(
    side: Side, build: Build, provider: Provider, folder: Path, on_progress: Callable[[str], None]
) -> tuple[list[Sham], list[str]]:
    """Return the kinds of sham pairs, and those that are left out, each with its reason.

    Args:
        side: The subject, its model and engine.
        build: How the build describes itself.
        provider: Makes a realigned build.
        folder: Empty; for what is copied and compiled.
        on_progress: Shows what takes long.

    Raises:
        UsageError: No kind can be made.
    """
    found, left_out = [], []
    if isinstance(side.engine, LlamaCppPython) and Path(build.library).is_file():
        found.append(sham.paths(Path(build.library).parent, folder, with_library))
    else:
        left_out.append("path and environment: only a library of llama-cpp-python can be copied")
    try:
        found.append(sham.preloaded(sham.compile_preload(folder)))
    except OSError as error:
        left_out.append(f"preloaded library: {error.strerror or error}: install a C compiler")
    try:
        found.append(sham.realigned(_realigned(side, provider, on_progress)))
    except EngineError as error:
        left_out.append(f"realigned build: {error}")
    if not found:
        raise UsageError(f"no pair of equal builds can be made of {build}: {'; '.join(left_out)}")
    return found, left_out


def with_library(engine: Engine, folder: Path) -> Engine:
    """Return the engine with its libraries in another folder; for engines of llama-cpp-python alone."""
    assert isinstance(engine, LlamaCppPython)
    return engine.with_library(folder)


def _realigned(side: Side, provider: Provider, on_progress: Callable[[str], None]) -> Engine:
    """Return the engine of a realigned build; ``EngineError`` if there is none."""
    build = side.subject.build
    if not isinstance(build, Release | Commit) or not build.settings:
        raise EngineError(
            f"the settings that {build} was compiled with are not known: name them, as in "
            "--candidate '0.3.36[-DGGML_NATIVE=OFF]'"
        )
    return provider.engine(replace(build, settings=sham.realigned_settings(build.settings)), on_progress)
