"""A maker that is killed at any moment leaves nothing that anyone trusts, and nothing that goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from pytest_llm.builds import toolchain
from pytest_llm.builds.reference import parse_build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_llm.builds import BuildStore
    from tests.conftest import Releases

RELEASE = parse_build("9.0.1", Path.cwd())

# Makes 9.0.1 and stops for good at one of the moments, which it says by a file.
MAKER = """
import os, sys, time
from pathlib import Path

from pytest_llm.system import atomic_file
from pytest_llm.builds import BuildStore, manifest, store
from pytest_llm.builds.archive_lock import ArchiveLock
from pytest_llm.builds.reference import parse_build
from pytest_llm.builds.provider import build_store

cache, moment, here = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])

def stop(*_):
    here.touch()
    time.sleep(600)

builds = BuildStore(cache, stop, ArchiveLock(cache / "lock")) if moment == "first run" else build_store(cache)
if moment == "before the manifest":
    manifest.write = stop
if moment == "manifest not yet named":
    os.replace = stop
builds.make(parse_build("9.0.1", Path.cwd()), lambda line: print(line, flush=True))
"""
UV = """#!/bin/sh
if [ "$1" = "$STOP_UV" ]; then
    {before} "$@"
    touch "{here}"
    sleep 600
fi
exec {uv} "$@"
"""


class Maker:
    """A process that makes 9.0.1."""

    def __init__(self, cache: Path, moment: str, folder: Path) -> None:
        self.here = folder / "here"
        self.process = subprocess.Popen(
            [sys.executable, "-c", MAKER, str(cache), moment, str(self.here)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not happened():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def kill(self) -> list[psutil.Process]:
        """Kill it, and return the processes that it had started."""
        started = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.communicate()
        return started


@pytest.fixture
def makers() -> Iterator[list[Maker]]:
    started: list[Maker] = []
    yield started
    for each in started:
        each.process.kill()
        each.process.communicate()


@pytest.fixture
def uv_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, releases: Releases) -> Callable[[str], None]:
    """Have uv stop for good after ``uv venv``, or before ``uv pip``."""

    def stop(command: str) -> None:
        uv = toolchain.find_uv()
        script = tmp_path / "uv"
        before = uv if command == "venv" else "true"
        script.write_text(UV.format(before=before, here=tmp_path / "here", uv=uv), encoding="utf-8")
        script.chmod(0o755)
        monkeypatch.setenv("UV", str(script))
        monkeypatch.setenv("STOP_UV", command)

    return stop


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + 20
    while not all(gone(each) for each in processes):
        assert time.monotonic() < deadline, [each for each in processes if not gone(each)]
        time.sleep(0.02)


def wait_for_state(store: BuildStore, state: str) -> None:
    """Wait until the one build is in a state: what it had started may end a moment later than it."""
    deadline = time.monotonic() + 20
    while [each.state for each in store.kept()] != [state]:
        assert time.monotonic() < deadline, store.kept()
        time.sleep(0.02)


@pytest.mark.parametrize(
    "moment",
    ["uv venv", "uv pip", "compiling", "first run", "before the manifest", "manifest not yet named"],
)
def test_nothing_is_trusted_and_the_next_maker_succeeds(
    moment: str,
    store: BuildStore,
    cache: Path,
    releases: Releases,
    tmp_path: Path,
    makers: list[Maker],
    uv_stops: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if moment.startswith("uv "):
        uv_stops(moment.removeprefix("uv "))
    if moment == "compiling":
        releases.hold()
    makers.append(maker := Maker(cache, moment, tmp_path))
    if moment == "compiling":
        releases.compiling()
    else:
        maker.wait_for(maker.here.exists)
    assert [each.state for each in store.kept()] == ["being made"]

    wait_until_gone(maker.kill())

    wait_for_state(store, "unfinished")
    monkeypatch.delenv("STOP_UV", raising=False)
    releases.let_go()
    assert store.make(RELEASE, lambda _: None).description.version == "9.0.1"
    assert [each.state for each in store.kept()] == ["ready"]
    assert not list(store.folder.glob("*/.write-*"))


def test_what_was_compiled_is_not_compiled_again(
    store: BuildStore, cache: Path, releases: Releases, tmp_path: Path, makers: list[Maker]
) -> None:
    makers.append(maker := Maker(cache, "first run", tmp_path))
    maker.wait_for(maker.here.exists)
    maker.kill()

    store.make(RELEASE, lambda _: None)

    assert len(releases.compiled()) == 1


def test_a_maker_that_is_interrupted_tidies_up(
    store: BuildStore, cache: Path, releases: Releases, tmp_path: Path, makers: list[Maker]
) -> None:
    releases.hold()
    makers.append(maker := Maker(cache, "", tmp_path))
    releases.compiling()
    started = psutil.Process(maker.process.pid).children(recursive=True)

    maker.process.send_signal(signal.SIGINT)
    maker.process.communicate(timeout=60)

    wait_until_gone(started)
    assert store.kept() == []


def test_two_makers_at_once_make_one(
    store: BuildStore, cache: Path, releases: Releases, tmp_path: Path, makers: list[Maker]
) -> None:
    releases.hold()
    makers.append(first := Maker(cache, "", tmp_path))
    releases.compiling()
    makers.append(second := Maker(cache, "", tmp_path))
    assert second.process.stdout is not None
    waiting = second.process.stdout.readline()
    releases.let_go()

    assert first.process.wait(60) == 0, first.process.communicate()
    assert second.process.wait(60) == 0, second.process.communicate()
    name = f"process {first.process.pid} "
    assert waiting.startswith("waiting: llama-cpp-python@9.0.1 is being made or removed by " + name)
    assert releases.compiled() == ["9.0.1 "]
    assert [each.state for each in store.kept()] == ["ready"]


def test_what_is_being_made_is_not_removed(
    store: BuildStore, cache: Path, releases: Releases, tmp_path: Path, makers: list[Maker]
) -> None:
    from pytest_llm.errors import BuildError

    releases.hold()
    makers.append(maker := Maker(cache, "", tmp_path))
    releases.compiling()
    (kept,) = store.kept()

    with pytest.raises(BuildError, match=f"is being made or removed by process {maker.process.pid} "):
        store.remove(kept)
    releases.let_go()

    assert maker.process.wait(60) == 0, maker.process.communicate()


def test_a_program_that_outlives_its_maker_keeps_the_lock(
    store: BuildStore, cache: Path, releases: Releases, tmp_path: Path, makers: list[Maker]
) -> None:
    """Were the program that ends them killed as well, a later maker waits for the orphans."""
    releases.hold()
    makers.append(maker := Maker(cache, "", tmp_path))
    compiler = releases.compiling()
    tied = psutil.Process(maker.process.pid).children()[0]
    tied.kill()
    maker.process.kill()
    maker.process.communicate()
    assert not gone(psutil.Process(compiler))
    assert [each.state for each in store.kept()] == ["being made"]
    told: list[str] = []

    def on_progress(line: str) -> None:
        told.append(line)
        releases.let_go()

    assert store.make(RELEASE, on_progress).description.version == "9.0.1"
    assert told[0] == "waiting: llama-cpp-python@9.0.1 is in use"
