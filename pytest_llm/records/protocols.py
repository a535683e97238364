"""Protocols: engines, loaded subjects, probes, noise, clocks and progress.

An engine, a probe or a report is one module that keeps one of these promises, and one line in the registry
of its package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from pytest_llm.records import (
        JSON,
        Build,
        Model,
        Series,
        Subject,
        Workload,
    )
    from pytest_llm.records.device_memory import MemoryReading
    from pytest_llm.records.generation import GGUFModel


class Clock(Protocol):
    """Time for budgets; what is reported is timed inside the worker."""

    def __call__(self) -> float:
        """Return seconds since some fixed moment; never goes back."""


class Coverage(NamedTuple):
    """What an engine measures of a workload; the rest is never asked for.

    Attributes:
        slices: Of prompt and generation.
        requests: Whole requests, with the latencies of their first and later tokens.
        load: The seconds of ``load``.
        reason: Why not everything; "" if it is everything, or the engine's entry says it.
        under_load: Parallel requests are sent at once, and each has latencies of its own: the subject is a
            :class:`ServesAtOnce`.
    """

    slices: bool = True
    requests: bool = True
    load: bool = True
    reason: str = ""
    under_load: bool = False

    @property
    def nothing(self) -> bool:
        """True if the subject cannot be asked for any of the work."""
        return not (self.slices or self.requests)


EMBEDS_ONLY = "the workload embeds texts (embed=True) and generates nothing; ask for phase='embedding'"


class Loaded(Protocol):
    """A subject in a process of its own, to be measured.

    Every method but ``close`` and ``log`` may raise :class:`~pytest_llm.errors.EngineError`.
    """

    @property
    def pid(self) -> int:
        """The process whose memory counts; 0 where none stays."""

    @property
    def build(self) -> Build:
        """The build as it describes itself."""

    @property
    def on_gpu(self) -> bool:
        """Whether layers were put on a GPU; known after ``load``."""

    @property
    def continues(self) -> bool:
        """Whether a slice starts where the last one ended; otherwise each stands alone."""

    @property
    def prompt_batch(self) -> int:
        """Tokens of a prompt that are decoded at once: an ubatch, or a batch where devices pipeline them."""

    def coverage(self, workload: Workload) -> Coverage:
        """Return what can be measured of a workload, after ``load``."""

    def libraries(self) -> frozenset[Path]:
        """Return the files of the code that computes, after ``load``; none if they are not known."""

    def load(self) -> float:
        """Load the model and make a context; return the seconds that took."""

    def effective_options(self) -> Mapping[str, JSON]:
        """Return the load options as they really are, after ``load``."""

    def inject_slowdown(self, share: float, stalls: float = 0.0) -> None:
        """Be slower than the build is, from now on: every timed decode takes 1 + ``share`` times as long.

        A share ``stalls`` of slices and requests, drawn at random, takes twice as long besides.
        ``effective_options`` has ``injected_slowdown`` and ``injected_stalls``, unless they are 0.
        """

    def invariants(self) -> Mapping[str, JSON]:
        """Return what does not depend on the machine: sizes, token ids, greedy output."""

    def rehearse(self, workload: Workload) -> float:
        """Go through one whole request, then stand at the workload's depth.

        Must come before slices and requests, whenever the workload changes.

        Returns:
            The seconds of one step of generation; 0 if they are not known.
        """

    def counts(self) -> Mapping[str, Series]:
        """Return what repeats exactly, after ``rehearse``: of the load and of that request, by series.

        A series without values has the reason as its note; what the engine never counts is left out.
        """

    def on_devices(self) -> Mapping[str, float]:
        """Return how many bytes more of each device are in use than before the load, as the engine tells it.

        The most of two moments, after ``load`` and after the latest ``rehearse``; nothing of devices of which
        the engine tells nothing.
        """

    def prompt_slice(self, tokens: int) -> tuple[int, float]:
        """Time the next tokens of the round's prompt, from the workload's depth on: tokens and seconds."""

    def embedding_slice(self) -> tuple[int, float]:
        """Time the embedding of fresh texts, one a sequence, for workloads that embed: tokens and seconds."""

    def generation_slice(self, steps: int) -> tuple[int, float]:
        """Time the next ``steps`` decodes of one token a sequence: tokens and seconds."""

    def end_round(self) -> None:
        """Go back to the workload's depth, untimed; the next round has a fresh prompt."""

    def generate_steps(self, steps: int) -> int:
        """Generate ``steps`` tokens a sequence, untimed, and go back to the depth; return how many in all."""

    def request(self) -> tuple[float, Sequence[float]]:
        """Run one whole request: seconds to the first token, then between neighbouring tokens."""

    def suspend(self) -> None:
        """Stop every thread of the process until :meth:`resume`, where the system can."""

    def resume(self) -> None:
        """Let the process go on."""

    def log(self) -> str:
        """Return everything that the engine wrote so far."""

    def close(self) -> None:
        """End the process, whatever it is doing."""


@runtime_checkable
class ServesAtOnce(Protocol):
    """A subject that serves the parallel requests of a workload at once."""

    def requests_at_once(self) -> Sequence[tuple[float, Sequence[float]]]:
        """Send all at the same moment: of each, what :meth:`Loaded.request` returns of one."""


class Engine(Protocol):
    """A system that runs models."""

    def start(self, subject: Subject, model: Model) -> Loaded:
        """Start a fresh process to measure the subject; nothing is loaded yet.

        Raises:
            EngineError: The engine is not there, or does not start.
        """

    def start_generation(self, subject: Subject, model: Model) -> GGUFModel:
        """Start a fresh process to generate with the subject, with room for the logits of every token.

        Raises:
            EngineError: The engine is not there, or does not start.
        """


class Programs(Protocol):
    """A build with its sources, from which more of upstream's programs can be made."""

    @property
    def source(self) -> Path:
        """The folder of llama.cpp's sources."""

    @property
    def commit(self) -> str:
        """Of the sources."""

    def program(self, name: str, on_progress: Callable[[str], None]) -> Path:
        """Return one of upstream's programs, compiled first if necessary.

        Raises:
            BuildError: It cannot be compiled; old sources may lack it.
        """


class Probe(Protocol):
    """Reads something of a process while it is measured, such as its memory."""

    def watch(self, pid: int) -> AbstractContextManager[Mapping[str, Series]]:
        """Read until the context ends; the mapping then holds the series that were seen."""


class AnonymousReader(Protocol):
    """Reads the memory that a process holds, without mapped files."""

    def __call__(self, pid: int, /) -> MemoryReading | None:
        """Return anonymous memory, swapped or not, plus that of devices; None if it cannot be read."""


class Noise(Protocol):
    """Names what disturbed a stretch of measuring, such as a round, from outside.

    It never knows what was measured in the stretch, so that dropping a round cannot depend on its result.
    """

    def mark(self) -> None:
        """Begin a stretch."""

    def since_mark(self) -> tuple[str, ...]:
        """Return why the stretch since the mark does not count; nothing if it does. The stretch ends here.

        A reason is the same text each time ("CPU quota used up"), so that reasons can be counted.
        """


class Progress(Protocol):
    """Shows how far a measurement is."""

    def session_started(self, subject: Subject, number: int, of: int) -> None:
        """Session ``number`` of ``of`` begins, counted from 1."""

    def session_ended(self, subject: Subject, number: int, of: int, seconds: float) -> None:
        """That session took so many seconds."""

    def replanned(
        self, subject: Subject, planned: float, seconds: float, left: Sequence[tuple[int, float]]
    ) -> None:
        """Show that a session takes other seconds than planned, and the seconds left to some sessions."""

    def campaign_ended(self) -> None:
        """No further session follows, whatever the last one's number was."""

    def waiting(self, holder: str) -> None:
        """Another run measures on this machine; this one waits for it."""

    def untimed(self, subject: Subject, doing: str, number: int = 0, of: int = 0) -> None:
        """Work that is not timed: it begins, or ``number`` readings of ``of`` are done."""

    def preparing(self, doing: str) -> None:
        """Something takes long that must exist first, such as a build."""
