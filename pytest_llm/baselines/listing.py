"""Everything that a folder of baselines holds, whichever machine it was recorded on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pytest_llm.baselines.module_file import FactsCodec, MetricsCodec, Shelf

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_llm.baselines.records import Recorded, RecordedInvariants
    from pytest_llm.records import JSON, TestKey

Test = TypeVar("Test")


@dataclass(frozen=True)
class Machine:
    """What was recorded on one machine.

    Attributes:
        fingerprint: The name of its folder.
        parts: What the fingerprint is made of, as its first file says.
        tests: The runs of each test, in the order of modules and names.
    """

    fingerprint: str
    parts: Mapping[str, JSON]
    tests: Mapping[TestKey, Recorded]


def fingerprints(folder: Path) -> list[str]:
    """Return the machines that have baselines in a folder, sorted."""
    return sorted({path.parent.name for path in folder.glob("machines/*/*.json")})


def machine(folder: Path, fingerprint: str) -> Machine:
    """Return what was recorded on a machine; nothing if it has no files.

    Raises:
        BaselineError: A file is there and cannot be used.
    """
    shelf = Shelf(folder / "machines" / fingerprint, "machine", MetricsCodec())
    modules = shelf.modules()
    parts = shelf.head(modules[0])["machine"] if modules else {}
    return Machine(fingerprint, parts, _tests(shelf))


def invariants(folder: Path) -> dict[TestKey, RecordedInvariants]:
    """Return the facts that hold on every machine, in the order of modules and names.

    Raises:
        BaselineError: A file is there and cannot be used.
    """
    return _tests(Shelf(folder / "portable", "portable", FactsCodec()))


def _tests(shelf: Shelf[Test]) -> dict[TestKey, Test]:
    found = {key: test for module in shelf.modules() for key, test in (shelf.read(module) or {}).items()}
    return dict(sorted(found.items(), key=lambda item: (item[0].module, item[0].name, item[0].parameters)))
