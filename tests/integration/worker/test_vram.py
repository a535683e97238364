"""`llm_vram`: judged by what the driver's library tells, and covered only where somebody tells."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Project, StandIn
    from tests.nvml_library import Script

HELD = 6_000_000
CEILINGS = f"""
    pytestmark = pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)

    @pytest.mark.llm_vram(max={HELD})
    def test_at_the_ceiling():
        pass

    @pytest.mark.llm_vram(max={HELD - 1})
    def test_one_byte_above():
        pass
"""
# Lists every child of pytest as a process that holds so much of the device.
LISTING = f"""
    import os, threading, time
    from pathlib import Path
    import psutil

    def follow(path=Path(os.environ["NVML_STUB"])):
        while True:
            pids = [each.pid for each in psutil.Process().children(recursive=True)]
            lines = ["devices 1", *(f"process 0 {{pid}} {HELD}" for pid in pids[:9]), ""]
            path.with_name("next").write_text("\\n".join(lines))
            path.with_name("next").replace(path)
            time.sleep(0.02)

    threading.Thread(target=follow, daemon=True).start()
"""


@pytest.fixture
def measure(project: Project) -> Callable[..., pytest.RunResult]:
    def run(*arguments: str) -> pytest.RunResult:
        without = ("-p", "no:hypothesispytest", "-p", "no:rerunfailures", "-p", "no:cacheprovider")
        return project.pytester.runpytest_subprocess(*without, *project.measuring(), *arguments)

    return run


@pytest.mark.slow
def test_a_ceiling_passes_at_its_own_value_and_fails_one_byte_above(
    project: Project,
    measure: Callable[..., pytest.RunResult],
    nvml_folder: Callable[[str], Path],
    nvml_script: Script,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{nvml_folder('NEW')}:{os.environ.get('LD_LIBRARY_PATH', '')}")
    project.write(LISTING, "conftest.py")
    project.write(CEILINGS)

    result = measure("-rA")

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "peak VRAM is 5.72205 MiB, the limit is at most 5.72204 MiB: off by less than 0.1 % "
            "(3 sessions, 5.722 MiB … 5.722 MiB; per process)",
            "*peak VRAM*",
            "FAILED test_it.py::test_one_byte_above*",
        ]
    )


@pytest.mark.slow
def test_where_nothing_tells_it_is_not_covered_and_no_pass(
    project: Project,
    measure: Callable[..., pytest.RunResult],
    nvml_folder: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NVML_STUB", raising=False)  # then the library has no driver
    monkeypatch.setenv("LD_LIBRARY_PATH", str(nvml_folder("NEW")))
    project.write(CEILINGS)

    measure("-rA").stdout.fnmatch_lines(
        ["not covered: *peak VRAM cannot be had: *NVML: Driver Not Loaded; amdsmi is not installed"]
    )
    measure("--llm-uncovered=fail").assert_outcomes(failed=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("device_mib", "size", "how"),
    [("7", "7.000 MiB", "change reported by ggml"), ("2", "6.000 MiB", "allocated by llama.cpp")],
)
def test_without_a_library_ggml_is_asked_and_believed_if_it_saw_what_was_allocated(
    device_mib: str,
    size: str,
    how: str,
    project: Project,
    measure: Callable[..., pytest.RunResult],
    stand_in: StandIn,
    nvml_folder: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NVML_STUB", raising=False)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(nvml_folder("NEW")))
    stand_in.set(device_mib=device_mib, log="load_tensors: Vulkan0 model buffer size = 6.00 MiB")
    project.write(CEILINGS.replace(str(HELD), "1000"))

    result = measure("-rA")

    result.stdout.fnmatch_lines([f"peak VRAM is {size}, the limit is *{how})"])
