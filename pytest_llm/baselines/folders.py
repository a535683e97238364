"""Files of a folder of baselines: of each machine, of each class of machines, and of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llm.baselines.file_format import MACHINE, PORTABLE
from pytest_llm.baselines.merge import merge_invariants, merge_runs
from pytest_llm.baselines.module_files import ModuleFiles
from pytest_llm.baselines.reconcile import reconcile_invariants, reconcile_runs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_llm.baselines.records import RecordedInvariants, RecordedRuns
    from pytest_llm.records import JSON

ANCHORED = "anchored"


def fingerprints(folder: Path) -> list[str]:
    """Return the machines that have baselines in a folder, sorted."""
    machines = folder / "machines"
    return sorted({path.relative_to(machines).parts[0] for path in machines.glob("*/**/*.json")})


def machine_files(
    folder: Path, fingerprint: str, machine: Mapping[str, JSON] | None = None
) -> ModuleFiles[RecordedRuns]:
    """Return the files of a machine; with ``machine``, files of other parts are refused."""
    return ModuleFiles(folder / "machines" / fingerprint, MACHINE, merge_runs, reconcile_runs, machine)


def portable_files(folder: Path) -> ModuleFiles[RecordedInvariants]:
    """Return the files that hold for every machine."""
    return ModuleFiles(folder / "portable", PORTABLE, merge_invariants, reconcile_invariants)


def stored_files(folder: Path) -> dict[str, ModuleFiles[Any]]:
    """Return all files of a folder by the words for where they are: machines, then classes, then invariants.

    Raises:
        BaselineError: A file cannot be used.
    """
    machines = {
        f"machine {each}": machine_files(folder, each, machine_parts(folder, each))
        for each in fingerprints(folder)
    }
    classes = {
        f"anchored {each}": ratio_files(folder, each, class_parts(folder, each))
        for each in class_names(folder)
    }
    return {**machines, **classes, "invariants": portable_files(folder)}


def machine_parts(folder: Path, fingerprint: str) -> Mapping[str, JSON]:
    """Return what a machine's fingerprint is made of, as its first file says; nothing if it has no files.

    Raises:
        BaselineError: The file cannot be used.
    """
    return _parts(machine_files(folder, fingerprint))


def class_parts(folder: Path, name: str) -> Mapping[str, JSON]:
    """Return what a class of machines is made of, as its first file says; as :func:`machine_parts`."""
    return _parts(ratio_files(folder, name))


def _parts(files: ModuleFiles[RecordedRuns]) -> Mapping[str, JSON]:
    first = next(iter(files.modules()), None)
    parts: Mapping[str, JSON] = files.load(first).machine if first else {}
    return parts


def class_names(folder: Path) -> list[str]:
    """Return the classes that have ratios in a folder of baselines, sorted."""
    anchored = folder / ANCHORED
    return sorted({path.relative_to(anchored).parts[0] for path in anchored.glob("*/**/*.json")})


def ratio_files(
    folder: Path, name: str, machine_class: Mapping[str, JSON] | None = None
) -> ModuleFiles[RecordedRuns]:
    """Return the files of a class; with ``machine_class``, files of other parts are refused."""
    return ModuleFiles(folder / ANCHORED / name, MACHINE, merge_runs, reconcile_runs, machine_class)
