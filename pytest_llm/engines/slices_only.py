"""Base classes of an engine that times slices of prompt and generation, and covers nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from pytest_llm.engines.partial import PartialSubject
from pytest_llm.errors import NotCoveredError
from pytest_llm.records.protocols import Coverage

if TYPE_CHECKING:
    from pytest_llm.records import BuildReference, Model, Subject, Workload

_COVERS = "prompt and generation speed"


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
        raise NotCoveredError(f"{self.reference}: it measures {_COVERS} only, not generation sessions")


class SlicesOnlySubject(PartialSubject):
    """A ``Loaded`` that keeps no process between two slices.

    A subclass adds ``load``, ``rehearse``, ``prompt_slice`` and ``generation_slice``.
    """

    covers = _COVERS

    def coverage(self, workload: Workload) -> Coverage:
        return Coverage(slices=not workload.embed, requests=False, load=False)

    def request(self) -> NoReturn:
        raise self.not_covered("whole requests")
