"""Divergence of two distributions of the next token, from logits, in double precision.

numpy is imported in the functions: only comparisons of outputs need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llm.records import Divergence, Furthest
from pytest_llm.stats.summary import percentile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_ROWS = 64  # at a time: 16 MiB of doubles with a vocabulary of 32,768


def log_softmax(logits: NDArray[Any]) -> Floats:
    """Return the natural logarithm of each row's softmax; rows are first shifted by their maximum."""
    import numpy as np

    rows = logits.astype(np.float64)
    rows -= rows.max(axis=1, keepdims=True)
    rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
    return rows


def kl_divergence(reference: Floats, candidate: Floats) -> Floats:
    """Return KL(reference || candidate) of each row in nats, from log-probabilities.

    Kullback and Leibler (1951), "On information and sufficiency", equation 2.4. Values that rounding makes
    negative become 0.
    """
    import numpy as np

    found: Floats = (np.exp(reference) * (reference - candidate)).sum(axis=1)
    return np.maximum(found, 0.0)


def divergence(
    reference: NDArray[Any], candidate: NDArray[Any], following: Sequence[int | None], top_k: int
) -> Divergence:
    """Compare finite logits of shape (positions, vocabulary) row by row.

    ``following`` has the token after each position in the text; the log-probabilities of the reference's
    ``top_k`` likeliest tokens (at least 1) are compared.
    """
    import numpy as np

    kl: list[float] = []
    top: list[float] = []
    leads: list[float] = []
    onward: list[float] = []
    flips, furthest = 0, Furthest(0, 0, 0.0, 0.0)
    width = reference.shape[1]
    best, two = -min(top_k, width), -min(2, width)
    for start in range(0, len(following), _ROWS):
        part = slice(start, start + _ROWS)
        ours, theirs = log_softmax(candidate[part]), log_softmax(reference[part])
        rows = kl_divergence(theirs, ours)
        if not kl or rows.max() > max(kl):
            furthest = _furthest(int(rows.argmax()), start, theirs, ours)
        kl += rows.tolist()
        flips += int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum())
        likeliest = np.argpartition(theirs, sorted({best, two}), axis=1)[:, min(best, two) :]
        change = np.take_along_axis(ours, likeliest, axis=1) - np.take_along_axis(theirs, likeliest, axis=1)
        top += np.abs(change[:, best:]).max(axis=1).tolist()
        leads += np.ptp(change[:, two:], axis=1).tolist()
        onward += [
            float(ours[row, token] - theirs[row, token])
            for row, token in enumerate(following[part])
            if token is not None
        ]
    return Divergence(
        positions=len(kl),
        mean_kl=sum(kl) / len(kl),
        tail_kl=percentile(kl, 99),
        max_kl=max(kl),
        flips=flips,
        top_change=percentile(top, 99),
        lead_change=max(leads),
        furthest=furthest,
        following_change=sum(onward) / len(onward) if onward else 0.0,
    )


def _furthest(row: int, start: int, reference: Floats, candidate: Floats) -> Furthest:
    import numpy as np

    before, now = reference[row], candidate[row]
    token = int(np.abs(np.exp(before) * (before - now)).argmax())
    return Furthest(start + row, token, float(before[token]), float(now[token]))


def read_logits(path: Path, positions: int) -> NDArray[np.float32]:
    """Map a file of 32-bit floats as logits of shape (positions, vocabulary), without reading it."""
    import numpy as np

    return np.memmap(path, dtype=np.float32, mode="r").reshape(positions, -1)


def not_finite(logits: NDArray[Any]) -> int:
    """Return the number of rows with NaN or infinity."""
    import numpy as np

    return sum(int((~np.isfinite(part)).any(axis=1).sum()) for part in _parts(logits))


def same_bits(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Return whether all values are equal to the last bit; a NaN equals the same NaN."""
    import numpy as np

    return one.shape == other.shape and all(
        bool((mine.view(np.uint32) == its.view(np.uint32)).all())
        for mine, its in zip(_parts(one), _parts(other), strict=True)
    )


def _parts(logits: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (logits[start : start + _ROWS] for start in range(0, len(logits), _ROWS))
