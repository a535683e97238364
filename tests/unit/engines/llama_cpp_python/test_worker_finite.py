"""Numbers that are not finite are found, with numpy and without."""

from __future__ import annotations

import ctypes
import importlib
import math
import sys

import pytest

from pytest_llm.engines.llama_cpp_python.worker.finite import is_finite


@pytest.fixture(params=["numpy", "no numpy"])
def _libraries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    numpy = importlib.import_module("numpy") if request.param == "numpy" else None
    monkeypatch.setitem(sys.modules, "numpy", numpy)


@pytest.mark.usefixtures("_libraries")
@pytest.mark.parametrize("at", [0, 4095, 4096, 9999])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_number_in_ten_thousand_is_found(at: int, value: float) -> None:
    numbers = (ctypes.c_float * 10_000)()
    pointer = ctypes.cast(numbers, ctypes.POINTER(ctypes.c_float))
    assert is_finite(pointer, 10_000)
    numbers[at] = value
    assert not is_finite(pointer, 10_000)
    assert is_finite(pointer, at)  # what lies behind is not looked at


@pytest.mark.usefixtures("_libraries")
def test_the_largest_floats_are_finite() -> None:
    assert is_finite(ctypes.cast((ctypes.c_float * 8)(*[3.4e38] * 8), ctypes.POINTER(ctypes.c_float)), 8)
