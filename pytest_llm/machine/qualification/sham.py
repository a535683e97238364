"""Sham pairs: equal builds that differ in what should not matter.

Whatever such a pair shows beyond chance is bound to its sides and not to code: see ``stats/label_bias``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pytest_llm.machine.qualification.checks import GATES, TOLERANCE, measure_pair
from pytest_llm.machine.qualification.injected import WithVariables
from pytest_llm.machine.qualification.record import LabelBias, ShamPair
from pytest_llm.stats.label_bias import label_bias_spread, refuses
from pytest_llm.system.start_size import PADDING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pytest_llm.measure import MeasurementContext
    from pytest_llm.records import Workload
    from pytest_llm.records.protocols import Engine
    from pytest_llm.records.side import Side

    Sides = tuple[Side, Side]

PAIRS, PAIR_SESSIONS = 6, 5
# Passes one of llama.cpp's calls on; dlsym(RTLD_NEXT) would find nothing under ctypes.
_PASSES_ON = """
#include <dlfcn.h>
#include <stdlib.h>
typedef int (*compute_t)(void *, void *);
int ggml_backend_sched_graph_compute_async(void *sched, void *graph) {
    static compute_t compute;
    if (!compute) {
        void *base = dlopen("libggml-base.so.0", RTLD_NOW | RTLD_NOLOAD);
        if (!base) base = dlopen("libggml-base.so", RTLD_NOW | RTLD_NOLOAD);
        compute = base ? (compute_t)dlsym(base, "ggml_backend_sched_graph_compute_async") : 0;
        if (!compute) abort();
    }
    return compute(sched, graph);
}
"""
# Functions begin elsewhere than by default, at multiples of 16 bytes.
_REALIGNED = "-falign-functions=64"
_LONGEST_NAME = 200  # bytes of a folder


class Sham(NamedTuple):
    """One way in which two equal builds differ.

    Attributes:
        name: In the record.
        pair: Returns the altered side and the plain one; another number alters otherwise.
        fixed_start: The altered side's process always starts first.
    """

    name: str
    pair: Callable[[Side, int], Sides]
    fixed_start: bool = False

    def swapped(self, side: Side, number: int) -> Sides:
        """Return candidate and reference; the altered side is the reference of every second pair."""
        altered, plain = self.pair(side, number)
        return (plain, altered) if number % 2 else (altered, plain)

    def around(self, context: MeasurementContext, number: int) -> MeasurementContext:
        """Return the context in which the pair of that number is measured."""
        if not self.fixed_start:
            return context
        return replace(context, start_coin=lambda: not number % 2)


class WithLibrary(Protocol):
    """Returns an engine that loads its library from another folder."""

    def __call__(self, engine: Engine, folder: Path) -> Engine: ...


def measure_bias(
    side: Side,
    workload: Workload,
    shams: Sequence[Sham],
    context: MeasurementContext,
    begins: Callable[[str], None],
    left_out: Sequence[str] = (),
) -> LabelBias:
    """Measure sham pairs, each kind in turn, and return the spread of what they show.

    If the spread would refuse the default gate, every pair is measured again with twice the sessions, and all
    sessions count.

    Args:
        side: The subject, its model and engine.
        workload: What it is asked to do.
        shams: The kinds of pairs that can be made here, at least one.
        context: What is read beside, and drawn.
        begins: Receives the title of each pair before it is measured.
        left_out: Goes into the record.

    Raises:
        EngineError: The engine does not start, or its worker refused, died or hung.
        UsageError: The machine has no room for two processes.
    """
    planned = [(shams[index % len(shams)], index // len(shams)) for index in range(PAIRS)]
    seen: list[dict[str, list[float]]] = [{} for _ in planned]
    for sessions in (PAIR_SESSIONS, 2 * PAIR_SESSIONS):
        for index, (sham, number) in enumerate(planned):
            begins(f"sham pair {index + 1} of {PAIRS}: {sham.name}")
            sides = sham.swapped(side, number)
            for name, ratios in measure_pair(sides, workload, sessions, sham.around(context, number)).items():
                seen[index].setdefault(name, []).extend(ratios)
        tau = label_bias_spread([[each[gate.metric.name] for each in seen] for gate in GATES])
        if not refuses(tau, TOLERANCE):
            break
    pairs = tuple(
        ShamPair(sham.name, {name: tuple(ratios) for name, ratios in each.items()})
        for (sham, _), each in zip(planned, seen, strict=True)
    )
    return LabelBias(tau, pairs, tuple(left_out))


def paths(libraries: Path, folder: Path, with_library: WithLibrary) -> Sham:
    """Return copies of a build at a long and a short path, with a padded environment at the long one.

    Args:
        libraries: The folder of the build's libraries.
        folder: Empty; the copies are made here.
        with_library: For engines of this build.
    """

    def copy(place: Path) -> Path:
        if not place.exists():
            shutil.copytree(libraries, place, symlinks=True)
        return place

    def pair(side: Side, number: int) -> Sides:
        short, long = copy(folder / f"{number}"), folder / f"{number}-"
        for _ in range(1 + number % 3):
            long /= "x" * (_LONGEST_NAME - 8 * number % _LONGEST_NAME)
        # Of no power of two, so that the stack moves within a page as well.
        padding: Mapping[str, str] = {PADDING: "x" * (1361 * (number + 1))}
        altered = WithVariables(with_library(side.engine, copy(long)), padding)
        plain = with_library(side.engine, short)
        return side._replace(engine=altered), side._replace(engine=plain)

    return Sham("path and environment", pair)


def preloaded(library: Path) -> Sham:
    """Return a build with a preloaded library that does nothing, and the build without it."""

    def pair(side: Side, _: int) -> Sides:
        return side._replace(engine=WithVariables(side.engine, {"LD_PRELOAD": str(library)})), side

    return Sham("preloaded library, fixed start order", pair, fixed_start=True)


def realigned(engine: Engine) -> Sham:
    """Return the same source compiled with another alignment, and the build itself."""
    return Sham("realigned build", lambda side, _: (side._replace(engine=engine), side))


def realigned_settings(settings: tuple[str, ...]) -> tuple[str, ...]:
    """Return CMake's settings of a build with other alignment and nothing else changed."""
    found = list(settings)
    for name in ("-DCMAKE_C_FLAGS", "-DCMAKE_CXX_FLAGS"):
        own = [each for each in found if each.startswith(f"{name}=")]
        found = [each for each in found if each not in own]
        flags = own[-1].partition("=")[2] if own else ""
        found.append(f"{name}={f'{flags} {_REALIGNED}'.strip()}")
    return tuple(sorted(found))


def compile_preload(folder: Path) -> Path:
    """Compile the library of :func:`preloaded` into a folder.

    Raises:
        OSError: There is no C compiler, or it refuses.
    """
    source, library = folder / "passes_on.c", folder / "passes_on.so"
    source.write_text(_PASSES_ON, encoding="utf-8")
    compiler = os.environ.get("CC") or "cc"
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{compiler} refuses: {' '.join(done.stderr.strip().splitlines()[-1:])}")
    return library
