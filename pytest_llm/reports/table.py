"""Rows of texts as lines, and names that are short enough for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


def flush_left(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return one line a row, all cells of a column beginning at one place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return one line a row: the first and the last column to the left, numbers between them to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if 0 < column < len(row) - 1 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def shortened(paths: Sequence[str]) -> dict[str, str]:
    """Return the last parts of each path: as few as tell it from the others."""
    parts = {path: path.split("/") for path in paths}
    return {path: _ending(own, parts.values()) for path, own in parts.items()}


def titles_of(nodeids: Sequence[str]) -> dict[str, str]:
    """Return node ids whose files lack the folders that all rows can do without; parameters stay whole."""
    files = shortened([nodeid.partition("::")[0] for nodeid in nodeids])
    parts = {nodeid: nodeid.partition("::") for nodeid in nodeids}
    return {nodeid: f"{files[file]}{colons}{name}" for nodeid, (file, colons, name) in parts.items()}


def _ending(own: Sequence[str], parts: Collection[Sequence[str]]) -> str:
    endings = (own[-count:] for count in range(1, len(own)))
    unique = (each for each in endings if sum(other[-len(each) :] == each for other in parts) == 1)
    return "/".join(next(unique, own))
