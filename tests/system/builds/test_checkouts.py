"""Commits of a checkout are made once, kept apart, and leave the checkout alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from pytest_llm.builds import identity_of, toolchain
from pytest_llm.builds.provider import build_store
from pytest_llm.builds.reference import parse_build
from pytest_llm.errors import BuildError
from pytest_llm.records import Commit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.builds import BuildStore
    from pytest_llm.records import BuildReference
    from tests.checkouts import Checkout

# Makes a build and stops for good at one of the moments, which it says by a file.
MAKER = """
import os, sys, time
from pathlib import Path

from pytest_llm.builds import manifest
from pytest_llm.builds import commit
from pytest_llm.builds.reference import parse_build
from pytest_llm.builds.provider import build_store

cache, moment, build, here = sys.argv[1:]

def stop(*_):
    Path(here).touch()
    time.sleep(600)

def stop_at(run, what, command, step=commit.step):
    stop() if what == moment else step(run, what, command)

commit.step = stop_at
if moment == "before the manifest":
    manifest.write = stop
build_store(Path(cache)).make(parse_build(build, Path.cwd()), lambda line: print(line, flush=True))
"""


@pytest.fixture
def store(cache: Path, checkout: Checkout) -> Iterator[BuildStore]:
    found = build_store(cache)
    yield found
    found.close()


def head(checkout: Checkout, settings: str = "") -> Commit:
    found = parse_build(f"git:HEAD:{checkout.path}{settings}", Path.cwd())
    assert isinstance(found, Commit)
    return found


def quiet(line: str) -> None:
    raise AssertionError(f"there is nothing to tell: {line}")


def ignore(line: str) -> None:
    pass


def test_a_commit_is_made_once_and_the_checkout_is_left_alone(store: BuildStore, checkout: Checkout) -> None:
    before = checkout.seen()
    told: list[str] = []

    made = store.make(head(checkout), told.append)
    again = store.make(head(checkout), quiet)

    assert checkout.seen() == before
    assert (again, checkout.compiled()) == (made, 1)
    assert told == [f"building llama.cpp@{checkout.first[:12]}: usually takes minutes"]
    assert (made.description.engine, made.description.llama_cpp_commit) == ("llama.cpp", checkout.first[:12])
    assert made.tool.startswith("cmake ")
    assert os.access(made.description.where, os.X_OK)


def test_two_checkouts_of_one_commit_are_one_build(
    store: BuildStore, checkout: Checkout, tmp_path: Path
) -> None:
    made = store.make(head(checkout), ignore)
    subprocess.run(["git", "clone", "--quiet", checkout.path, tmp_path / "other"], check=True)

    assert store.make(parse_build(f"git:master:{tmp_path / 'other'}", Path.cwd()), quiet) == made


def test_another_commit_and_other_settings_are_other_builds(store: BuildStore, checkout: Checkout) -> None:
    first = head(checkout)
    checkout.commit("docs: say more", {"README.md": "more"})

    keys = [identity_of(each).key for each in (first, head(checkout), head(checkout, "[-DA=1]"))]

    assert len(set(keys)) == 3
    assert len(set(map(len, keys))) == 1  # paths of equal length
    assert keys[2].startswith(f"llama.cpp-{head(checkout).commit[:12]}-A=1-")


def test_a_work_tree_that_was_changed_is_not_what_is_made(store: BuildStore, checkout: Checkout) -> None:
    (checkout.path / "llama.c").write_text("#error changed\n", encoding="utf-8")

    assert store.make(head(checkout), ignore).description.llama_cpp_commit == checkout.first[:12]


def test_settings_of_the_user_s_reach_cmake_last(store: BuildStore, checkout: Checkout) -> None:
    made = store.make(head(checkout, "[-DLLAMA_BUILD_TESTS=OFF -DA=1]"), ignore)
    (cmake,) = store.folder.glob("*/build/CMakeCache.txt")

    known = cmake.read_text(encoding="utf-8")
    assert "A:UNINITIALIZED=1\n" in known
    assert "LLAMA_BUILD_TESTS:UNINITIALIZED=OFF\n" in known
    assert made.description.compiled_with == "-DA=1, -DLLAMA_BUILD_TESTS=OFF"


@pytest.mark.parametrize(
    ("file", "text", "what", "said"),
    [
        ("llama.c", "#error it is broken\n", "compiling", "error: #error it is broken"),
        ("CMakeLists.txt", "message(FATAL_ERROR no_way)\n", "cmake", "no_way"),
        ("bench.c", "int main(void) { return 3; }\n", "llama-bench --help", ""),
    ],
)
def test_what_cannot_be_made_shows_the_last_lines(
    store: BuildStore, checkout: Checkout, file: str, text: str, what: str, said: str
) -> None:
    checkout.commit("break", {file: text})

    with pytest.raises(BuildError, match=rf"\({what}, exit status \d+\)") as caught:
        store.make(head(checkout), ignore)

    (log,) = store.folder.glob("*.log")
    assert f"see the last lines, and {log}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert any(said in line for line in caught.value.log)
    assert [each for each in store.folder.iterdir() if each.is_dir()] == []


def test_a_build_without_a_shared_library_is_none(store: BuildStore, checkout: Checkout) -> None:
    text = (checkout.path / "CMakeLists.txt").read_text(encoding="utf-8").replace("SHARED", "STATIC")
    checkout.commit("link statically", {"CMakeLists.txt": text})

    with pytest.raises(BuildError, match="leave BUILD_SHARED_LIBS and the output folders at their defaults"):
        store.make(head(checkout), ignore)


def test_a_library_that_is_gone_has_its_build_made_again(store: BuildStore, checkout: Checkout) -> None:
    store.make(head(checkout), ignore)
    for each in store.folder.glob("*/build/bin/libllama.*"):
        each.unlink()

    store.make(head(checkout), ignore)

    assert checkout.compiled() == 2


def test_how_far_it_is_is_told_by_ninja_s_steps(cache: Path, checkout: Checkout) -> None:
    told: list[str] = []

    def on_progress(line: str) -> None:
        told.append(line)
        if len(told) > 2:
            checkout.let_go()

    checkout.hold()
    checkout.commit("sources: more of them", {"llama.c": (checkout.path / "llama.c").read_text() + "\n"})
    build_store(cache, progress_seconds=0.1).make(head(checkout), on_progress)

    assert any(line.startswith(f"building {identity_of(head(checkout)).title}: ") for line in told[1:])


# ── sources ──────────────────────────────────────────────────────────────────────────────────────


def test_more_programs_are_made_of_the_same_sources(store: BuildStore, checkout: Checkout) -> None:
    tree = store.tree(head(checkout), ignore)
    assert tree is not None

    path = tree.program("test-backend-ops", quiet)

    assert path == tree.binary / "bin" / "test-backend-ops"
    assert subprocess.run([path], check=True).returncode == 0
    assert (tree.source / "llama.c").is_file()
    assert tree.commit == checkout.first
    assert tree.program("test-backend-ops", quiet) == path
    assert checkout.compiled() == 1


def test_a_program_that_a_commit_has_not_got_is_one_line(store: BuildStore, checkout: Checkout) -> None:
    tree = store.tree(head(checkout), ignore)
    assert tree is not None
    with pytest.raises(BuildError, match=r"^moon of llama\.cpp \w{12} cannot be made: .* no target"):
        tree.program("moon", quiet)


def test_other_kinds_of_builds_have_no_sources(store: BuildStore) -> None:
    assert store.tree(parse_build("llama-cpp-python", Path.cwd()), quiet) is None


def test_a_tree_in_use_stays(store: BuildStore, cache: Path, checkout: Checkout) -> None:
    store.tree(head(checkout), ignore)
    (kept,) = store.kept()

    with pytest.raises(BuildError, match="is in use: try again when it has ended"):
        build_store(cache).remove(kept)
    store.close()
    build_store(cache).remove(kept)

    assert list(store.folder.iterdir()) == []


# ── tools ────────────────────────────────────────────────────────────────────────────────────────


def test_without_cmake_and_uv_the_fix_is_told(
    store: BuildStore, checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = head(checkout)
    (tmp_path / "bin").mkdir()
    for name in ("git", "sh"):
        found = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (tmp_path / "bin" / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("pytest_llm.builds.toolchain.find_uv", lambda _: exec_missing())

    with pytest.raises(BuildError, match="which are not on the PATH: pip install cmake ninja"):
        store.make(build, ignore)


def exec_missing() -> str:
    raise BuildError("there is no uv")


class Run:
    """Notes what would be run, and how it would have ended."""

    name = "llama.cpp@1"
    log = Path("the.log")

    def __init__(self, code: int) -> None:
        self.code = code
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], reach: str = "closed") -> int:
        self.commands.append(command)
        return self.code


@pytest.fixture
def only_uv(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").touch(mode=0o755)
    return {"PATH": str(tmp_path / "bin")}


def test_uv_gets_cmake_and_ninja_where_the_path_lacks_one(tmp_path: Path, only_uv: dict[str, str]) -> None:
    (tmp_path / "bin" / "cmake").touch(mode=0o755)
    run: Any = Run(0)

    cmake, ninja = toolchain.get_tools(tmp_path, run, only_uv)

    assert (cmake, ninja) == tuple(str(tmp_path / "tools" / "bin" / each) for each in ("cmake", "ninja"))
    assert [each[:2] for each in run.commands] == [
        [str(tmp_path / "bin" / "uv"), "venv"],
        [str(tmp_path / "bin" / "uv"), "pip"],
    ]
    assert run.commands[1][-2:] == ["cmake", "ninja"]


def test_where_uv_cannot_get_them_the_fix_is_told(tmp_path: Path, only_uv: dict[str, str]) -> None:
    run: Any = Run(1)
    with pytest.raises(BuildError, match=r"uv cannot get them: pip install cmake ninja \(the log: "):
        toolchain.get_tools(tmp_path, run, only_uv)


# ── killed ───────────────────────────────────────────────────────────────────────────────────────


class Maker:
    """A process that makes a build."""

    def __init__(self, cache: Path, moment: str, build: BuildReference, here: Path) -> None:
        self.here = here
        self.process = subprocess.Popen(
            [sys.executable, "-c", MAKER, str(cache), moment, str(build), str(here)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while not self.here.exists():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def makers() -> Iterator[list[Maker]]:
    started: list[Maker] = []
    yield started
    for each in started:
        each.process.kill()
        each.process.communicate()


def wait_until(done: object) -> None:
    deadline = time.monotonic() + 30
    while not done():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(
    "moment", ["git clone", "git checkout", "cmake", "compiling", "in ninja", "before the manifest"]
)
def test_a_killed_maker_leaves_nothing_that_is_trusted_and_nothing_that_goes_on(
    moment: str, store: BuildStore, cache: Path, checkout: Checkout, tmp_path: Path, makers: list[Maker]
) -> None:
    if moment == "in ninja":
        checkout.hold()
    makers.append(maker := Maker(cache, moment, head(checkout), tmp_path / "here"))
    if moment == "in ninja":
        checkout.compiling()
    else:
        maker.wait()
    assert [each.state for each in store.kept()] == ["being made"]
    started = psutil.Process(maker.process.pid).children(recursive=True)

    maker.process.send_signal(signal.SIGKILL)

    wait_until(lambda: all(map(gone, started)))
    wait_until(lambda: [each.state for each in store.kept()] == ["unfinished"])
    checkout.let_go()
    assert store.make(head(checkout), ignore).description.llama_cpp_commit == checkout.first[:12]
    assert [each.state for each in store.kept()] == ["ready"]


def test_two_makers_at_once_make_one(
    store: BuildStore, cache: Path, checkout: Checkout, tmp_path: Path, makers: list[Maker]
) -> None:
    checkout.hold()
    makers.append(first := Maker(cache, "", head(checkout), tmp_path / "here"))
    checkout.compiling()
    makers.append(second := Maker(cache, "", head(checkout), tmp_path / "here"))
    assert second.process.stdout is not None
    waiting = second.process.stdout.readline()
    checkout.let_go()

    assert [each.process.wait(60) for each in (first, second)] == [0, 0]
    title = f"llama.cpp@{checkout.first[:12]}"
    assert waiting.startswith(f"waiting: {title} is being made or removed by process ")
    assert checkout.compiled() == 1
