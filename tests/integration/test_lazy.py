"""What a run costs that has nothing to do with models: nearly nothing is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

COLLECT = """
import json, sys, pytest
code = pytest.main(["--collect-only", "-q", *sys.argv[1:]])
print(json.dumps([int(code), sorted(sys.modules)]))
"""


def _modules(folder: Path, *command: str) -> set[str]:
    """Return what a fresh interpreter has imported after a run with no other plugins."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    return set(modules)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "test_it.py").write_text("def test_arithmetic(): pass\n", encoding="utf-8")
    return tmp_path


def _added_by_the_plugin(folder: Path, *arguments: str) -> set[str]:
    return _modules(folder, "-c", COLLECT, "-p", "pytest_llm.plugin", *arguments) - _modules(
        folder, "-c", COLLECT
    )


def test_the_plugin_imports_a_few_modules_of_its_own_and_of_the_standard_library(folder: Path) -> None:
    added = _added_by_the_plugin(folder)

    ours = {name for name in added if name.startswith("pytest_llm")}
    assert "pytest_llm.plugin" in ours
    assert ours <= {
        "pytest_llm",
        "pytest_llm.plugin",
        *(
            f"pytest_llm.plugin.{name}"
            for name in ("fixtures", "items", "late", "markers", "options", "state", "suite_file")
        ),
    }
    assert {name.partition(".")[0] for name in added - ours} <= sys.stdlib_module_names


def test_an_option_of_ours_loads_the_parts_and_still_no_engine(folder: Path) -> None:
    added = _added_by_the_plugin(folder, "--llm-bench")

    assert "pytest_llm.plugin.session" in added
    assert not added & {"llama_cpp", "numpy", "pynvml"}


def test_importing_the_package_imports_nothing_else(folder: Path) -> None:
    script = "import sys, json{}; print(json.dumps([0, sorted(sys.modules)]))"

    added = _modules(folder, "-c", script.format(", pytest_llm")) - _modules(folder, "-c", script.format(""))

    assert {name for name in added if name.partition(".")[0] not in sys.stdlib_module_names} == {"pytest_llm"}


def test_public_names_load_when_they_are_used(folder: Path) -> None:
    script = "import sys, json, pytest_llm; pytest_llm.{}; print(json.dumps([0, sorted(sys.modules)]))"

    assert "pytest_llm.records" in _modules(folder, "-c", script.format("Run"))
    assert "pytest_llm.records" not in _modules(folder, "-c", script.format("LLMBenchError"))
