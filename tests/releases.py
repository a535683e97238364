"""Source packages of a stand-in for llama-cpp-python, which the real uv builds."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

from tests import STAND_IN

if TYPE_CHECKING:
    from pathlib import Path

RELEASES = ("9.0.1", "9.0.2", "9.0.3")

_PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def write_index(folder: Path) -> None:
    """Write an archive of each release, for ``UV_FIND_LINKS``; 9.0.3 does not compile."""
    for version in RELEASES:
        name = f"llama_cpp_python-{version}"
        with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
            for path in (*STAND_IN.glob("llama_cpp/*.py"), *STAND_IN.glob("*.py")):
                archive.add(path, f"{name}/{path.relative_to(STAND_IN)}")
            archive.add(STAND_IN / "release" / "backend.py", f"{name}/backend.py")
            metadata = f"Metadata-Version: 2.2\nName: llama-cpp-python\nVersion: {version}\n"
            for file, text in (("pyproject.toml", _PYPROJECT), ("PKG-INFO", metadata)):
                entry = tarfile.TarInfo(f"{name}/{file}")
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
