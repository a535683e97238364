"""Equal sizes of what processes are started with.

The kernel puts a program's path, its arguments and its environment at the top of the stack, and so their size
moves everything below: it alone can change the speed of a build by per cents (Mytkowicz et al., "Producing
wrong data without doing anything obviously wrong!", 2009). Padded, both sides of a pair get the same size.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A value of it that is there already is kept, and padded as if it were not: sham pairs differ by it.
PADDING = "PYTEST_LLM_PADDING"
_STEP = 2**14  # bytes; sizes are padded to multiples of it


def padded_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment of a size that depends on no value but that of ``PADDING``."""
    size = sum(_bytes(name, value) for name, value in environment.items() if name != PADDING)
    fill = -(size + _bytes(PADDING, "")) % _STEP
    return {**environment, PADDING: environment.get(PADDING, "") + "x" * fill}


def padded_arguments(arguments: Sequence[str]) -> list[str]:
    """Return a program and its arguments with spaces after the last one, which mean nothing to it."""
    # The kernel stores the path of the program twice.
    size = sum(_bytes(each) for each in (arguments[0], *arguments))
    return [*arguments[:-1], arguments[-1] + " " * (-size % _STEP)]


def _bytes(*words: str) -> int:
    return sum(len(os.fsencode(word)) + 1 for word in words)
