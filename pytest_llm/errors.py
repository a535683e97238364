"""Errors of this package, as one tree.

Every message is one line that names the thing and the fix. Output of the engine that explains it is in
``EngineError.log``, apart from the message.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class LLMBenchError(Exception):
    """Base of every error that this package raises on purpose."""


class UsageError(LLMBenchError):
    """The user asked for something impossible."""


class UnitError(UsageError):
    """A text that is not a number with a unit of the right kind."""


class UnknownNameError(UsageError):
    """A name that is not known; the message offers the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, fix: str = "") -> None:
        """Compose the message; ``kind`` is in the singular ("load option"), ``fix`` is a clause."""
        known = sorted(known)
        nearest = _nearest(name, known)
        offer = f"did you mean {' or '.join(nearest)}?" if nearest else f"known: {', '.join(known)}"
        super().__init__(f"unknown {kind} {name!r}: {offer}" + (f" ({fix})" if fix else ""))
        self.name = name
        self.nearest = tuple(nearest)


def _nearest(name: str, known: list[str]) -> list[str]:
    """Return up to three similar names, or one that is far more similar than the others."""
    names, wanted = {_folded(each): each for each in known}, _folded(name)
    found = difflib.get_close_matches(wanted, [*names], n=3, cutoff=0.5)
    alike = [difflib.SequenceMatcher(None, each, wanted).ratio() for each in found]
    return [names[each] for each, ratio in zip(found, alike, strict=True) if ratio > alike[0] - 0.15]


def _folded(name: str) -> str:
    """Return a name in small letters, with underscores for dashes, to compare it with others."""
    return name.lower().replace("-", "_")


class SameBuildError(UsageError):
    """Two builds that are to be compared are one, or one that is to be compared with itself is two."""


class DataError(UsageError):
    """A file or an answer from outside is unreadable, too large, or not the JSON or TOML it should be."""

    def __init__(self, what: object, reason: str) -> None:
        """Compose the message; ``reason`` is a predicate: "is not JSON (…)"."""
        super().__init__(f"{what} {reason}")
        self.reason = reason


class DataMissingError(DataError):
    """There is no such file."""


class NoModelNamedError(UsageError):
    """A test names no model, and no option does."""


class ContextTooSmallError(UsageError):
    """The workload needs more tokens than the context has."""


class ModelError(LLMBenchError):
    """The model's file is unusable."""


class ModelMissingError(ModelError):
    """There is no such file."""


class ModelHeaderError(ModelError):
    """The file is not GGUF, or its header is damaged."""

    def __init__(self, path: object, offset: int, reason: str) -> None:
        super().__init__(f"{path}: {reason} (at byte {offset})")
        self.offset = offset
        self.reason = reason


class ModelPartsError(ModelError):
    """Parts of a split model are missing, or do not belong together."""


class ModelHashError(ModelError):
    """The model's SHA-256 is not the pinned one."""


class ModelFetchError(ModelError):
    """The download of the model failed."""


class MachineBusyError(LLMBenchError):
    """Another run measures on this machine."""


class BrokenOffError(LLMBenchError):
    """Something outside ended a measurement, which is not begun again."""

    def __init__(self, cause: BaseException) -> None:
        """Compose the message; ``cause`` is what ended it."""
        reason = (str(cause) or type(cause).__name__).splitlines()[0]
        super().__init__(
            f"measuring was broken off ({reason}) and is not begun again in this run: if a time limit ended "
            "it, give the test more time, then run pytest again"
        )


class ResultsError(LLMBenchError):
    """A results file is unreadable."""


class BaselineError(LLMBenchError):
    """Stored baselines are unreadable or cannot be written."""


class EngineError(LLMBenchError):
    """The system that runs models failed."""

    def __init__(self, message: str, log: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.log = log


class EngineMissingError(EngineError):
    """The engine is not installed."""


class NotCoveredError(EngineError):
    """No build of the engine can measure what was asked for; the rest of a run goes on."""


class MetricNotCoveredError(NotCoveredError, AttributeError):
    """A run lacks the metric; an AttributeError as well, so that ``hasattr`` answers."""


class BuildError(EngineError):
    """A build cannot be made, or a library does not fit its binding."""


class LoadRefusedError(EngineError):
    """The engine refused to load the model."""


class CPUFallbackError(EngineError):
    """Layers that should be on a device are on the CPU, which llama.cpp at most logs."""


class RequestFailedError(EngineError):
    """The engine loaded the model, then refused a request."""


class WrongOutputError(RequestFailedError):
    """Logits or embeddings hold NaN or infinity."""


class WorkerDiedError(EngineError):
    """The engine's process ended without an answer."""


class WorkerAnswerError(WorkerDiedError):
    """The engine's process gave an answer that cannot be trusted, and was ended."""


class WorkerHungError(EngineError):
    """The engine's process did not answer in time."""
