"""Where results were measured, and of what: the lines above every report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.checks.format import NOT_QUALIFIED

if TYPE_CHECKING:
    from pytest_llm.records import Build
    from pytest_llm.reports.document import Results


def heading(results: Results) -> list[str]:
    """Return lines on the builds, the machine, and whether it is qualified to compare."""
    machine = results.machine
    lines = [] if results.candidate is None else [f"candidate {_build(results.candidate)}"]
    if results.reference is not None:
        lines.append(f"reference {_build(results.reference)}")
    lines.append(
        f"machine {machine.fingerprint}: {machine.cpu}, {machine.cores} cores, {machine.memory_gib} GiB"
    )
    if results.pairs:
        since = machine.qualified
        lines.append(f"this machine is qualified since {since}" if since else NOT_QUALIFIED)
    return lines


def _build(build: Build) -> str:
    commit = f" ({build.llama_cpp_commit})" if build.llama_cpp_commit else ""
    return f"{build.release}{commit}"
