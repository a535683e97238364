"""llama-server of a release of llama-cpp-python, whose source archive holds all of llama.cpp."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tarfile
import zlib
from typing import TYPE_CHECKING

from pytest_llm.builds.cmake import compiled_with, configure, failure, step, version_of
from pytest_llm.builds.recipe import Made
from pytest_llm.builds.released import pip_environment
from pytest_llm.builds.toolchain import find_uv, get_tools
from pytest_llm.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.builds.identity import Identity
    from pytest_llm.builds.recipe import Order
    from pytest_llm.system.program import Running

PROGRAM = "llama-server"
_OPTIONS = (
    "-DLLAMA_BUILD_SERVER=ON",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_NUMBER=0",  # not known
)
_SOURCE, _BINARY, _FETCHED = "source", "build", "fetched"
# "feat: Update llama.cpp to ggml-org/llama.cpp@0c1e57098f3a…", the newest first.
_COMMIT = re.compile(r"llama\.cpp@([0-9a-f]{7,40})")
_COMMIT_DIGITS = 9
_CHANGES_BYTES = 2**22


class ReleasedServer:
    """The recipe."""

    def program(self, folder: Path) -> Path:
        return folder / _BINARY / "bin" / PROGRAM

    def is_whole(self, folder: Path) -> bool:  # noqa: ARG002
        return True

    def make(self, order: Order, folder: Path, run: Running) -> Made:
        identity = order.identity
        commit = _unpack(_fetch(identity, folder / _FETCHED, run), folder)
        source, binary = folder / _SOURCE, folder / _BINARY
        cmake, ninja = get_tools(folder, run)
        options = [*_OPTIONS, f"-DLLAMA_BUILD_COMMIT={commit}", *identity.settings]
        step(run, "cmake", [cmake, *configure(source, binary, ninja), *options])
        step(run, "compiling", [cmake, "--build", str(binary), "--target", PROGRAM])
        made_with = compiled_with(binary, identity.settings)
        _keep_programs(folder)
        return Made(f"{version_of(cmake)}, {made_with}")


def _fetch(identity: Identity, folder: Path, run: Running) -> Path:
    """Return the source archive of a release, fetched by pip: uv fetches none without compiling it."""
    common = ["--no-config", "--color", "never", "--no-progress"]
    # The build backend tells pip the name and version of what it has fetched.
    with_backend = ["--with", "scikit-build-core[pyproject]", "--with", "pip"]
    download = ["python", "-m", "pip", "download", "--no-input", "--progress-bar", "off"]
    source = ["--no-binary", ":all:", "--no-deps", "--no-build-isolation", "--dest", str(folder)]
    python = ["--no-project", "--python", sys.executable]
    tool = [find_uv(), "run", *python, *common, *with_backend]
    command = [*tool, *download, *source, identity.requirement]
    code = run(command, "open", pip_environment(os.environ))
    found = sorted(folder.glob("*.tar.gz")) if folder.is_dir() else []
    if code or not found:
        raise failure(run, f"fetching {identity.requirement}", code)
    return found[0]


def _unpack(archive: Path, folder: Path) -> str:
    """Unpack llama.cpp to ``folder / _SOURCE``; return its commit, "unknown" if nothing names it."""
    if not hasattr(tarfile, "data_filter"):
        raise BuildError(
            f"{archive.name} cannot be unpacked safely by this Python: take its latest patch release"
        )
    unpacked, commit = folder / "unpacked", "unknown"
    try:
        with tarfile.open(archive) as opened:
            for member in opened:
                _, _, path = member.name.partition("/")
                if path == "CHANGELOG.md" and member.size < _CHANGES_BYTES:
                    commit = _commit(opened, member)
                elif path.startswith("vendor/llama.cpp/"):
                    opened.extract(member, unpacked, filter="data")
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise BuildError(f"{archive.name} cannot be unpacked: {error}") from None
    found = [*unpacked.glob("*/vendor/llama.cpp")]
    if not found:
        raise BuildError(f"{archive.name} holds no llama.cpp: name another release")
    # At paths of equal length, whatever the release is called.
    found[0].rename(folder / _SOURCE)
    shutil.rmtree(unpacked)
    return commit


def _commit(opened: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = opened.extractfile(member)
    found = _COMMIT.search(file.read().decode(errors="replace")) if file else None
    return found[1][:_COMMIT_DIGITS] if found else "unknown"


def _keep_programs(folder: Path) -> None:
    """Remove what only compiling needs, most of the bytes."""
    shutil.rmtree(folder / _SOURCE)
    shutil.rmtree(folder / _FETCHED)
    for each in (folder / _BINARY).iterdir():
        if each.name != "bin" and each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
