"""The stand-in offers nothing that llama-cpp-python lacks, and its clock serves whoever waits."""

from __future__ import annotations

import ctypes
import importlib.util
import inspect
import json
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.records import LoadOptions, Model, Subject, Venv, Workload
from tests import STAND_IN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from tests.integration.conftest import StandIn

LLAMA_CPP = STAND_IN / "llama_cpp" / "llama_cpp.py"

# What a module offers, in words that can be compared; the real one runs in a process of its own.
DESCRIBE = """
import ctypes, json, llama_cpp
functions, structs = {}, {}
for name in dir(llama_cpp):
    if not name.startswith("llama_"):
        continue
    value = getattr(llama_cpp, name)
    if isinstance(value, type) and issubclass(value, ctypes.Structure):
        structs[name] = {field[0]: ctypes.sizeof(field[1]) for field in value._fields_}
    elif not isinstance(value, type) and hasattr(value, "argtypes"):
        functions[name] = len(value.argtypes or ())
commit = llama_cpp.llama_cpp._lib.ggml_commit
print(json.dumps({"names": dir(llama_cpp), "functions": functions, "structs": structs}))
"""


@pytest.fixture(scope="module")
def real() -> dict[str, Any]:
    try:
        version = metadata.version("llama_cpp_python")
    except metadata.PackageNotFoundError:
        version = "not installed"
    if version != "0.3.36":
        pytest.skip(f"the stand-in stands in for 0.3.36; this is {version}")
    done = subprocess.run([sys.executable, "-c", DESCRIBE], capture_output=True, text=True, check=True)
    described: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return described


@pytest.fixture
def stand_in_module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(LLAMA_CPP.parent.parent)
    spec = importlib.util.spec_from_file_location("stand_in_for_llama_cpp", LLAMA_CPP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _offered(module: ModuleType) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if name.startswith("llama_")}


def test_every_name_is_one_of_the_real_module(real: dict[str, Any], stand_in_module: ModuleType) -> None:
    assert len(_offered(stand_in_module)) > 40
    assert set(_offered(stand_in_module)) <= set(real["names"])


def test_every_function_takes_as_many_arguments(real: dict[str, Any], stand_in_module: ModuleType) -> None:
    offered = {
        name: len(inspect.signature(value).parameters)
        for name, value in _offered(stand_in_module).items()
        if inspect.isfunction(value)
    }

    assert offered == {name: real["functions"].get(name) for name in offered}


def test_every_field_of_a_struct_is_real_and_as_wide(
    real: dict[str, Any], stand_in_module: ModuleType
) -> None:
    for name, value in _offered(stand_in_module).items():
        if isinstance(value, type) and issubclass(value, ctypes.Structure):
            offered = {field[0]: ctypes.sizeof(field[1]) for field in value._fields_}
            assert offered.items() <= real["structs"][name].items(), name


@pytest.mark.parametrize("order", ["slow rehearse", "rehearse slow", "slow rehearse rehearse"])
def test_an_injected_slowdown_waits_on_the_virtual_clock(
    order: str, stand_in: StandIn, stand_in_environment: Path, model_file: Path
) -> None:
    build = Venv("llama-cpp-python", str(stand_in_environment))
    model = Model(str(model_file), str(model_file), "0" * 64, 1, "tiny", "", 1, 1, 1, 1, 1, 1, 1)
    loaded = LlamaCppPython(build, timeout=20).start(Subject(model.name, build, LoadOptions()), model)
    act: dict[str, Callable[[], object]] = {
        "slow": lambda: loaded.inject_slowdown(0.5),
        "rehearse": lambda: loaded.rehearse(Workload(prompt_tokens=8, generate_tokens=4)),
    }
    try:
        loaded.load()
        for each in order.split():
            act[each]()
        tokens, seconds = loaded.generation_slice(4)
    finally:
        loaded.close()
    assert tokens == 4
    assert seconds == pytest.approx(1.5 * 4 / 128, rel=1e-3)
