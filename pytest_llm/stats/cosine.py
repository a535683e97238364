"""Cosine distance of embeddings, in double precision, and embeddings as text.

numpy is imported in the functions: only comparisons of outputs need it.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from pytest_llm.records import EmbeddingDistance

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pytest_llm.records import EmbeddingVariant

# Each variant rounds one thing differently, as in ``tolerance``.
_MARGIN = 4.0
# An angle of a quarter of a degree: vectors of 16 bits are a hundredth of it apart.
RESOLUTION = 1e-5


def cosine_distances(
    reference: Sequence[Sequence[float]], candidate: Sequence[Sequence[float]]
) -> list[float]:
    """Return 1 less the cosine of the angle between the vectors at equal places, 0 to 2.

    A vector of zeros is at distance 1 from every other one, and at 0 from another of zeros.
    """
    import numpy as np

    found = []
    for first, second in zip(reference, candidate, strict=True):
        one, other = _scaled(first), _scaled(second)  # squares of tiny values would vanish
        product = float(np.linalg.norm(one) * np.linalg.norm(other))
        if not product:
            found.append(0.0 if np.array_equal(one, other) else 1.0)
        else:
            found.append(max(0.0, 1.0 - float(one @ other) / product))
    return found


def _scaled(vector: Sequence[float]) -> NDArray[np.float64]:
    """Return a vector whose largest value is 1; zeros stay zeros."""
    import numpy as np

    values = np.asarray(vector, np.float64)
    return values / (float(np.abs(values).max(initial=0.0)) or 1.0)


def embedding_distance(
    reference: Sequence[Sequence[float]],
    candidate: Sequence[Sequence[float]],
    variants: tuple[EmbeddingVariant, ...] = (),
) -> EmbeddingDistance:
    """Return how far the embeddings of a candidate are from those of its reference, of the same texts."""
    distances = cosine_distances(reference, candidate)
    largest = max(distances)
    return EmbeddingDistance(sum(distances) / len(distances), largest, distances.index(largest), variants)


def embedding_tolerance(variants: Sequence[EmbeddingVariant]) -> float:
    """Return the largest distance that is rounding."""
    return max(RESOLUTION, _MARGIN * max((each.distance for each in variants), default=0.0))


def to_text(vector: Sequence[float]) -> str:
    """Return a vector as floats of 16 bits in base64, scaled to a largest value of 1."""
    return base64.b64encode(_scaled(vector).astype("<f2").tobytes()).decode()


def from_text(text: str) -> list[float]:
    """Return the vector that :func:`to_text` wrote; its length is lost.

    Raises:
        ValueError: It did not.
    """
    import numpy as np

    return [float(each) for each in np.frombuffer(base64.b64decode(text, validate=True), "<f2")]
