"""Base classes of an engine that times slices of prompt and generation, and covers nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from pytest_llm.errors import NotCoveredError
from pytest_llm.records.protocols import Coverage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_llm.records import JSON, Build, BuildReference, Model, Series, Subject, Workload


class SlicesOnlyEngine:
    """An ``Engine`` that refuses generation sessions (NotCoveredError); a subclass adds ``start``.

    Attributes:
        reference: The build, as the user wrote it.
        timeout: Seconds to wait for each answer.
        made: The program of a build that had to be made, or "".
    """

    def __init__(self, reference: BuildReference, timeout: float, made: str = "") -> None:
        self.reference = reference
        self.timeout = timeout
        self.made = made

    def start_generation(self, subject: Subject, model: Model) -> NoReturn:  # noqa: ARG002
        raise _not_covered(str(self.reference), "generation sessions")


class SlicesOnlySubject:
    """A ``Loaded`` that keeps no process between two slices; it raises NotCoveredError for other work.

    A subclass adds ``load``, ``rehearse``, ``prompt_slice`` and ``generation_slice``.

    Attributes:
        pid: 0: no process stays whose memory could be watched.
        build: The build as it describes itself.
        on_gpu: Whether layers were put on a GPU; known after ``load``.
    """

    pid = 0
    on_gpu = False
    continues = False
    prompt_batch = 1

    def __init__(self, build: Build) -> None:
        self.build = build

    def libraries(self) -> frozenset[Path]:
        return frozenset()

    def coverage(self, workload: Workload) -> Coverage:
        return Coverage(slices=not workload.embed, requests=False, load=False)

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
            raise _not_covered(str(self.build), "an injected slowdown")

    def embedding_slice(self) -> NoReturn:
        raise _not_covered(str(self.build), "embeddings")

    def end_round(self) -> None:
        pass

    def generate_steps(self, steps: int) -> NoReturn:  # noqa: ARG002
        raise _not_covered(str(self.build), "generation that stays in a context")

    def request(self) -> NoReturn:
        raise _not_covered(str(self.build), "whole requests")

    def suspend(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def log(self) -> str:
        return ""

    def close(self) -> None:
        pass


def _not_covered(build: str, what: str) -> NotCoveredError:
    return NotCoveredError(f"{build}: it measures prompt and generation speed only, not {what}")
