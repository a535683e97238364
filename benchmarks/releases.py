"""Speed of SmolLM2 with each release of llama-cpp-python, compared with the installed one.

    uv run python -m benchmarks.releases 0.3.0 0.3.4 0.3.8 0.3.16

Each release is made, compared with the installed build as ``--llm-against`` does, and becomes a line of a
file: an interrupted run resumes. A release that cannot be made or run is a line with the reason. Without
arguments, it prints the table from the file. The stored file has the releases of ``docs/releases.md``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.version import Version

from benchmarks import runs
from pytest_llm.checks.format import percent, span
from pytest_llm.records.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Line = Mapping[str, Any]

TEST = "tests/regression/speed.llm.toml::test_short_chat"
SPEEDS = ("prompt_tokens_per_second", "generation_tokens_per_second")
MEMORY = "peak_ram"
# Facts of every pair of releases that say nothing of what their users see.
_TOLD_ALONE = {"compiled_with", "graph_nodes"}


def measure(release: str, settings: str, effort: str) -> dict[str, Any]:
    """Compare the installed build with a release and return the line of the file.

    Raises:
        SystemExit: Pytest did not come as far as the test.
    """
    build = f"{release}[{settings}]" if settings else release
    results = runs.measure(TEST, effort, f"--llm-against={build}", "--llm-drift=warn")
    return _line(release, results)


def _line(release: str, results: Mapping[str, Any]) -> dict[str, Any]:
    (test,) = results["tests"]
    line = {"release": release, "machine": results["machine"]}
    if test["run"] is None:
        return {**line, "reason": "; ".join(test["notes"])}
    (pair,) = results["pairs"].values()
    sides = {side: results["runs"][pair[side]] for side in ("candidate", "reference")}
    return {
        **line,
        "reason": "",
        "builds": {
            side: {name: run["build"][name] for name in ("version", "llama_cpp_commit", "compiled_with")}
            for side, run in sides.items()
        },
        "speeds": {name: test["metrics"][name]["comparison"] for name in SPEEDS},
        MEMORY: {side: _peak(run) for side, run in sides.items()},
        "drift": test["drift"]["differences"],
    }


def _peak(run: Mapping[str, Any]) -> float:
    peak: float = max(value for each in run["sessions"] for value in each["series"][MEMORY]["values"])
    return peak


def table(lines: Sequence[Line]) -> list[str]:
    """Return the table, oldest release first."""
    told = [
        "| release | llama.cpp | prompt since | generation since | peak RAM | what else changed |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    return told + [_row(each) for each in sorted(lines, key=lambda each: Version(each["release"]))]


def _row(line: Line) -> str:
    if line["reason"]:
        return f"| {line['release']} | | | | | {line['reason']} |"
    ram = METRICS[MEMORY].unit.format
    sides = line[MEMORY]
    apart = dict.fromkeys(each["name"] for each in line["drift"] if each["name"] not in _TOLD_ALONE)
    return " | ".join(
        [
            f"| {line['release']}",
            line["builds"]["reference"]["llama_cpp_commit"] or "unknown",
            *(_speed(line["speeds"][name]) for name in SPEEDS),
            f"{ram(sides['reference'])} → {ram(sides['candidate'])}",
            f"{', '.join(apart) or 'nothing'} |",
        ]
    )


def _speed(comparison: Mapping[str, Any]) -> str:
    interval = f" ({span(comparison['interval'])})" if comparison["interval"] else ""
    return f"{comparison['verdict']}: {percent(comparison['change'])}{interval}"


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("releases", nargs="*", metavar="RELEASE")
    parser.add_argument("--settings", default="", help="what releases are compiled with: -DGGML_NATIVE=OFF")
    parser.add_argument("--effort", default="normal", help="as of pytest")
    parser.add_argument("--data", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    arguments = parser.parse_args()
    for release in arguments.releases:
        if release not in {each["release"] for each in runs.kept(arguments.data)}:
            runs.keep(measure(release, arguments.settings, arguments.effort), arguments.data)
    print("\n".join(table(runs.kept(arguments.data))))


if __name__ == "__main__":
    main()
