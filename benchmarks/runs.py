"""Runs of pytest started by the benchmarks, and the lines they store."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.reports import results_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    Line = Mapping[str, Any]


def measure(tests: str, effort: str, *options: str) -> dict[str, Any]:
    """Run tests of this repository and return the results file; a failed test is a result as well.

    Raises:
        SystemExit: Pytest wrote no results.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.json"
        words = [tests, "-q", "--llm-bench", f"--llm-effort={effort}", *options, f"--llm-json={file}"]
        done = subprocess.run([sys.executable, "-m", "pytest", *words], check=False)
        if not file.exists():
            sys.exit(f"{' '.join(options)}: pytest ended with {done.returncode}")
        return results_file.read_plain(file)


def keep(line: Line, path: Path) -> None:
    """Add a line to a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def kept(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file, none if there is no such file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
