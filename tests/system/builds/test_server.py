"""The server of a release is made from the objects of its binding, and of no others."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.builds.reference import parse_build
from pytest_llm.builds.release import OBJECTS
from tests.releases import COMPILED, write_compiled

if TYPE_CHECKING:
    from pytest_llm.builds import BuildStore
    from tests.conftest import Releases


@pytest.fixture
def compiled(releases: Releases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Releases:
    index = tmp_path / "compiled"
    index.mkdir()
    write_compiled(index)
    monkeypatch.setenv("UV_FIND_LINKS", str(index))
    return releases


def log_of(store: BuildStore, engine: str) -> str:
    (log,) = store.folder.glob(f"{engine}-{COMPILED}*.log")
    return log.read_text(encoding="utf-8")


def made(store: BuildStore, engine: str) -> Path:
    return Path(store.ready(parse_build(f"{engine}@{COMPILED}", Path.cwd()), lambda _: None))


@pytest.mark.parametrize("first", ["llama-cpp-python", "llama-server"])
def test_binding_and_server_are_compiled_once_whichever_is_asked_for_first(
    store: BuildStore, compiled: Releases, first: str
) -> None:
    other = {"llama-cpp-python": "llama-server", "llama-server": "llama-cpp-python"}[first]
    programs = {engine: made(store, engine) for engine in (first, other)}
    assert len(compiled.compiled()) == 1
    assert "Building C object CMakeFiles/ggml.dir/ggml.c.o" in log_of(store, "llama-cpp-python")
    said = log_of(store, "llama-server")
    assert "Building C object CMakeFiles/llama-server.dir/server.c.o" in said
    assert "ggml.dir/ggml.c.o" not in said
    found = store.make(parse_build(f"llama-server@{COMPILED}", Path.cwd()), lambda _: None)
    assert found.description.llama_cpp_commit == "0c1e57098"
    assert programs["llama-server"].is_relative_to(store.folder)


def test_the_server_stays_when_its_binding_is_removed(
    store: BuildStore, compiled: Releases, capfd: pytest.CaptureFixture[str]
) -> None:
    program = made(store, "llama-server")
    store.close()
    (binding,) = (each for each in store.kept() if each.folder.name.startswith("llama-cpp-python"))
    assert (binding.folder / OBJECTS / "bin").is_dir()
    store.remove(binding)
    found = store.make(parse_build(f"llama-server@{COMPILED}", Path.cwd()), lambda _: None)
    assert found.description.llama_cpp_commit == "0c1e57098"
    assert program.is_file()


def test_objects_without_their_sources_are_left_alone(
    store: BuildStore, compiled: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is compiled from the archive then, which pip cannot find here."""
    made(store, "llama-cpp-python")
    (objects,) = store.folder.glob(f"*/{OBJECTS}")
    cache = objects / "CMakeCache.txt"
    text = cache.read_text(encoding="utf-8").splitlines()
    cache.write_text(
        "\n".join("CMAKE_HOME_DIRECTORY:INTERNAL=/nowhere" if "HOME_DIR" in each else each for each in text)
    )
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(Exception, match=f"fetching llama-cpp-python=={COMPILED}"):
        made(store, "llama-server")
    shutil.rmtree(objects)
