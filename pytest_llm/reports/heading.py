"""The lines above every report: builds, machine, GPUs, and who disturbed."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from pytest_llm.checks.format import NOT_QUALIFIED, ratio
from pytest_llm.machine.advice import MOST_OTHER_LOAD
from pytest_llm.records.metrics import OTHER_LOAD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.records import Build
    from pytest_llm.reports.document import Results


def heading(results: Results) -> list[str]:
    """Return lines on the builds, the machine, and whether it is qualified to compare."""
    machine = results.machine
    devices = f", {machine.devices}" if machine.devices else ""
    lines = [] if results.candidate is None else [f"candidate {_build(results.candidate)}"]
    if results.reference is not None:
        lines.append(f"reference {_build(results.reference)}")
    lines.append(
        f"machine {machine.fingerprint}: {machine.cpu}, {machine.cores} cores, {machine.memory_gib} GiB"
        f"{devices}"
    )
    lines += _layers(results) if machine.devices else []
    lines += _others(results)
    if results.pairs:
        since = machine.qualified
        lines.append(f"this machine is qualified since {since}" if since else NOT_QUALIFIED)
    return lines


def _layers(results: Results) -> Iterator[str]:
    """Tell how many layers were on a GPU, which a build without one puts on the CPU in silence."""
    found = {
        (PurePath(run.model.name).name, on_gpu)
        for run in results.runs.values()
        if isinstance(on_gpu := run.effective_options.get("layers_offloaded"), str)
    }
    for model, on_gpu in sorted(found):
        some, _, of_all = on_gpu.partition("/")
        yield f"{some} of {of_all} layers of {model} on a GPU"


def _others(results: Results) -> Iterator[str]:
    """Tell how much other processes disturbed, if it was enough to be looked at."""
    sessions = (session for run in results.runs.values() for session in run.sessions)
    found = [value for each in sessions if (at := each.series.get(OTHER_LOAD)) for value in at.values]
    if found and max(found) > MOST_OTHER_LOAD:
        used = dict.fromkeys(map(ratio, (min(found), max(found))))
        yield f"other processes used {' to '.join(used)} of the processors while sessions ran"


def _build(build: Build) -> str:
    commit = f" ({build.llama_cpp_commit})" if build.llama_cpp_commit else ""
    return f"{build.release}{commit}"
