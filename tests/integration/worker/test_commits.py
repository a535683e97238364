"""``pytest-llm bisect`` over commits, on a checkout whose libraries say how fast they are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_llm.cli import main
from tests import STAND_IN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.checkouts import Checkout
    from tests.integration.conftest import Project

pytestmark = pytest.mark.slow
BENCHMARK = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_no_regression("generation_tokens_per_second")
    def test_speed():
        pass
"""
NODEID = "test_it.py::test_speed"
FAST = 1 / 128
SLOW = FAST * 1.25
# The installed binding is the stand-in, in workers alone: only they are given a library.
SITE = """
import os, sys
if "LLAMA_CPP_LIB_PATH" in os.environ:
    import virtual_clock
    virtual_clock.install()
"""


@pytest.fixture
def words(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[str]]:
    project.write(BENCHMARK)
    monkeypatch.chdir(project.path)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    # A locked-in worker reads a folder of packages as a whole only if it holds llama_cpp.
    shutil.copytree(STAND_IN, tmp_path / "site")
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE, encoding="utf-8")
    paths = (tmp_path / "site", os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(each) for each in paths if str(each)))

    def composed(*more: str) -> list[str]:
        cache = f"--cache={tmp_path / 'cache'}"
        return ["bisect", NODEID, f"--model={project.model}", "--effort=quick", cache, *more]

    return composed


def environment(folder: Path, **variables: object) -> Path:
    """Return an environment in which the stand-in heeds variables of its own."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    given = {f"LLAMA_STAND_IN_{name.upper()}": str(value) for name, value in variables.items()}
    lines = [f"import os; os.environ.update({given!r})", str(STAND_IN)]
    start = "\n".join([*lines, "import virtual_clock; virtual_clock.install()", ""])
    (packages / "stand_in.pth").write_text(start, encoding="utf-8")
    return folder


@pytest.fixture
def commits(checkout: Checkout) -> list[str]:
    """Four commits that compile to something, the third of which is slow, and one of words."""
    made = [checkout.first, checkout.commit("sources: tidy", {"llama.c": "int llama(void) { return 0; }\n"})]
    checkout.commit("docs: say more", {"docs/more.md": "more"})
    made.append(checkout.commit("sources: be clever", {"token_seconds": f"{SLOW}\n"}))
    made.append(checkout.commit("sources: tidy up", {"bench.c": "int main(void) { return 0; }\n"}))
    return made


def test_the_culprit_commit_is_named_with_its_subject_and_date(
    words: Callable[..., list[str]],
    checkout: Checkout,
    commits: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    ends = [f"--good=git:{commits[0]}:{checkout.path}", f"--bad=git:master:{checkout.path}"]

    status = main(words(*ends))

    out, err = capsys.readouterr()
    assert status == 0, err
    assert err.startswith("4 commits, 1 that change nothing that is compiled left out\n")
    assert "up to 0 left" not in err
    builds = [f"llama-cpp-python@git:{each[:12]}:{checkout.path}" for each in commits]
    assert f"culprit: {builds[2]}, llama-cpp-python 0.0.1 (llama.cpp 57a9d1234): generation speed fell" in out
    told = f"ommit {commits[2]}: sources: be clever (authored 2026-01-02 03:04:05 +0000)"
    assert f"culprit c{told}" in out
    assert f"- C{told}." in out
    assert f"--llm-candidate={builds[2]} --llm-against={builds[1]}" in out
    assert f"--good={builds[0]} --bad={builds[3]}" in out


def test_a_culprit_build_is_followed_into_its_commits(
    words: Callable[..., list[str]],
    checkout: Checkout,
    commits: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    good = environment(tmp_path / "good", token_seconds=FAST, commit=commits[0][:9])
    bad = environment(tmp_path / "bad", token_seconds=SLOW, commit=commits[2][:9])

    status = main(words(f"--builds=venv:{good},venv:{bad}", f"--checkout={checkout.path}", "--json"))

    out, err = capsys.readouterr()
    assert status == 0, err
    document = json.loads(out)
    (step,) = document["commits"]
    assert (step["from"], step["to"], step["left_out"]) == (0, 1, 1)
    assert [(each["from"], each["to"]) for each in step["steps"]] == [(1, 2)]
    assert f"ommit {commits[2]}: sources: be clever" in step["texts"][0]
