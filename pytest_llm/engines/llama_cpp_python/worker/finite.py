"""Check that what llama.cpp computed is finite, outside of everything that is timed."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from .bindings import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .subject import LoadedSubject

_PIECE = 4096  # numbers


def check_logits(subject: LoadedSubject, rows: Iterable[int]) -> None:
    """Raise if the logits after rows of the last batch hold NaN or infinity.

    Raises:
        RefusedError: They do.
    """
    if not subject.bindings.has("llama_get_logits_ith"):
        return
    for index in rows:
        logits = subject.llama.llama_get_logits_ith(subject.context, index)
        if not is_finite(logits, subject.n_vocabulary):
            raise RefusedError("output", "NaN or infinite logits: whatever it generates is wrong")


def check_embeddings(vectors: Iterable[Any], width: int) -> None:
    """Raise if embeddings hold NaN or infinity.

    Raises:
        RefusedError: They do.
    """
    if not all(is_finite(each, width) for each in vectors):
        raise RefusedError("output", "NaN or infinite embeddings: whatever it embeds is wrong")


def is_finite(numbers: Any, count: int) -> bool:
    """Return if an array of C floats holds neither NaN nor infinity."""
    # llama_cpp has imported it if it is there; another library would be part of the memory that is measured.
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        return bool(numpy.isfinite(numpy.ctypeslib.as_array(numbers, shape=(count,))).all())
    pieces = (numbers[start : min(start + _PIECE, count)] for start in range(0, count, _PIECE))
    return all(math.isfinite(each) for piece in pieces for each in piece)
