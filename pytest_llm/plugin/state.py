"""What hooks and fixtures share: the bench of this run, and what is stashed with its items.

This module loads in every run of pytest and imports nothing but pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_llm.checks.findings import Finding
    from pytest_llm.plugin.session import Bench
    from pytest_llm.records import Benchmark, Subject

_BENCH: pytest.StashKey[Bench] = pytest.StashKey()

# Whether it has our marker; its markers when they were read; a benchmark to run; a subject to load for
# `gguf_model`; what is wrong with the item; what was found, or why nothing was.
MARKED: pytest.StashKey[bool] = pytest.StashKey()
READ: pytest.StashKey[tuple[pytest.Mark, ...]] = pytest.StashKey()
BENCHMARK: pytest.StashKey[Benchmark] = pytest.StashKey()
FUNCTIONAL: pytest.StashKey[Subject] = pytest.StashKey()
PROBLEM: pytest.StashKey[str] = pytest.StashKey()
FINDING: pytest.StashKey[Finding] = pytest.StashKey()
UNMEASURED: pytest.StashKey[BaseException] = pytest.StashKey()
# The failing verdicts of a benchmark are the message of its failure.
EXPLAINED: pytest.StashKey[BaseException] = pytest.StashKey()

# The property of a test's report that holds its worst verdict.
WORST = "llm_verdict"


def bench_of(config: pytest.Config) -> Bench:
    """Return the one bench of this run, made when it is first asked for.

    Raises:
        pytest.UsageError: An option makes no sense.
    """
    if _BENCH not in config.stash:
        from pytest_llm.errors import UsageError
        from pytest_llm.plugin import settings
        from pytest_llm.plugin.homes import Homes
        from pytest_llm.plugin.session import Bench
        from pytest_llm.plugin.speeds import Speeds
        from pytest_llm.system.text import LONGEST_LINE, clean

        try:
            read = settings.read(config)
            config.stash[_BENCH] = Bench(read, Homes(config, read), Speeds(getattr(config, "cache", None)))
        except UsageError as error:
            raise pytest.UsageError(clean(error, LONGEST_LINE)) from None
    return config.stash[_BENCH]


def existing_bench(config: pytest.Config) -> Bench | None:
    """Return the bench of this run, if one was made."""
    return config.stash.get(_BENCH, None)
