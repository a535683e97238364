"""llama-server of a release of llama-cpp-python, whose source archive holds all of llama.cpp.

The binding is made first, and the server from its objects, as a commit's server is made in the commit's tree.
Where there are none, because uv had compiled the release before, all is compiled from the archive.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tarfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.builds.cmake import compiled_with, configure, failure, step, version_of
from pytest_llm.builds.recipe import Made
from pytest_llm.builds.release import OBJECTS
from pytest_llm.builds.released import DISTRIBUTION, pip_environment
from pytest_llm.builds.toolchain import find_uv, get_tools
from pytest_llm.errors import BuildError, EngineError
from pytest_llm.records import Release

if TYPE_CHECKING:
    from pytest_llm.builds.identity import Identity
    from pytest_llm.builds.recipe import Order
    from pytest_llm.system.program import Running

PROGRAM = "llama-server"
_OPTIONS = (
    "-DLLAMA_BUILD_SERVER=ON",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_NUMBER=0",  # not known
    "-DCMAKE_BUILD_RPATH_USE_ORIGIN=ON",  # what is kept lies elsewhere than it was compiled
)
# The binding would add a folder of llama.cpp's that its own tools add as well.
_BESIDE_BINDING = "-DLLAVA_BUILD=OFF"
_SOURCE, _BINARY, _FETCHED = "source", "build", "fetched"
_SOURCE_OF_OBJECTS = re.compile(r"^CMAKE_HOME_DIRECTORY:INTERNAL=(.+)$", re.MULTILINE)
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
        try:
            found = _find_objects(order)
            if found is not None:
                return _make_from_objects(order.identity, *found, folder, run)
        except EngineError as error:
            run.on_progress(f"{run.name} is compiled by itself, not beside its binding: {error}")
        return _make_from_archive(order.identity, folder, run)


def _find_objects(order: Order) -> tuple[Path, Path] | None:
    """Return the sources and CMake's build folder of the binding, made first; None if uv had compiled it."""
    identity = order.identity
    objects = order.made(Release(DISTRIBUTION, identity.version, identity.settings)) / OBJECTS
    cache = objects / "CMakeCache.txt"
    found = _SOURCE_OF_OBJECTS.search(cache.read_text(encoding="utf-8")) if cache.is_file() else None
    source = Path(found[1]) if found else None
    return (source, objects) if source is not None and (source / "CMakeLists.txt").is_file() else None


def _make_from_objects(identity: Identity, source: Path, objects: Path, folder: Path, run: Running) -> Made:
    changes = source / "CHANGELOG.md"
    commit = _commit_in(changes.read_text(encoding="utf-8", errors="replace") if changes.is_file() else "")
    cmake, ninja = get_tools(folder, run)
    command = [cmake, *configure(source, objects, ninja)]
    made = _make(identity, command, [f"-DLLAMA_BUILD_COMMIT={commit}", _BESIDE_BINDING], objects, run)
    shutil.copytree(objects / "bin", folder / _BINARY / "bin", symlinks=True)
    return made


def _make_from_archive(identity: Identity, folder: Path, run: Running) -> Made:
    commit = _unpack(_fetch(identity, folder / _FETCHED, run), folder)
    cmake, ninja = get_tools(folder, run)
    binary = folder / _BINARY
    command = [cmake, *configure(folder / _SOURCE, binary, ninja)]
    made = _make(identity, command, [f"-DLLAMA_BUILD_COMMIT={commit}"], binary, run)
    _keep_programs(folder)
    return made


def _make(identity: Identity, configuring: list[str], options: list[str], binary: Path, run: Running) -> Made:
    cmake = configuring[0]
    step(run, "cmake", [*configuring, *_OPTIONS, *identity.settings, *options])
    step(run, "compiling", [cmake, "--build", str(binary), "--target", PROGRAM])
    return Made(f"{version_of(cmake)}, {compiled_with(binary, identity.settings)}")


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
    return _commit_in(file.read().decode(errors="replace") if file else "")


def _commit_in(changes: str) -> str:
    found = _COMMIT.search(changes)
    return found[1][:_COMMIT_DIGITS] if found else "unknown"


def _keep_programs(folder: Path) -> None:
    """Remove what only compiling needs, most of the bytes."""
    shutil.rmtree(folder / _SOURCE)
    shutil.rmtree(folder / _FETCHED)
    for each in (folder / _BINARY).iterdir():
        if each.name != "bin" and each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
