"""How many processes there are, what they may see, and that none outlives pytest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.records import Venv
from tests.integration.conftest import environment_of_stand_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Project, StandIn

LONG = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=64)
    def test_speed():
        pass
"""
TALK = """
    import time

    def test_talk(gguf_model):
        assert gguf_model.generate("hello", max_tokens=2).text == "fg"
        time.sleep(60)
"""


def _heed_ctrl_c() -> None:
    # A shell that runs this in the background without job control has told its children to ignore it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def _pytest(project: Project, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the benchmarks beside us."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *project.measuring(), *arguments],
        cwd=project.path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_heed_ctrl_c,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_fifty_tests_on_two_subjects_are_two_processes_a_session(project: Project, stand_in: StandIn) -> None:
    project.write(
        """
        @pytest.mark.parametrize("number", range(25))
        @pytest.mark.llm_model(n_ctx=[512, 1024])
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        @pytest.mark.llm_tokens_per_second(min=1)
        def test_speed(number):
            pass
        """
    )

    project.measure().assert_outcomes(passed=50)

    assert len(stand_in.pids()) == 2 * 3


def test_several_workloads_of_a_subject_share_its_processes(project: Project, stand_in: StandIn) -> None:
    project.write(
        """
        @pytest.mark.llm_workload(prompt_tokens=[4, 5, 6], generate_tokens=2)
        def test_speed():
            pass
        """
    )

    project.measure().assert_outcomes(passed=3)

    assert len(stand_in.pids()) == 3


def test_a_run_without_models_starts_none(project: Project, stand_in: StandIn) -> None:
    project.write("def test_arithmetic(): pass")

    project.measure()

    assert stand_in.pids() == []


@pytest.mark.parametrize(
    "arguments", [[], ["-x"], pytest.param(["--maxfail=1"], marks=pytest.mark.slow)], ids=" ".join
)
def test_none_outlives_a_run_that_ends(project: Project, stand_in: StandIn, arguments: list[str]) -> None:
    project.write(
        """
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        @pytest.mark.llm_tokens_per_second(min=1000)
        def test_slow(gguf_model):
            pass

        @pytest.mark.llm_model(n_ctx=512)
        def test_talk(gguf_model):
            assert False
        """
    )

    assert project.measure(*arguments).ret == pytest.ExitCode.TESTS_FAILED

    assert stand_in.pids()
    assert stand_in.alive() == []


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
_ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a stopped process then")
# Each signal once in every run; all pairs in the slow tests.
_QUICK = {
    ("measuring", signal.SIGKILL),
    ("hanging", signal.SIGTERM),
    ("talking", signal.SIGINT),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("doing", "how"),
    [
        pytest.param(
            doing,
            how,
            marks=[
                *([] if (doing, how) in _QUICK else [pytest.mark.slow]),
                *([_ON_LINUX] if doing in {"stopped", "comparing"} else []),
            ],
        )
        for doing in ("measuring", "hanging", "talking", "stopped", "comparing")
        for how in _SIGNALS
    ],
)
def test_none_outlives_a_pytest_that_is_ended(
    project: Project, stand_in: StandIn, how: signal.Signals, doing: str
) -> None:
    project.write(TALK if doing == "talking" else LONG)
    if doing == "hanging":
        stand_in.set(fault="decode:3=hang")
    elif doing == "stopped":
        stand_in.set(fault="decode:3=SIGSTOP")
    else:
        stand_in.set(decode_sleep=0.02)

    subjects = 2 if doing == "comparing" else 1
    with _pytest(project, *(["--llm-aa"] if doing == "comparing" else [])) as process:
        assert stand_in.wait_for(lambda found: len(found.alive()) == subjects, seconds=30)
        time.sleep(0.3)  # into the campaign, or the hang
        assert stand_in.alive()
        process.send_signal(how)
        assert stand_in.wait_for(lambda found: not found.alive(), seconds=15)
        output, _ = process.communicate(timeout=10)

    if how == signal.SIGINT:
        assert process.returncode == pytest.ExitCode.INTERRUPTED
        assert b"KeyboardInterrupt" in output
    else:
        assert process.returncode == -how


@pytest.mark.slow
def test_ctrl_c_is_pytests_alone(project: Project, stand_in: StandIn) -> None:
    # A terminal sends it to every process of the group.
    project.write(
        """
        import os, signal

        def test_talk(gguf_model):
            with pytest.raises(KeyboardInterrupt):
                os.killpg(0, signal.SIGINT)
                signal.pause()
            assert gguf_model.generate("hello", max_tokens=2).text == "fg"
        """
    )

    done = subprocess.run(
        [sys.executable, "-m", "pytest", *project.measuring(), "--llm-none-measured=warn"],
        cwd=project.path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=_heed_ctrl_c,
        timeout=60,
        check=False,
    )

    assert b"1 passed" in done.stdout
    assert len(stand_in.pids()) == 1


# What the stand-in itself and the parts of pytest that run inside need; all else is the machine's.
_OF_THE_TESTS = ("LLAMA_STAND_IN_", "PYTEST", "PY_COLORS", "PATH", "HOME", "TMPDIR", "USERPROFILE")


@pytest.mark.slow
def test_credentials_reach_neither_a_worker_nor_the_results(
    project: Project, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {
        "LLAMA_CLOUD_API_KEY": "llx-0123456789abcdefgh",
        "NVIDIA_API_KEY": "nvapi-0123456789abcdefgh",
        "GITHUB_TOKEN": "ghp_0123456789abcdefgh",
        "GGML_CUDA_DEVICES": "hf_0123456789abcdefgh",  # one of the list, with a value of another
    }
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTEST_LLM_PASS", "LLAMA_* NVIDIA_* GITHUB_* GGML_*")
    project.write("def test_speed(llm_bench): pass")

    result = project.measure("--llm-json=results.json")

    result.assert_outcomes(passed=1)
    started = stand_in.processes()
    assert started
    texts = [result.stdout.str(), (project.path / "results.json").read_text(encoding="utf-8")]
    for name, value in names.items():
        assert [each["pid"] for each in started if name in each["environment"]] == []
        assert [text for text in texts if value in text] == []
    assert "as they look like credentials: GGML_CUDA_DEVICES, GITHUB_TOKEN, LLAMA_CLOUD_API_KEY" in texts[0]


def test_a_credential_that_a_worker_claims_to_have_is_not_recorded(stand_in: StandIn, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    environment_of_stand_in(
        environment, "import os; os.environ['LLAMA_CLOUD_API_KEY'] = 'llx-0123456789abcdefgh'"
    )
    build = Venv("llama-cpp-python", str(environment))
    assert "LLAMA_CLOUD_API_KEY" not in LlamaCppPython(build, 60.0).describe().environment


def test_a_worker_sees_only_what_it_needs_and_what_changes_speed(
    project: Project, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in os.environ:
        if not name.startswith(_OF_THE_TESTS):
            monkeypatch.delenv(name)
    folder = str(project.path)
    passed = {
        "OMP_NUM_THREADS": "2",
        "OPENBLAS_CORETYPE": "Haswell",
        "CUDA_VISIBLE_DEVICES": "0",
        "NVIDIA_TF32_OVERRIDE": "0",
        "GGML_CUDA_NO_PINNED": "1",
        "LD_LIBRARY_PATH": folder,
    }
    for name, value in {**passed, "SOME_TOKEN": "secret", "PYTHONPATH": folder}.items():
        monkeypatch.setenv(name, value)
    project.write("def test_speed(llm_bench): assert llm_bench.build.environment['OMP_NUM_THREADS'] == '2'")

    project.measure().assert_outcomes(passed=1)

    for process in stand_in.processes():
        seen = process["environment"]
        added = {
            name for name in seen if not name.startswith("LLAMA_STAND_IN_") and name not in passed
        }  # by the parent, or by the interpreter itself
        assert {name: seen[name] for name in passed} == passed
        own = {seen[name] for name in ("HOME", "TMPDIR")} if sys.platform == "linux" else set()
        assert folder not in own
        caches = {"XDG_CACHE_HOME", "CUDA_CACHE_PATH", "MESA_SHADER_CACHE_DIR", "__GL_SHADER_DISK_CACHE_PATH"}
        caches |= {"NEO_CACHE_DIR", "SYCL_CACHE_DIR", "AMD_COMGR_CACHE_DIR"}
        assert not seen.get("PYTHONPATH")  # empty, so that both sides of a pair have it
        python = {"PYTHONPATH", "PYTHONUSERBASE", "PYTHONDONTWRITEBYTECODE", "LC_CTYPE"}
        assert added <= {"PATH", "HOME", "TMPDIR", "GGML_NO_BACKTRACE", *caches, *python}
