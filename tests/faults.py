"""Faults that a run survives: each test names those that it lets happen, and the docs list them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Test = TypeVar("Test", bound="Callable[..., object]")

# Modules with such tests, in the order of the table.
MODULES = (
    "tests.system.faults.test_protocol",
    "tests.system.faults.test_flood",
    "tests.integration.worker.test_log_text",
    "tests.system.faults.test_forged_log",
    "tests.integration.cli.test_hostile_text",
    "tests.integration.engines.test_llama_bench",
    "tests.integration.worker.test_run_faults",
)


class Fault(NamedTuple):
    """What happens, and how the run goes on or ends."""

    happens: str
    then: str


def fault(happens: str, then: str) -> Callable[[Test], Test]:
    """Name a fault that a test lets happen."""
    return faults([Fault(happens, then)])


def faults(several: list[Fault]) -> Callable[[Test], Test]:
    """Name the faults that a parametrized test lets happen."""

    def named(test: Test) -> Test:
        test.__dict__.setdefault("faults", []).extend(several)
        return test

    return named


def rows() -> Iterator[tuple[str, Fault]]:
    """Yield every fault, after the file and the name of its test."""
    for name in MODULES:
        module = importlib.import_module(name)
        path = f"{name.replace('.', '/')}.py"
        for test in vars(module).values():
            if getattr(test, "__module__", "") == name:
                for each in getattr(test, "faults", []):
                    yield f"{path}::{test.__name__}", each
