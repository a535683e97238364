"""Headers that no file has: small enough to compute by hand what they take."""

from __future__ import annotations

from typing import Any

from pytest_llm.models import Header
from pytest_llm.records import Weight

F32, F16, Q4_0 = 0, 1, 2


def header(
    architecture: str = "llama",
    *,
    layers: int = 2,
    embedding_length: int = 64,
    weights: tuple[Weight, ...] = (),
    per_layer: dict[str, tuple[int, ...]] | None = None,
    **keys: Any,
) -> Header:
    """A header with keys of its architecture; a dot is written ``__``."""
    own = {f"{architecture}.{name.replace('__', '.')}": value for name, value in keys.items()}
    return Header(
        version=3,
        architecture=architecture,
        quantization="F32",
        parameters=0,
        layers=layers,
        heads=0,
        kv_heads=0,
        embedding_length=embedding_length,
        context_length=4096,
        vocabulary_size=8,
        alignment=32,
        tensors=len(weights),
        metadata={f"{architecture}.embedding_length": embedding_length, **own},
        weights=weights,
        per_layer={f"{architecture}.{name}": each for name, each in (per_layer or {}).items()},
    )


def weight(name: str, row: int, rows: int = 1, kind: int = F32) -> Weight:
    return Weight(name, kind, (row, rows, 1, 1))
