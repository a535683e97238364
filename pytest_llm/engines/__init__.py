"""What runs a model: one module for each system, one line in ``_REGISTRY`` for each module."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pytest_llm.errors import EngineMissingError

if TYPE_CHECKING:
    from pytest_llm.records import Build, BuildReference
    from pytest_llm.records.protocols import Engine

DEFAULT = "llama-cpp-python"
LLAMA_BENCH = "llama-bench"

# Engine -> module and class. The class is called with the build reference, the seconds to wait, and what runs
# a build that had to be made: an interpreter or a program.
_REGISTRY = {
    "llama-cpp-python": ("pytest_llm.engines.llama_cpp_python.engine", "LlamaCppPython"),
    LLAMA_BENCH: ("pytest_llm.engines.llama_bench.engine", "LlamaBench"),
}


def names() -> tuple[str, ...]:
    """Return the names of all engines."""
    return tuple(_REGISTRY)


def engine_for(build: BuildReference, timeout: float, made: str = "") -> Engine:
    """Return the engine of a build.

    Args:
        build: Which one.
        timeout: The seconds that it waits for each answer.
        made: A release's interpreter, or the folder of a checkout's library, which have to be made before.
    """
    engine: Engine = _class_of(build.engine)(build, timeout, made)
    return engine


def describe(build: BuildReference, timeout: float, made: str = "") -> Build:
    """Return what a build says of itself, asked in a process of its own.

    Args:
        build: Which one.
        timeout: The seconds to wait for the answer.
        made: As of :func:`engine_for`.

    Raises:
        EngineError: It does not start.
    """
    said: Build = _class_of(build.engine)(build, timeout, made).describe()
    return said


def misfit(build: BuildReference, timeout: float, folder: str) -> str:
    """Return why the installed binding cannot take its library from a folder, "" if it can.

    Args:
        build: Whose library it is.
        timeout: The seconds to wait for each answer.
        folder: Where the library is.

    Raises:
        EngineError: The binding is there and does not start with its own library.
    """
    try:
        reason: str = _class_of(build.engine)(build, timeout, folder).misfit()
    except EngineMissingError as error:
        return str(error)
    return reason


def llama_bench_for(build: BuildReference, timeout: float, program: str) -> Engine:
    """Return the engine that measures a commit by its own llama-bench, where no installed binding fits it."""
    engine: Engine = _class_of(LLAMA_BENCH)(build, timeout, program)
    return engine


def _class_of(engine: str) -> Any:
    module, name = _REGISTRY[engine]
    return getattr(import_module(module), name)
