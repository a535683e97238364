"""The house's directions: who may import whom, and who may import what from outside."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

import pytest_llm

PACKAGE = Path(pytest_llm.__file__).parent

# Who may import whom, by the first name below the package. Imports for types alone are arrows as well.
ALLOWED: dict[str, set[str]] = {
    "__init__": {"errors", "gguf_model", "records"},
    "errors": set(),
    "ini_file": {"errors"},
    "units": {"errors"},
    "metrics": {"errors", "units"},
    "records": {"errors", "metrics"},
    "findings": {"metrics", "records"},
    "talk": set(),
    "whole_file": set(),
    "screening": {"baselines", "codec", "findings", "records", "verdicts"},
    "surroundings": {"campaign", "probes", "protocols"},
    "codec": {"errors", "metrics", "records"},
    "protocols": {"records", "talk"},
    "inference": {"metrics", "records"},
    "plan": {"errors", "inference", "records"},
    "campaign": {"errors", "inference", "metrics", "protocols", "records"},
    "verdicts": {"findings", "inference", "metrics", "records"},
    "gguf_model": {"errors", "protocols", "records", "talk"},
    "memory_watch": {"errors", "inference", "probes", "records"},
    "models": {"errors", "protocols", "records", "whole_file"},
    "operators": {"errors", "inference", "models", "protocols", "records"},
    "sizes": {"models", "records"},
    "engines": {"errors", "protocols", "records", "sizes", "talk"},
    "builds": {"codec", "errors", "lock_holder", "records", "whole_file"},
    "providing": {"builds", "engines", "errors", "protocols", "records"},
    "explaining": {"errors", "operators", "protocols", "providing", "records"},
    "lock_holder": set(),
    "measuring_lock": {"errors", "lock_holder"},
    "probes": {"records"},
    "cache": set(),
    "qualification": {
        "campaign",
        "codec",
        "errors",
        "inference",
        "metrics",
        "protocols",
        "records",
        "whole_file",
    },
    "bisect": {
        "codec",
        "errors",
        "findings",
        "inference",
        "metrics",
        "records",
        "reports",
        "verdicts",
        "whole_file",
    },
    "baselines": {"codec", "errors", "metrics", "records", "whole_file"},
    "reports": {
        "__init__",
        "codec",
        "errors",
        "findings",
        "inference",
        "metrics",
        "records",
        "units",
        "verdicts",
        "whole_file",
    },
    "worker": set(),
    "suite": {
        "engines",
        "errors",
        "models",
        "plugin",
        "probes",
        "protocols",
        "providing",
        "records",
        "sizes",
        "talk",
        "worker",
    },
}
PLACES_THAT_PUT_PARTS_TOGETHER = {"cli", "plugin"}

# Libraries that only certain rooms may know.
ONLY_IN: dict[str, set[str]] = {
    "pytest": {"plugin", "suite"},
    "_pytest": {"plugin"},
    "llama_cpp": {"worker"},
    "pynvml": {"probes"},
    "psutil": {"probes"},
    "jsonschema": {"baselines", "reports"},
    "cattrs": {"codec"},
    "numpy": {"worker", "inference"},
    "scipy": {"inference"},
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_by(source: str) -> list[tuple[str, int]]:
    """Every module that a source names absolutely, and the names it takes from the package itself."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            if node.module == "pytest_llm":
                found += [(f"pytest_llm.{alias.name}", node.lineno) for alias in node.names]
            else:
                found.append((node.module, node.lineno))
    return found


def wrong_arrows(room: str, source: str) -> list[str]:
    wrong = []
    for module, line in imported_by(source):
        top, _, rest = module.partition(".")
        if top == "pytest_llm":
            target = rest.partition(".")[0]
            target = "__init__" if target.startswith("__") else target
            if room not in PLACES_THAT_PUT_PARTS_TOGETHER and target not in {room, *ALLOWED[room]}:
                wrong.append(f"line {line}: {room} must not import {target}")
        elif room not in ONLY_IN.get(top, {room}):
            wrong.append(f"line {line}: only {sorted(ONLY_IN[top])} may import {top}, not {room}")
    return wrong


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_point_the_way_the_architecture_says(path: Path) -> None:
    assert wrong_arrows(room_of(path), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("records", "from pytest_llm.plan import make_plan"),
        ("campaign", "from pytest_llm import engines"),
        ("campaign", "import pytest"),
        ("engines", "from pytest_llm.probes.machine import usable_cores"),
        ("engines", "if True:\n    def f():\n        import llama_cpp"),
        ("worker", "from pytest_llm.errors import LLMBenchError"),
        ("inference", "from pytest_llm.units import SECONDS"),
        ("plugin", "import pynvml"),
        ("cli", "import pytest"),
        ("engines", "from pytest_llm.suite.contract import headers"),
        ("suite", "import llama_cpp"),
    ],
)
def test_a_wrong_arrow_is_seen(room: str, source: str) -> None:
    assert len(wrong_arrows(room, source)) == 1


def test_every_room_is_in_the_table() -> None:
    rooms = {room_of(path) for path in PACKAGE.rglob("*.py")}
    assert rooms == {*ALLOWED, *PLACES_THAT_PUT_PARTS_TOGETHER}


def test_the_worker_imports_its_own_modules_only_relatively_and_never_above_itself() -> None:
    for path in (PACKAGE / "worker").glob("*.py"):
        levels = [
            node.level
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom)
        ]
        assert max(levels, default=0) <= 1, path


def test_what_is_imported_from_outside_is_a_declared_dependency() -> None:
    sources = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    modules = {module.partition(".")[0] for source in sources for module, _ in imported_by(source)}
    needed = modules - sys.stdlib_module_names - {"pytest_llm", "_pytest"}
    told = [each for each in requires("pytest-llm-bench") or () if "extra" not in each]
    assert needed - {re.split(r"[^\w-]", each)[0] for each in told} == set()


def test_no_package_has_a_name_that_a_module_of_its_own_takes_away_once_imported() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        modules = {each.stem for each in path.parent.glob("*.py")}
        body = ast.parse(path.read_text(encoding="utf-8")).body
        names = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assert names & modules == set(), path
