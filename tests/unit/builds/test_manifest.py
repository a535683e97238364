"""A folder of a build without a sound manifest is no build, whatever stands in its place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_llm.builds import Identity, Manifest, manifest
from tests.bare import BUILD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IDENTITY = Identity("llama-cpp-python", "0.3.36", (), "linux-x86_64", "cpython-311")
MADE = Manifest(IDENTITY, BUILD, "2026-01-02T03:04:05+00:00", 1.5, "uv 0.9.0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / IDENTITY.key
    found.mkdir()
    manifest.write(found, MADE)
    return found


def test_what_is_written_is_read(folder: Path) -> None:
    assert manifest.read(folder) == MADE


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text("[" * 10**6),
        lambda path: path.write_text(path.read_text()[:-1] + ', "seconds": 2}'),
        lambda path: path.write_text(path.read_text().replace("1.5", "NaN")),
        lambda path: path.write_text(path.read_text().replace("1.5", "9" * 5000)),
        lambda path: path.write_bytes(b"\xff"),
        lambda path: path.write_text("[]"),
        lambda path: os.truncate(path, 10**12),
        lambda path: path.unlink(),
        pipe,
        link,
    ],
)
def test_what_is_no_sound_manifest_is_none(folder: Path, spoil: Callable[[Path], object]) -> None:
    spoil(folder / "manifest.json")
    assert manifest.read(folder) is None


def test_a_manifest_of_another_build_is_none(folder: Path) -> None:
    folder.rename(folder.with_name("other"))
    assert manifest.read(folder.with_name("other")) is None
