"""Lines of progress while a model is fetched or hashed."""

from __future__ import annotations

import pytest

from pytest_llm.models.progress import Meter


@pytest.mark.parametrize(
    ("of", "lines"),
    [
        (2**34, ["hashing m.gguf: 2.000 GiB of 16.00 GiB", "hashing m.gguf: 4.000 GiB of 16.00 GiB"]),
        (None, ["hashing m.gguf: 2.000 GiB", "hashing m.gguf: 4.000 GiB"]),
    ],
)
def test_a_line_comes_every_ten_seconds(of: int | None, lines: list[str]) -> None:
    now, shown = 0.0, list[str]()
    meter = Meter("hashing m.gguf", shown.append, of, lambda: now)
    for second in range(1, 21):
        now = float(second)
        meter(second * 2**30 // 5)
    assert shown == lines
