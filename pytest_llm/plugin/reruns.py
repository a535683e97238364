"""Where pytest-rerunfailures is at work, benchmarks are none of its business.

A gate that is asked again until it says yes has no error rate: reruns launder regressions.
"""

from __future__ import annotations

import pytest

from pytest_llm.errors import UsageError


def opt_out(item: pytest.Item) -> None:
    """Keep a benchmark from being run again, whatever its own markers and the options say."""
    if not hasattr(item.config.option, "reruns"):
        return  # its marker is unknown without it
    # The closest marker wins; the condition also holds where counts of marker and option are added up.
    item.add_marker(pytest.mark.flaky(reruns=0, condition=False), append=False)


def check(config: pytest.Config) -> None:
    """Refuse the one option that overrules markers.

    Raises:
        UsageError: It is given.
    """
    if config.getoption("force_reruns", None):
        raise UsageError(
            "--llm-bench does not go with --force-reruns, which runs a benchmark until it passes: "
            "take --reruns, which benchmarks opt out of"
        )
