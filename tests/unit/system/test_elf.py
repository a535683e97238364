"""The loader that an ELF program names."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from pytest_llm.system.elf import loader_of

LOADER = b"/lib64/ld-linux-x86-64.so.2\0"


def program(bits: int, place: int, order: str = "<") -> bytes:
    """Return a program with two segments, the second of which names the loader at a place of the file."""
    ident = b"\x7fELF" + bytes([bits // 32, 1 if order == "<" else 2, 1]) + bytes(9)
    if bits == 64:
        head = struct.pack(f"{order}HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
        segments = [
            struct.pack(f"{order}IIQQQQQQ", kind, 4, at, 0, 0, len(LOADER), 0, 1)
            for kind, at in ((1, 0), (3, place))
        ]
    else:
        head = struct.pack(f"{order}HHIIIIIHHHHHH", 3, 3, 1, 0, 52, 0, 0, 52, 32, 2, 0, 0, 0)
        segments = [
            struct.pack(f"{order}IIIIIIII", kind, at, 0, 0, len(LOADER), 0, 4, 1)
            for kind, at in ((1, 0), (3, place))
        ]
    data = ident + head + b"".join(segments)
    return data.ljust(place, b"x") + LOADER


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("place", [400, 100_000])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_loader_is_found_wherever_it_stands(tmp_path: Path, bits: int, place: int, order: str) -> None:
    """Tools that edit programs, as of Nix and conda, move its name to the end of the file."""
    path = tmp_path / "program"
    path.write_bytes(program(bits, place, order))
    assert loader_of(path) == [LOADER.rstrip(b"\0").decode()]


def test_the_loader_of_this_interpreter_exists() -> None:
    (found,) = loader_of(Path(sys.executable).resolve())
    assert Path(found).exists()


@pytest.mark.parametrize(
    "data",
    [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x02\x01" + b"\xff" * 80, b"\x7fELF\x09"],
    ids=["empty", "script", "cut", "wild", "unknown"],
)
def test_what_names_none_has_none(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "program"
    path.write_bytes(data)
    assert loader_of(path) == []


def test_a_damaged_program_never_ends_in_an_error(tmp_path: Path) -> None:
    path, whole = tmp_path / "program", program(64, 400)
    for place in range(0, 176):
        path.write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        loader_of(path)
        path.write_bytes(whole[:place])
        assert loader_of(path) in ([], [""])
