"""Functions that the binding declares and the worker needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.engines.llama_cpp_python.worker.names import NEEDS
from pytest_llm.suite.candidate import broken, not_covered
from pytest_llm.suite.summary import OLDER_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.suite.candidate import Candidate


@pytest.mark.parametrize("module", ["llama_cpp", "mtmd_cpp"])
def test_the_library_has_every_function_that_is_declared(module: str, candidate: Candidate) -> None:
    """Each is looked up separately; an import stops at the first missing one."""
    found = candidate.symbols(module)
    if found["trouble"]:
        not_covered(f"functions of {module}: {found['trouble']}")
    declared, missing = found["declared"], found["missing"]
    if missing:
        broken(
            f"{module}.py declares {len(declared)} functions, {found['library']} lacks {len(missing)}: "
            f"{', '.join(missing)}\n"
            f"importing {module} fails at the first: binding and library are of two releases"
        )


@pytest.mark.parametrize("name", list(NEEDS))
def test_the_worker_finds(
    name: str, candidate: Candidate, record_property: Callable[[str, object], None]
) -> None:
    """The function exists under its newest name or an older one."""
    found, need = candidate.names[name], NEEDS[name]
    if found and found != name:
        record_property(OLDER_NAME, f"{found} for {name}")
    if found or need.lost == "":
        return
    names = " nor ".join((name, *need.older))
    if need.lost is None:
        broken(f"the build has {'neither ' if need.older else 'no '}{names}: no model can be run on it")
    not_covered(f"{need.lost}: the build has no {name}")
