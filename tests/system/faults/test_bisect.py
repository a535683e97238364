"""A bisect over environments of the real engine, two of which preload a library that slows it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from pytest_llm.cli import main

from .preload import Fault

if TYPE_CHECKING:
    from pathlib import Path


BENCHMARK = """
import pytest

@pytest.mark.llm_model("smollm2-135m", n_ctx=256, n_threads=1)
@pytest.mark.llm_workload(prompt_tokens=1, generate_tokens=1)
@pytest.mark.llm_no_regression("generation_tokens_per_second")
def test_speed(llm_bench):
    pass
"""
BUILDS, SLOW_FROM = 3, 1


def environment(folder: Path, variables: dict[str, str]) -> Path:
    """An environment with the installed engine, whose interpreter sets variables before it starts."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    installed = metadata.distribution("llama-cpp-python").locate_file("")
    (packages / "installed.pth").write_text(f"{installed}\n", encoding="utf-8")
    if variables:
        python = folder / "bin" / "python"
        real = python.rename(folder / "bin" / "python-itself")
        sets = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
        python.write_text(f'#!/bin/sh\nexec env {sets} {shlex.quote(str(real))} "$@"\n', encoding="utf-8")
        python.chmod(0o755)
    return folder


@pytest.mark.timed
def test_the_first_of_two_slow_builds_among_three_is_named(
    pytester: pytest.Pytester,
    library: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytester.makepyfile(test_inner=BENCHMARK)
    monkeypatch.chdir(pytester.path)
    slow = dict(Fault(slowdown=0.5).environment(library))
    row = [environment(tmp_path / f"b{place}", slow if place >= SLOW_FROM else {}) for place in range(BUILDS)]
    words = [
        "bisect",
        "test_inner.py::test_speed",
        "--effort=quick",
        f"--cache={tmp_path / 'cache'}",
        "--json",
    ]

    status = main([*words, f"--builds={','.join(f'venv:{each}' for each in row)}"])

    out, err = capsys.readouterr()
    assert status == 0, err
    document = json.loads(out)
    (step,) = document["steps"]
    assert (step["from"], step["to"]) == (SLOW_FROM - 1, SLOW_FROM)
    assert -0.45 < step["change"] < -0.2  # a third, of a time that is half as long again
    (text,) = document["texts"]
    assert f"LD_PRELOAD={library}" in text
    assert len(document["comparisons"]) == 3
