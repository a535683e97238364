"""A stand-in for llama.cpp's two programs, made from what the real ones printed: ``recorded/README.md``.

As a program it lies beside ``stand_in.json``, which says what it does:

- ``slower``: a factor of time for the cases whose row holds a text;
- ``without``, ``crash``, ``hang``: texts of cases that it does not support, that end it, that never end;
- ``old``: it knows no ``--test-file``; ``renumbered``: its operations are counted from so many further;
- ``cannot_export``: it refuses the model; ``seed``: of its noise.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any


def main(words: list[str], does: dict[str, Any]) -> int:
    recorded = Path(does["recorded"])
    if "-m" in words:
        return export(words, does)
    if words[0] == "--help":
        print((recorded / ("help-old.txt" if does.get("old") else "help.txt")).read_text(encoding="utf-8"))
        return 1
    for row in rows(words, does):
        if holds(row, does.get("crash", ())):
            os.kill(os.getpid(), signal.SIGILL)
        if holds(row, does.get("hang", ())):
            time.sleep(60)
        print(row)
    return 0


def export(words: list[str], does: dict[str, Any]) -> int:
    if does.get("cannot_export"):
        print("failed to load model", file=sys.stderr)
        return 1
    graph = (Path(does["recorded"]) / "graph.txt").read_text(encoding="utf-8")
    Path(words[words.index("-o") + 1]).write_text(graph, encoding="utf-8")
    return 0


def rows(words: list[str], does: dict[str, Any], turn: int = 0) -> list[str]:
    """Return the recorded rows of what is asked for, with the noise of a turn."""
    return [_noisy(row, does, turn) for row in _chosen(words, does)]


def holds(row: str, texts: list[str]) -> bool:
    return any(each in row for each in texts)


def _chosen(words: list[str], does: dict[str, Any]) -> list[str]:
    recorded = Path(does["recorded"])
    if "--test-file" in words:
        asked = Path(words[words.index("--test-file") + 1]).read_text(encoding="utf-8").split()
        graph = (recorded / "graph.txt").read_text(encoding="utf-8").splitlines()
        found = (recorded / "perf.sql").read_text(encoding="utf-8").splitlines()
        asked[0] = str(int(asked[0]) - int(does.get("renumbered", 0)))
        return [row for node, row in zip(graph, found, strict=True) if node.split()[: len(asked)] == asked]
    operator, pattern = words[words.index("-o") + 1], words[words.index("-p") + 1]
    found = (recorded / "built-in.sql").read_text(encoding="utf-8").splitlines()
    return [row for row in found if f"'{operator}'" in row and re.search(pattern, _values(row)[4])]


def _noisy(row: str, does: dict[str, Any], turn: int) -> str:
    seconds = _values(row)[9]
    if holds(row, does.get("without", ())):
        return row.replace(f"'{seconds}'", "'0.000000'").replace("'1', '1'", "'0', '0'")
    factor = random.Random(f"{does.get('seed', 0)} {turn}").lognormvariate(0, 0.02)
    for text, slower in does.get("slower", {}).items():
        factor *= slower if text in row else 1.0
    return row.replace(f"'{seconds}'", f"'{float(seconds) * factor:f}'")


def _values(row: str) -> list[str]:
    return re.findall(r"'([^']*)'", row.partition("VALUES")[2])


if __name__ == "__main__":
    told = Path(__file__).resolve().parent / "stand_in.json"
    sys.exit(main(sys.argv[1:], json.loads(told.read_text(encoding="utf-8"))))
