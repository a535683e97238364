"""Which tests there are, as far as pytest saw them: what is stored of others may be removed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llm.records import TestKey  # noqa: TC001 - codecs read annotations

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_llm.baselines.records import Conditions


@dataclass(frozen=True)
class OpenTest:
    """A test whose parameters another run may see otherwise: options make them, or its markers are bad."""

    module: str
    name: str


@dataclass(frozen=True)
class Collected:
    """What one collection saw.

    Attributes:
        keys: Every benchmark, those that were deselected included.
        open_tests: Of these, the ones that may have other parameters.
        skipped: The names, without suffix, of files and folders that were skipped whole.
        partial: Why there may be others that it did not see; "" if it saw all.
    """

    keys: tuple[TestKey, ...]
    open_tests: tuple[OpenTest, ...] = ()
    skipped: tuple[str, ...] = ()
    partial: str = ""

    def unknown(self, stored: Iterable[TestKey]) -> list[TestKey]:
        """Return the stored tests that are not there and would not be in another run; in the same order."""
        keys, open_tests, skipped = set(self.keys), set(self.open_tests), set(self.skipped)
        return [
            key
            for key in stored
            if key not in keys
            and OpenTest(key.module, key.name) not in open_tests
            and skipped.isdisjoint(re.split(r"[/.]", key.module))
        ]


def likely(key: TestKey, gone: Mapping[TestKey, Conditions], conditions: Conditions | None) -> TestKey | None:
    """Return the test that was likely renamed or moved to a key; None if none or several were.

    Args:
        key: Of a test without baselines.
        gone: Stored tests that no longer exist, with what they were recorded under.
        conditions: Of the test; None if they are not known.
    """
    alike = [
        each for each, recorded in gone.items() if conditions is None or not recorded.difference(conditions)
    ]
    ways = (
        [old for old in alike if _in_other_file(old, key)],
        [old for old in alike if (old.module, old.name) == (key.module, key.name)],
        [old for old in alike if (old.module, old.parameters) == (key.module, key.parameters)],
        [old for old in gone if _in_other_file(old, key)],
    )
    found = next((each for each in ways if each), [])
    return found[0] if len(found) == 1 else None


def _in_other_file(old: TestKey, key: TestKey) -> bool:
    return (old.name, old.parameters) == (key.name, key.parameters)
