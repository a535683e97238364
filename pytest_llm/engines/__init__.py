"""What runs a model: one module for each system, one line in ``_REGISTRY`` for each module."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.errors import UnknownNameError, UsageError
from pytest_llm.records import BuildReference

if TYPE_CHECKING:
    from pytest_llm.protocols import Engine

DEFAULT = "llama-cpp-python"

# Engine -> module and class. The class is called with the build reference and the seconds to wait.
_REGISTRY = {
    "llama-cpp-python": ("pytest_llm.engines.llama_cpp_python", "LlamaCppPython"),
}


def parse_build(text: str, start: Path) -> BuildReference:
    """Read ``ENGINE[@WHERE]``, or ``WHERE`` alone, which then means llama-cpp-python.

    Args:
        text: What the user wrote.
        start: The folder that relative paths count from.

    Raises:
        UnknownNameError: The engine is not known.
        UsageError: WHERE is nothing that this engine has, or nothing lies there.
    """
    engine, at, where = text.partition("@")
    if ":" in engine:
        engine, at, where = DEFAULT, "@", text
    if engine not in _REGISTRY:
        raise UnknownNameError("engine", engine, _REGISTRY, fix="a build is ENGINE[@WHERE]")
    if not at:
        return BuildReference(engine)
    kind, colon, path = where.partition(":")
    if kind != "venv" or not colon or not path:
        raise UsageError(
            f"build {text!r}: {where!r} is not a place of {engine}; write {engine}@venv:PATH, "
            f"or {engine} alone for the one of this environment"
        )
    folder = (start / Path(path).expanduser()).absolute()
    if not folder.is_dir():
        raise UsageError(f"build {text!r}: there is no folder {folder}; make it with python -m venv")
    return BuildReference(engine, "venv", str(folder))


def engine_for(build: BuildReference, timeout: float) -> Engine:
    """Return the engine of a build; it waits up to ``timeout`` seconds for each answer."""
    module, name = _REGISTRY[build.engine]
    engine: Engine = getattr(import_module(module), name)(build, timeout)
    return engine
