"""Operators that got slower in a culprit, if both of its builds were made from sources."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_llm.bisect import interpret
from pytest_llm.checks.operators import ProfilingContext, Work, without
from pytest_llm.checks.operators.explain import phases
from pytest_llm.errors import EngineError, MachineBusyError
from pytest_llm.records import Run, metrics
from pytest_llm.records.serialization import decode
from pytest_llm.system.lock import PATIENCE, MeasuringLock, lock_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.bisect.bisection import Bisected
    from pytest_llm.bisect.search import Stretch
    from pytest_llm.builds.provider import Provider
    from pytest_llm.records import BuildReference, OperatorRun


def operators_of(
    found: Bisected,
    step: Stretch,
    provider: Provider,
    parse: Callable[[str], BuildReference],
    on_progress: Callable[[str], None],
) -> tuple[OperatorRun, ...]:
    """Return the operators' times on both sides of a step; none if a side has no sources."""
    if found.target == interpret.OUTPUT:
        return ()
    asked = phases(metrics.find(found.target))
    builds = parse(found.builds[step.last]), parse(found.builds[step.first])
    if not asked or not all(_has_sources(provider, build, on_progress) for build in builds):
        return ()
    results = found.between(step.first, step.last).results
    run = decode(Run, results["runs"][results["tests"][0]["run"]])
    lock = MeasuringLock(lock_path(os.environ))
    try:
        lock.acquire(PATIENCE, on_progress)
        return tuple(
            provider.compare_operators(builds, Work.of(run, phase), ProfilingContext(on_progress))
            for phase in asked
        )
    except MachineBusyError as error:
        return tuple(without(phase, str(error)) for phase in asked)
    finally:
        lock.release()


def _has_sources(provider: Provider, build: BuildReference, on_progress: Callable[[str], None]) -> bool:
    with suppress(EngineError):
        return provider.tree(build, on_progress) is not None
    return False
