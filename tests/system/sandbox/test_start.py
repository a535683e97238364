"""Nothing of a build runs before its worker is locked in, and a sandbox that fails ends the worker."""

from __future__ import annotations

import sys
import venv
from typing import TYPE_CHECKING

import pytest

from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.engines.llama_cpp_python.process import WorkerProcess
from pytest_llm.errors import EngineError, WorkerDiedError
from pytest_llm.records import Venv
from pytest_llm.system.sandbox import Policy, Sandbox, seccomp
from pytest_llm.system.sandbox.kernel import support

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.system.sandbox import SandboxMode

pytestmark = [
    pytest.mark.quick,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux locks processes in"),
    pytest.mark.skipif(bool(support().lacking), reason=f"not covered: this kernel has {support().lacking}"),
]


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """The folder of packages of an environment that has none."""
    venv.create(tmp_path / "environment", with_pip=False, symlinks=True)
    (found,) = (tmp_path / "environment").glob("lib/python*/site-packages")
    return found


def _build(tmp_path: Path) -> Venv:
    return Venv("llama-cpp-python", str(tmp_path / "environment"))


@pytest.mark.parametrize("file", ["start.pth", "sitecustomize.py", "llama_cpp.py"])
@pytest.mark.parametrize("mode", ["strict", "off"])
def test_start_up_files_of_an_environment_run_locked_in(
    file: str, mode: SandboxMode, packages: Path, tmp_path: Path
) -> None:
    target = tmp_path / "touched"
    code = f"import pathlib; pathlib.Path({str(target)!r}).touch()"
    (packages / file).write_text(code + "\n")
    with pytest.raises(EngineError):  # there is no llama_cpp, or none with functions
        LlamaCppPython(_build(tmp_path), 60.0, "", Policy(mode)).describe()
    assert target.exists() == (mode == "off")


def test_a_sandbox_that_cannot_be_applied_ends_the_worker_and_says_what_to_do(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "touched"
    (packages / "llama_cpp.py").write_text(f"import pathlib; pathlib.Path({str(target)!r}).touch()")
    nonsense = [seccomp.Instruction(0xFFFF, 0, 0, 0)]
    monkeypatch.setattr(seccomp, "compiled", lambda **_: nonsense)
    with pytest.raises(WorkerDiedError) as caught:
        LlamaCppPython(_build(tmp_path), 60.0, "", Policy("on")).describe()
    assert caught.value.log == (
        "error: the sandbox cannot be applied ([Errno 22] seccomp: Invalid argument): --llm-sandbox=off "
        "measures without one",
    )
    assert not target.exists()


def test_the_folder_of_a_worker_is_gone_when_it_has_ended(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path | None] = []

    class Noted(Sandbox):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[arg-type]
            folders.append(self.folder)

    monkeypatch.setattr("pytest_llm.engines.llama_cpp_python.engine.Sandbox", Noted)
    (packages / "llama_cpp.py").write_text("import os; open(os.environ['HOME'] + '/x', 'w'); os.abort()")
    with pytest.raises(WorkerDiedError, match="SIGABRT"):
        LlamaCppPython(_build(tmp_path), 60.0).describe()
    assert len(folders) == 1
    assert folders[0] is not None
    assert not folders[0].exists()


# Says of each file that it inherited, besides its streams and pipes, if it can be opened anew.
OPENING = """
import os, stat, sys
for number in map(int, os.listdir("/proc/self/fd")):
    try:
        if number < 3 or not stat.S_ISREG(os.fstat(number).st_mode):
            continue
    except OSError:
        continue
    for mode in ("rb", "rb+"):
        try:
            open(f"/proc/self/fd/{number}", mode).close()
            print(mode, "opened", file=sys.stderr)
        except OSError as error:
            print(mode, error.strerror, file=sys.stderr)
os._exit(3)
"""


def test_a_file_that_was_left_open_is_read_whatever_has_its_name_now(packages: Path, tmp_path: Path) -> None:
    (packages / "llama_cpp.py").write_text(OPENING)
    kept = tmp_path / "model.gguf"
    kept.write_bytes(b"GGUF")
    with kept.open("rb") as file:
        kept.unlink()
        sandbox = Sandbox(Policy("strict"), "build", {})
        python = str(tmp_path / "environment" / "bin" / "python")
        worker = WorkerProcess(python, sandbox, "build", 60.0, [file.fileno()])
        try:
            with pytest.raises(WorkerDiedError) as caught:
                worker.ask("hello")
        finally:
            worker.close()
    assert caught.value.log == ("rb opened", "rb+ Permission denied")
