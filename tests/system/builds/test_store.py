"""Builds are made once, kept apart, and removed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.builds import BuildStore, identity_of, toolchain
from pytest_llm.builds.archive_lock import NAME, ArchiveLock
from pytest_llm.builds.provider import Provider, build_store
from pytest_llm.builds.reference import parse_build
from pytest_llm.errors import BuildError, EngineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.builds import Manifest
    from pytest_llm.records import Build, BuildReference
    from tests.conftest import Releases


def release(text: str) -> BuildReference:
    return parse_build(text, Path.cwd())


def quiet(line: str) -> None:
    raise AssertionError(f"there is nothing to tell: {line}")


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_build_says_of_itself_what_it_is(store: BuildStore) -> None:
    told: list[str] = []

    made = store.make(release("9.0.1"), told.append)

    assert (made.description.engine, made.description.version) == ("llama-cpp-python", "9.0.1")
    assert made.description.llama_cpp_commit == "57a9d1234"
    assert made.description.where.startswith(str(store.folder))
    assert made.tool.startswith("uv ")
    assert told == ["building llama-cpp-python@9.0.1: usually takes minutes"]


def test_a_build_is_made_once(store: BuildStore, releases: Releases, monkeypatch: pytest.MonkeyPatch) -> None:
    first = store.make(release("9.0.1"), lambda _: None)
    monkeypatch.setenv("UV", "/no/such/program")
    monkeypatch.setenv("PATH", "")

    again = store.make(release("llama-cpp-python@9.0.1"), quiet)

    assert again == first
    assert len(releases.compiled()) == 1


def test_another_process_finds_it(store: BuildStore, cache: Path) -> None:
    made = store.make(release("9.0.1"), lambda _: None)

    assert build_store(cache).make(release("9.0.1"), quiet) == made


def test_releases_stand_side_by_side(store: BuildStore) -> None:
    made = [store.make(release(each), lambda _: None).description for each in ("9.0.1", "9.0.2")]

    assert [each.version for each in made] == ["9.0.1", "9.0.2"]
    assert made[0].where != made[1].where


def test_settings_make_another_build_of_a_release(store: BuildStore, releases: Releases) -> None:
    plain = store.make(release("9.0.1"), lambda _: None)
    without = store.make(release("9.0.1[-DGGML_AVX2=OFF -DA=b]"), lambda _: None)
    same = store.make(release("9.0.1[-DA=b -DGGML_AVX2=OFF]"), quiet)

    assert same == without
    assert releases.compiled() == ["9.0.1 ", "9.0.1 -DA=b -DGGML_AVX2=OFF"]
    assert plain.description.compiled_with == "CPU : BUILT ="
    assert without.description.compiled_with == "CPU : BUILT = -DA=b -DGGML_AVX2=OFF"


def test_the_environment_has_no_part_in_what_is_compiled(
    store: BuildStore, releases: Releases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=ON")
    project = '[tool.uv.extra-build-variables]\nllama-cpp-python = { CMAKE_ARGS = "-DPROJECT=1" }\n'
    (tmp_path / "pyproject.toml").write_text(project, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    store.make(release("9.0.2"), lambda _: None)

    assert releases.compiled() == ["9.0.2 "]


def test_what_does_not_compile_shows_the_compiler_s_last_lines(store: BuildStore, releases: Releases) -> None:
    with pytest.raises(BuildError) as caught:
        store.make(release("9.0.3"), lambda _: None)

    (log,) = store.folder.glob("*.log")
    assert "\n" not in str(caught.value)
    assert f"see the last lines, and {log}" in str(caught.value)
    shown = [line.strip() for line in caught.value.log]
    assert "llama.cpp:42:7: error: expected ';' before '}' token" in shown
    assert shown[-1] == "ninja: build stopped: subcommand failed."
    assert len(shown) <= 15
    assert "error: expected ';'" in log.read_text(encoding="utf-8")
    assert [each for each in store.folder.iterdir() if each.is_dir()] == []


def test_a_failure_is_not_tried_again_by_the_same_run(store: BuildStore, releases: Releases) -> None:
    for _ in range(2):
        with pytest.raises(BuildError, match="could not be made"):
            store.ready(release("9.0.3"), lambda _: None)

    assert len(releases.compiled()) == 1


def test_a_release_that_does_not_exist_is_one_line(store: BuildStore) -> None:
    with pytest.raises(BuildError, match=r"uv finds no release 9\.9\.9 of llama-cpp-python") as caught:
        store.make(release("9.9.9"), lambda _: None)
    assert "\n" not in str(caught.value)


def test_an_index_that_cannot_be_reached_is_one_line(
    store: BuildStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("UV_NO_INDEX", "UV_OFFLINE", "UV_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")

    with pytest.raises(BuildError, match="uv cannot reach the package index: check the network"):
        store.make(release("9.0.1"), lambda _: None)


def test_a_build_that_does_not_start_is_none(cache: Path, releases: Releases) -> None:
    def broken(reference: BuildReference, interpreter: str) -> Build:
        raise EngineError(f"{reference}: the worker ended", ("its last line",))

    store = BuildStore(cache, broken, ArchiveLock(cache / NAME))

    with pytest.raises(EngineError, match="the worker ended"):
        store.make(release("9.0.1"), lambda _: None)
    assert store.kept() == []


def test_how_far_a_build_is_is_told_now_and_then(cache: Path, releases: Releases) -> None:
    told: list[str] = []

    def on_progress(line: str) -> None:
        told.append(line)
        if "step 1 of 3" in line:
            releases.let_go()

    releases.hold()
    store = build_store(cache, progress_seconds=0.1)
    store.make(release("9.0.1"), on_progress)

    assert told[0] == "building llama-cpp-python@9.0.1: usually takes minutes"
    assert any(line.endswith(" s, step 1 of 3") for line in told)


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, releases: Releases) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match="make the folder writable"):
        build_store(tmp_path / "file").make(release("9.0.1"), quiet)


# ── trust ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"schema_version": 1', "{\x00}"])
def test_a_damaged_manifest_is_none(store: BuildStore, releases: Releases, content: str) -> None:
    store.make(release("9.0.1"), lambda _: None)
    (path,) = store.folder.glob("*/manifest.json")
    path.write_text(content, encoding="utf-8")

    assert [each.state for each in store.kept()] == ["unfinished"]
    assert store.make(release("9.0.1"), lambda _: None).description.version == "9.0.1"


@pytest.mark.parametrize(("field", "value"), [("version", "9.0.2"), ("python", "cpython-399-moon")])
def test_a_manifest_of_another_build_is_none(store: BuildStore, field: str, value: str) -> None:
    store.make(release("9.0.1"), lambda _: None)
    (path,) = store.folder.glob("*/manifest.json")
    document = json.loads(path.read_text(encoding="utf-8"))
    document["identity"][field] = value
    path.write_text(json.dumps(document), encoding="utf-8")

    assert [each.state for each in store.kept()] == ["unfinished"]


def test_an_interpreter_that_is_gone_has_its_build_made_again(store: BuildStore) -> None:
    first = store.make(release("9.0.1"), lambda _: None)
    Path(first.description.where).unlink()
    told: list[str] = []

    store.make(release("9.0.1"), told.append)

    assert len(told) == 1
    assert Path(first.description.where).exists()


# ── removing ─────────────────────────────────────────────────────────────────────────────────────


def test_a_build_that_is_removed_before_it_is_used_is_made_again(
    store: BuildStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = store.make
    made: list[Manifest] = []

    def make_and_lose_the_first(reference: BuildReference, on_progress: Callable[[str], None]) -> Manifest:
        made.append(really(reference, on_progress))
        if len(made) == 1:
            (kept,) = store.kept()
            store.remove(kept)
        return made[-1]

    monkeypatch.setattr(store, "make", make_and_lose_the_first)

    assert Path(store.ready(release("9.0.1"), lambda _: None)).exists()
    assert len(made) == 2


def test_nothing_is_left_of_what_is_removed(store: BuildStore) -> None:
    store.make(release("9.0.1"), lambda _: None)
    (kept,) = store.kept()
    assert kept.bytes > 10_000

    store.remove(kept)

    assert names(store.folder) == []


def test_a_build_in_use_stays(store: BuildStore, cache: Path) -> None:
    interpreter = store.ready(release("9.0.1"), lambda _: None)
    (kept,) = store.kept()

    with pytest.raises(BuildError, match="is in use: try again when it has ended"):
        build_store(cache).remove(kept)
    assert os.access(interpreter, os.X_OK)

    store.close()
    build_store(cache).remove(kept)
    assert store.kept() == []


def test_several_may_use_a_build_at_once(store: BuildStore, cache: Path) -> None:
    store.ready(release("9.0.1"), lambda _: None)
    other = build_store(cache)

    assert other.ready(release("9.0.1"), quiet) == store.ready(release("9.0.1"), quiet)
    other.close()


# ── engines ──────────────────────────────────────────────────────────────────────────────────────


def test_an_engine_s_build_is_made_before_it_starts(cache: Path, releases: Releases) -> None:
    provider = Provider(cache, 60.0)

    said = provider.describe(release("9.0.2"), lambda _: None)

    provider.close()
    assert (said.version, len(releases.compiled())) == ("9.0.2", 1)


def test_a_library_that_the_environment_names_is_not_taken_by_a_release(
    cache: Path, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", "/moon")
    provider = Provider(cache, 60.0)

    said = provider.describe(release("9.0.1"), lambda _: None)

    provider.close()
    assert "LLAMA_CPP_LIB_PATH" not in said.environment


@pytest.mark.parametrize("text", ["llama-cpp-python", "venv:{}"])
def test_only_a_release_is_made(store: BuildStore, text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be made: name a release such as"):
        store.make(release(text.format(tmp_path)), quiet)


def test_without_uv_the_fix_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(BuildError, match="a build is made with uv, which is not on the PATH: pip install uv"):
        toolchain.find_uv({"PATH": str(tmp_path)})


def test_uv_may_lie_beside_the_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    (tmp_path / "uv").touch(mode=0o755)
    assert toolchain.find_uv({"PATH": "/nowhere"}) == str(tmp_path / "uv")


def test_keys_are_readable_and_apart() -> None:
    texts = ["9.0.1", "9.0.2", "9.0.1[-DA=1]", "9.0.1[-DA=2]", "9.0.1[-DA='a b']", "9.0.1[-DA='a  b']"]
    keys = [identity_of(release(each)).key for each in texts]
    assert len(set(keys)) == len(keys)
    assert len(set(map(len, keys))) == 1  # builds of the store are compared at paths of equal length
    assert keys[2].startswith("llama-cpp-python-9.0.1-A=1-")
    assert all(set(key) <= set(key.encode("ascii").decode()) and "/" not in key for key in keys)
