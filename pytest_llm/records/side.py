"""One side of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pytest_llm.records.protocols import Engine, Loaded
    from pytest_llm.records.subject import Model, Subject


class Side(NamedTuple):
    """One subject of a pair, with the engine that starts it."""

    subject: Subject
    model: Model
    engine: Engine

    def start(self) -> Loaded:
        """Start a fresh process; nothing is loaded yet."""
        return self.engine.start(self.subject, self.model)
