"""Base class of subjects without a process of their own, which cover a part of a ``Loaded``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from pytest_llm.errors import NotCoveredError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_llm.records import JSON, Build, Series


class PartialSubject:
    """A subject that raises NotCoveredError for work that it does not cover.

    A subclass adds ``coverage``, ``load``, ``rehearse``, slices and requests.

    Attributes:
        covers: What it measures, for messages.
        pid: 0: no process stays whose memory could be watched.
        build: The build as it describes itself.
        on_gpu: Whether layers were put on a GPU; known after ``load``.
    """

    covers = ""
    pid = 0
    on_gpu = False
    continues = False
    prompt_batch = 1

    def __init__(self, build: Build) -> None:
        self.build = build

    def libraries(self) -> frozenset[Path]:
        return frozenset()

    def effective_options(self) -> Mapping[str, JSON]:
        return {}

    def invariants(self) -> Mapping[str, JSON]:
        return {}

    def counts(self) -> Mapping[str, Series]:
        return {}

    def on_devices(self) -> Mapping[str, float]:
        return {}

    def inject_slowdown(self, share: float, stalls: float = 0.0) -> None:
        if share or stalls:
            raise self.not_covered("an injected slowdown")

    def embedding_slice(self) -> NoReturn:
        raise self.not_covered("embeddings")

    def end_round(self) -> None:
        pass

    def generate_steps(self, steps: int) -> NoReturn:  # noqa: ARG002
        raise self.not_covered("generation that stays in a context")

    def suspend(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def log(self) -> str:
        return ""

    def close(self) -> None:
        pass

    def not_covered(self, what: str) -> NotCoveredError:
        """Return the error of work that is not covered."""
        return NotCoveredError(f"{self.build}: it measures {self.covers} only, not {what}")
