"""Which operation got slower: from two builds to the sources that they were made of."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

from pytest_llm.checks.operators import Around, compare, without
from pytest_llm.errors import LLMBenchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.builds.provider import Provider
    from pytest_llm.checks.operators import Work
    from pytest_llm.records import BuildReference, OperatorRun
    from pytest_llm.records.protocols import Clock, Programs


def operators_around(tell: Callable[[str], None], clock: Clock = time.monotonic) -> Around:
    """Return what a comparison of operators gets from this machine."""
    return Around(lambda: random.random() < 0.5, clock, tell, os.cpu_count() or 1)


def compare_builds(
    provider: Provider, builds: tuple[BuildReference, BuildReference], work: Work, around: Around
) -> OperatorRun:
    """Return which operations take how long in a candidate and a reference.

    Raises nothing of ours: what is not there is told in the record, since it explains and decides nothing.
    """
    try:
        sides = [_sources(provider, build, around.tell) for build in builds]
        return compare(sides[0], sides[1], work, around)
    except LLMBenchError as error:
        return without(work.phase, str(error))


def _sources(provider: Provider, build: BuildReference, tell: Callable[[str], None]) -> Programs:
    found = provider.tree(build, tell)
    if found is None:
        raise LLMBenchError(f"{build} has no sources here")
    return found
