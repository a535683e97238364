"""The baselines that this project stores are those that this version reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.baselines.folders import fingerprints, machine_files, machine_parts, portable_files
from pytest_llm.machine.fingerprint import name_of, parts

if TYPE_CHECKING:
    from pytest_llm.baselines.module_files import ModuleFiles

FOLDER = Path(__file__).parents[3] / "baselines"
TESTS = {"test_deep_context", "test_long_prompt", "test_short_chat"}


def test_a_machine_s_folder_is_named_by_its_parts() -> None:
    for folder in fingerprints(FOLDER):
        found = machine_parts(FOLDER, folder)
        assert (found.keys(), name_of(found)) == (parts().keys(), folder)


def test_they_can_be_read_and_are_those_of_the_tests_that_are_there() -> None:
    stores: list[ModuleFiles[Any]] = [machine_files(FOLDER, each) for each in fingerprints(FOLDER)]
    for files in [*stores, portable_files(FOLDER)]:
        keys = list(files.everything())
        assert TESTS <= {key.name for key in keys} <= TESTS | {"test_output"}
        assert all((FOLDER.parent / key.module).is_file() for key in keys)
    assert stores
