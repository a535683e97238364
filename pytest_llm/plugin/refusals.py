"""Refusals of a configuration in which nothing can be measured, or in which a gate would be switched off."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING

import pytest

from pytest_llm.errors import UnknownNameError, UsageError
from pytest_llm.plugin.options import OPTIONS, ini_keys
from pytest_llm.plugin.pytest_benchmark import skips
from pytest_llm.system.text import LONGEST_LINE, clean

if TYPE_CHECKING:
    from pytest_llm.plugin.session import Bench


def check_alone(config: pytest.Config) -> None:
    """Refuse pytest-xdist: each process would measure the load of the others.

    Raises:
        UsageError: Tests are distributed.
    """
    if hasattr(config, "workerinput") or config.pluginmanager.has_plugin("dsession"):
        raise UsageError(
            "--llm-bench cannot measure under pytest-xdist, where tests run beside each other: add -n 0"
        )


def check_reruns(config: pytest.Config) -> None:
    """Refuse the one option of pytest-rerunfailures that overrides markers."""
    if config.getoption("force_reruns", None):
        raise UsageError(
            "--llm-bench does not go with --force-reruns, which runs a benchmark until it passes: "
            "take --reruns, which benchmarks opt out of"
        )


def check_not_skipped(config: pytest.Config) -> None:
    """Refuse to skip all that is to be measured."""
    if skips(config):
        raise UsageError(
            "--llm-bench runs benchmarks and --benchmark-skip skips them: take one of the two out of the "
            "command line, addopts or the ini file"
        )


def check_no_namesake() -> None:
    """Refuse the distribution whose import package has the same name."""
    with suppress(PackageNotFoundError):
        distribution("pytest-llm")
        raise UsageError(
            "the distribution pytest-llm is installed as well, and its package pytest_llm overwrites "
            "parts of this one: uninstall pytest-llm, then reinstall pytest-llm-bench"
        )


def check_ini_keys(config: pytest.Config) -> None:
    """Refuse unknown keys that begin like ours: a typing error would switch a gate off."""
    for key in ini_keys(config):
        known = [option.name for option in OPTIONS]
        try:
            config.getini(key)
        except (pytest.UsageError, TypeError, ValueError) as error:  # which one, depends on pytest's version
            if key in known:
                raise UsageError(f"ini key {key}: {error}") from None
            if isinstance(error, ValueError):
                where = f"in {config.inipath}" if config.inipath else "given with -o"
                raise UnknownNameError("ini key", key, known, fix=where) from None


def check_limits(bench: Bench) -> None:
    """Refuse a plan that cannot reach its verdicts within its limits of time.

    Raises:
        pytest.UsageError: It cannot.
    """
    try:
        bench.check_limits()
    except UsageError as error:
        raise pytest.UsageError(clean(error, LONGEST_LINE)) from None
