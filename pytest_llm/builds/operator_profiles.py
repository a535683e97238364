"""Operator profiles of two builds that were made from sources."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

from pytest_llm.checks.operators import ProfilingContext, compare, without
from pytest_llm.errors import LLMBenchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.builds.provider import Provider
    from pytest_llm.checks.operators import Work
    from pytest_llm.records import BuildReference, OperatorRun
    from pytest_llm.records.protocols import Clock, Programs


def operators_around(on_progress: Callable[[str], None], clock: Clock = time.monotonic) -> ProfilingContext:
    """Return the context of a comparison on this machine."""
    return ProfilingContext(lambda: random.random() < 0.5, clock, on_progress, os.cpu_count() or 1)


def compare_builds(
    provider: Provider, builds: tuple[BuildReference, BuildReference], work: Work, context: ProfilingContext
) -> OperatorRun:
    """Return the times of operations in a candidate and a reference.

    It explains a verdict and decides none, so every error of ours becomes a reason in the record.
    """
    try:
        sides = [_sources(provider, build, context.on_progress) for build in builds]
        return compare(sides[0], sides[1], work, context)
    except LLMBenchError as error:
        return without(work.phase, str(error))


def _sources(provider: Provider, build: BuildReference, on_progress: Callable[[str], None]) -> Programs:
    found = provider.tree(build, on_progress)
    if found is None:
        raise LLMBenchError(f"{build} has no sources here")
    return found
