"""The two processes of a pair start with environments and arguments of equal size."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.records import Venv
from pytest_llm.system.sandbox import Policy
from tests.bare import MODEL, SUBJECT
from tests.started import started_with

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.engines.llama_cpp_python.client import LoadedModel
    from pytest_llm.system.sandbox import SandboxMode
    from tests.integration.conftest import StandIn

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.mark.parametrize("mode", ["on", "off"])
def test_paths_of_different_length_start_alike(
    mode: SandboxMode,
    stand_in: StandIn,
    stand_in_environment: Path,
    model_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    far = tmp_path / ("far" * 30)
    far.symlink_to(stand_in_environment)
    model = replace(MODEL, path=str(model_file))

    def start(folder: Path, libraries: str) -> LoadedModel:
        monkeypatch.setenv("LD_LIBRARY_PATH", libraries)
        engine = LlamaCppPython(Venv("llama-cpp-python", str(folder)), 60.0, policy=Policy(mode))
        return engine.start(SUBJECT, model)

    with closing(start(stand_in_environment, "/one")) as one, closing(start(far, "/the/other")) as other:
        ours, theirs = started_with(one.pid), started_with(other.pid)
    assert ours.variables.keys() == theirs.variables.keys()
    assert ours.environment_bytes == theirs.environment_bytes
    assert ours.argument_bytes == theirs.argument_bytes
    assert not [name for name, value in ours.variables.items() if str(far) in value]
    assert not [name for name, value in theirs.variables.items() if str(stand_in_environment) in value]
