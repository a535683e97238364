"""Variants side by side, as a table of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.records.units import BYTES, TOKENS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.checks.variants import Row

_GAP = "  "


def table(
    rows: Sequence[Row], outputs: Mapping[str, str], changes: Mapping[tuple[str, int, str], str]
) -> list[str]:
    """Return the lines of a table.

    Args:
        rows: In the order of the table.
        outputs: The cell of the output of a variant, by its label; nothing if outputs were not compared.
        changes: The cell of a change with its interval, by label, depth and speed.
    """
    memory = [name for name in ("RAM", "VRAM") if any(name in row.memory for row in rows)]
    head = ["variant", "depth", "prompt", "change", "generation", "change", *memory]
    head += ["output"] if outputs else []
    lines = [head]
    for row in rows:
        if row.problem:
            lines.append([row.label, f"{row.workload.depth:,}", row.problem])
            continue
        cells = [row.label, f"{row.workload.depth:,}"]
        for speed in row.speeds:
            value = speed.measurement
            cells.append("" if value is None else TOKENS_PER_SECOND.format(value.value))
            cells.append(changes.get((row.label, row.workload.depth, speed.name), ""))
        cells += [BYTES.format(row.memory[name]) if name in row.memory else "" for name in memory]
        lines.append([*cells, *([outputs.get(row.label, "")] if outputs else [])])
    return _aligned(lines)


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    columns = len(lines[0])
    whole = [line for line in lines if len(line) == columns]
    widths = [max(len(line[column]) for line in whole) for column in range(columns)]
    return [
        _GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip()
        for line in lines
    ]
