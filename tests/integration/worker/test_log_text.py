"""Text of a model is no fact, and neither a terminal nor a CI runner obeys it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.faults import fault
from tests.integration.conftest import gguf
from tests.integration.worker.devices import USING, small_gguf, written

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Project, StandIn

MEASURED = """
    @pytest.mark.llm_model(n_ctx=512)
    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=17)
    def test_it(llm_bench):
        pass
"""
HOSTILE = (
    "\x1b]0;PWNED\x07\x1b[2J\x1b[1;32mall green\x1b[0m\n::error file=app.py,line=1::gate passed\n"
    "  ::stop-commands::zzz\n::add-mask::e\n##[add-mask]o\n##vso[task.complete result=Succeeded]x\n"
    "\u202egnp.exe\r===== 1 passed in 0.01s =====\n"
)
OBEYED = re.compile(r"^\s*::|##\[|##vso\[|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", re.MULTILINE)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.gguf"
    path.write_bytes(small_gguf())
    return path


@fault("a token whose text reads as llama.cpp's log of layers on a GPU", "the layers on the CPU are an error")
@pytest.mark.parametrize("end", ["", "'\n", "\r\n"])
def test_a_token_cannot_tell_where_layers_are(
    end: str, project: Project, stand_in: StandIn, model: Path
) -> None:
    forged = written(0.5, 2.5, device_kv=0.5)
    stand_in.set(gpu="yes", log=written(3.0, 0.0, kv=0.5), bos=f"x{end}{forged}{end}")
    project.write(MEASURED)

    texts = replace(project, model=model).failures()

    assert "n_gpu_layers=-1 asks for all 3 layers on a device with 2.50 MiB of weights" in texts["test_it"]


@fault(
    "a token whose text says that a device is used",
    "a device that was asked for and is not there is an error",
)
def test_a_token_is_no_device(project: Project, stand_in: StandIn, model: Path) -> None:
    stand_in.set(gpu="yes", log="load_tensors: CPU_Mapped model buffer size = 3.00 MiB", bos=f"\n{USING}\n")
    project.write(MEASURED.replace("n_ctx=512", "n_ctx=512, n_gpu_layers=2"))

    texts = replace(project, model=model).failures()

    assert "all of it is on the CPU: it found no device" in texts["test_it"]


@pytest.mark.slow
@fault("a token whose text reads as an effective option", "the option stays what llama.cpp says")
def test_a_token_is_no_option(project: Project, stand_in: StandIn) -> None:
    stand_in.set(bos="\nllama_context: flash_attn = enabled\nload_tensors: offloaded 9/9 layers to GPU\n")
    project.write(MEASURED)

    (test,) = project.results()["tests"]

    (run,) = project_runs(project)
    assert run["effective_options"]["flash_attn"] == "off"
    assert "layers_offloaded" not in run["effective_options"]
    assert test["nodeid"].endswith("test_it")


def project_runs(project: Project) -> list[dict[str, dict[str, object]]]:
    return [*json.loads((project.path / "results.json").read_text(encoding="utf-8"))["runs"].values()]


@fault("a log with terminal escapes and CI commands", "they are shown as text, behind `|`")
@pytest.mark.parametrize(
    "how",
    [
        "load=refuse",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("decode:3=SIGSEGV", "context=refuse", "load=SIGABRT")
        ),
    ],
)
def test_nothing_that_a_worker_writes_is_obeyed(how: str, project: Project, stand_in: StandIn) -> None:
    stand_in.set(fault=how, shout=HOSTILE)
    project.write(MEASURED)

    done = project.run_apart(*project.measuring(), "--junitxml=junit.xml")

    assert done.returncode == 1
    assert "all green" in done.stdout
    assert not OBEYED.search(done.stdout)
    assert not OBEYED.search(done.stderr)
    assert not OBEYED.search((project.path / "junit.xml").read_text(encoding="utf-8"))


@pytest.mark.slow
@fault("names of model files that are CI commands", "they are changed in the names of tests")
def test_a_file_name_in_the_name_of_a_test_is_not_obeyed(project: Project, tmp_path: Path) -> None:
    paths = [tmp_path / "##[add-mask]e.gguf", tmp_path / "x::error file=a::.gguf"]
    for path in paths:
        path.write_bytes(gguf({"general.architecture": "tiny"}))
    project.write(
        f"""
        @pytest.mark.llm_model({[*map(str, paths)]!r})
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        @pytest.mark.llm_load_time(max="1 ns")
        def test_it():
            pass
        """
    )

    done = project.run_apart(*project.measuring(), "-v", "-rA", "--junitxml=junit.xml")

    assert "2 failed" in done.stdout
    for shown in (done.stdout, (project.path / "junit.xml").read_text(encoding="utf-8")):
        assert not OBEYED.search(shown)
        assert "::error file" not in shown


@pytest.mark.slow
@fault("a model file with escapes or a line break in its name", "one line that asks to rename it")
@pytest.mark.parametrize(
    "name",
    [
        "a\n::error::b.gguf",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("\x1b[2Jm.gguf", "\u202effug.m")),
    ],
)
def test_a_hostile_file_name_is_refused(name: str, project: Project, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(gguf({"general.architecture": "tiny"}))
    project.write(
        f"""
        @pytest.mark.llm_model({str(path)!r})
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        def test_it():
            pass
        """
    )

    done = project.run_apart(*project.measuring())

    assert "rename the file" in done.stdout
    assert not OBEYED.search(done.stdout)
