"""Which tests there are, as far as pytest saw them: what is stored of others may be removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_llm.records import TestKey


@dataclass(frozen=True)
class OpenTest:
    """A test whose parameters follow from options, so that another run may have others of it."""

    module: str
    name: str


@dataclass(frozen=True)
class Collected:
    """What one collection saw.

    Attributes:
        keys: Every benchmark, those that were deselected included.
        open_tests: Of these, the ones with parameters that options decide.
        skipped: The names, without suffix, of files and folders that were skipped whole.
        partial: Why there may be others that it did not see; "" if it saw all.
    """

    keys: frozenset[TestKey]
    open_tests: frozenset[OpenTest] = frozenset()
    skipped: frozenset[str] = frozenset()
    partial: str = ""

    def may_be(self, key: TestKey) -> bool:
        """Whether a test is there, or may be in another run."""
        return (
            key in self.keys
            or OpenTest(key.module, key.name) in self.open_tests
            or not self.skipped.isdisjoint(key.module.split("."))
        )

    def unknown(self, stored: Iterable[TestKey]) -> list[TestKey]:
        """Return the stored tests that are surely not there, in the same order."""
        return [key for key in stored if not self.may_be(key)]
