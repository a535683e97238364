"""Fault injection: the same build with other environment variables, or slowed down."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_llm.engines.environment import PASS, passed
from pytest_llm.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_llm.records import Model, Subject
    from pytest_llm.records.generation import GGUFModel
    from pytest_llm.records.protocols import Engine, Loaded


class WithVariables:
    """An engine whose workers see other variables of the environment."""

    def __init__(self, engine: Engine, variables: Mapping[str, str | None]) -> None:
        """Take the variables' values, None for those that must not be set."""
        self._engine = engine
        self._variables = variables

    def start(self, subject: Subject, model: Model) -> Loaded:
        """Start a fresh process with the variables."""
        with _set(self._variables):
            return self._engine.start(subject, model)

    def start_generation(self, subject: Subject, model: Model) -> GGUFModel:
        """Start a fresh process with the variables."""
        with _set(self._variables):
            return self._engine.start_generation(subject, model)


class InjectedSlowdown:
    """An engine whose subjects are slower than the build is, except in generation sessions."""

    def __init__(self, engine: Engine, share: float, stalls: float = 0.0) -> None:
        """Take the share by which every decode is slower, and that of slices that take twice as long."""
        self._engine = engine
        self._shares = share, stalls

    def start(self, subject: Subject, model: Model) -> Loaded:
        """Start a fresh process that is slower from the beginning."""
        loaded = self._engine.start(subject, model)
        try:
            loaded.inject_slowdown(*self._shares)
        except BaseException:
            loaded.close()
            raise
        return loaded

    def start_generation(self, subject: Subject, model: Model) -> GGUFModel:
        """Start a fresh process that is not slowed down."""
        return self._engine.start_generation(subject, model)


@contextmanager
def _set(variables: Mapping[str, str | None]) -> Iterator[None]:
    # Named, or an engine would start without those that it does not know.
    names = [os.environ.get(PASS, ""), *variables]
    given = {**variables, PASS: " ".join(names).strip()}
    before = {name: os.environ.get(name) for name in given}
    _put(given)
    try:
        lost = {name for name, value in variables.items() if value is not None} - {*passed(os.environ)}
        if lost:
            raise EngineError(f"{', '.join(sorted(lost))} would not reach the engine's process")
        yield
    finally:
        _put(before)


def _put(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
