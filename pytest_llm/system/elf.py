"""ELF programs: which loader one names (elf(5))."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_MAGIC = b"\x7fELF"
_PT_INTERP = 3
_LONGEST_PATH = 4096
_MOST_SEGMENTS = 512


class _Layout(NamedTuple):
    """Where a class of ELF files has what is read here: offsets in the header and in a segment's entry."""

    word: str  # the form of an offset or size
    table: int
    sizes: int  # of an entry, and how many there are: two halves
    offset: int
    length: int


_LAYOUTS = {b"\1": _Layout("I", 28, 42, 4, 16), b"\2": _Layout("Q", 32, 54, 8, 32)}


def loader_of(program: Path) -> list[str]:
    """Return the loader that a program names, wherever in the file; none of a static one or of no ELF."""
    try:
        with program.open("rb") as file:
            head = file.read(64)
            if not head.startswith(_MAGIC) or head[4:5] not in _LAYOUTS:
                return []
            layout, order = _LAYOUTS[head[4:5]], "<" if head[5:6] == b"\1" else ">"
            (table,) = struct.unpack_from(f"{order}{layout.word}", head, layout.table)
            size, count = struct.unpack_from(f"{order}HH", head, layout.sizes)
            for number in range(min(count, _MOST_SEGMENTS)):
                file.seek(table + number * size)
                entry = file.read(size)
                if struct.unpack_from(f"{order}I", entry)[0] == _PT_INTERP:
                    (place,) = struct.unpack_from(f"{order}{layout.word}", entry, layout.offset)
                    (length,) = struct.unpack_from(f"{order}{layout.word}", entry, layout.length)
                    file.seek(place)
                    return [os.fsdecode(file.read(min(length, _LONGEST_PATH)).rstrip(b"\0"))]
    except (OSError, ValueError, OverflowError, struct.error):
        pass
    return []
