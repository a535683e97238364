"""The house's directions: who may import whom, and who may import what from outside."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

import pytest_llm
from pytest_llm.reports import REPORTS

PACKAGE = Path(pytest_llm.__file__).parent

# A room imports from itself and from the floors below its own. Imports for types alone count as well.
FLOORS = [
    {"errors"},
    {"system"},
    {"records"},
    {"models", "stats"},
    {"engines"},
    {"baselines"},
    {"checks"},
    {"measure"},
    {"machine"},
    {"builds"},
    {"reports"},
    {"bisect"},
    {"plugin"},
    {"cli", "suite"},
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
ABOVE_ALL = "__init__"  # the package itself names what users import; its version may be read anywhere
LONGEST_MODULE = 350  # lines
WORKER = PACKAGE / "engines" / "llama_cpp_python" / "worker"

# Libraries that only certain rooms may know.
ONLY_IN: dict[str, set[str]] = {
    "pytest": {"plugin", "suite"},
    "_pytest": {"plugin"},
    "llama_cpp": {"worker"},
    "pynvml": {"machine/gpu"},
    "psutil": {"machine", "system"},
    "jsonschema": {"records"},
    "cattrs": {"records"},
    "numpy": {"worker", "stats", "machine/control_kernels"},
    "scipy": set(),
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def places_of(path: Path) -> set[str]:
    """Return the rooms that a module stands in, from the outermost; the worker is a house of its own."""
    if path.is_relative_to(WORKER):
        return {"worker"}
    folders = path.relative_to(PACKAGE).with_suffix("").parts
    return {"/".join(folders[:depth]) for depth in range(1, len(folders) + 1)}


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


def below(target: str, room: str) -> bool:
    return target in FLOOR_OF and FLOOR_OF[target] < FLOOR_OF[room]


def wrong_arrows(path: Path, source: str) -> list[str]:
    room, places = room_of(path), places_of(path)
    wrong = []
    for module, line in imported_by(source):
        top, _, rest = module.partition(".")
        if top != "pytest_llm":
            if top in ONLY_IN and not places & ONLY_IN[top]:
                wrong.append(f"line {line}: only {sorted(ONLY_IN[top])} may import {top}, not {path}")
            continue
        target = rest.partition(".")[0]
        if "worker" in places:
            wrong.append(f"line {line}: the worker imports nothing of {target}")
        elif room not in {ABOVE_ALL, target} and target != "__version__" and not below(target, room):
            wrong.append(f"line {line}: {room} must not import {target}")
    return wrong


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_point_the_way_the_architecture_says(path: Path) -> None:
    assert wrong_arrows(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("records/run.py", "from pytest_llm.measure.plan import make_plan"),
        ("measure/sessions.py", "from pytest_llm import builds"),
        ("measure/sessions.py", "import pytest"),
        ("engines/devices.py", "from pytest_llm.machine.fingerprint import usable_cores"),
        ("engines/llama_cpp_python/client.py", "if True:\n    def f():\n        import llama_cpp"),
        ("engines/llama_cpp_python/worker/serve.py", "from pytest_llm.errors import LLMBenchError"),
        ("stats/summary.py", "from pytest_llm.models import store"),
        ("machine/conditions.py", "import pynvml"),
        ("cli/report.py", "import pytest"),
        ("cli/report.py", "from pytest_llm.suite import provided"),
        ("engines/devices.py", "from pytest_llm.suite.contract import headers"),
        ("suite/summary.py", "import llama_cpp"),
        ("suite/summary.py", "from pytest_llm import nowhere"),
    ],
)
def test_a_wrong_arrow_is_seen(module: str, source: str) -> None:
    assert len(wrong_arrows(PACKAGE / module, source)) == 1


def test_every_module_is_read_in_one_sitting() -> None:
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in PACKAGE.rglob("*.py")}
    assert not {path: count for path, count in lines.items() if count > LONGEST_MODULE}


def test_the_first_level_is_the_rooms_of_the_architecture() -> None:
    assert {room_of(path) for path in PACKAGE.rglob("*.py")} == {*FLOOR_OF, ABOVE_ALL}
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "errors.py"}


def test_the_worker_imports_its_own_modules_only_relatively_and_never_above_itself() -> None:
    for path in WORKER.glob("*.py"):
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


# ── reports render, and judge nothing ────────────────────────────────────────────────────────────

# Descriptions of the results document: they name records of other rooms as types.
DESCRIPTIONS = {"pytest_llm.reports.document", "pytest_llm.reports.verdict_entries"}
# Words for numbers, and records.
RENDERING = {"pytest_llm.checks.format", "pytest_llm.checks.findings"}
JUDGING = ("checks", "stats", "measure", "baselines")


def source_of(module: str) -> Path:
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize("report", sorted(REPORTS))
def test_a_report_reaches_nothing_that_judges(report: str) -> None:
    asked, seen = [REPORTS[report].partition(":")[0]], set()
    while asked:
        module = asked.pop()
        if module in seen or module in DESCRIPTIONS:
            continue
        seen.add(module)
        for each, line in imported_by(source_of(module).read_text(encoding="utf-8")):
            room = each.removeprefix("pytest_llm.").partition(".")[0]
            assert room not in JUDGING or each in RENDERING, f"{module}, line {line}: {each}"
            if each.startswith("pytest_llm.reports."):
                asked.append(each)
    assert seen
