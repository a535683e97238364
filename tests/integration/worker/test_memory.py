"""Limits on what leaks, and the memory that a user's own assertions look at."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_llm.records.device_memory import HOST_ALONE, MemoryReading

if TYPE_CHECKING:
    from tests.integration.conftest import Project

LEAK = """
    @pytest.mark.llm_model(n_ctx=512)
    @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=17)
    @pytest.mark.llm_leak(max={limit!r})
    def test_it():
        pass
"""


class Rising:
    """Holds so many bytes more at each reading; tokens between two are 16."""

    more = 0.0

    def __init__(self) -> None:
        self._bytes = 1e8

    def __call__(self, pid: int) -> MemoryReading:
        self._bytes += self.more
        return MemoryReading(self._bytes, HOST_ALONE)


@pytest.mark.slow
def test_a_leak_is_judged_by_its_slope_and_told_with_its_interval(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llm.machine.environment.anonymous_memory", Rising)
    monkeypatch.setattr(Rising, "more", 16 * 1e5)
    project.write(LEAK.format(limit="10 kB"))

    found = project.results()["tests"][0]

    entry = found["metrics"]["leaked_bytes_per_token"]
    assert (entry["value"], entry["limit"]["verdict"]) == (1e5, "over limit")
    assert entry["limit"]["interval"] == [1e5, 1e5]
    (text,) = project.failures().values()
    assert text.splitlines()[0] == (
        "memory leaked per token is 97.66 KiB, the limit is at most 9.766 KiB: +900.0 % "
        "(99 % interval 97.66 KiB … 97.66 KiB; host memory alone)"
    )


@pytest.mark.slow
def test_the_readings_are_in_the_results_once_a_campaign(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llm.machine.environment.anonymous_memory", Rising)
    project.write(LEAK.format(limit=0))

    results = project.results()

    sessions = results["runs"]["run-1"]["sessions"]
    held = [each["series"].get("anonymous_memory") for each in sessions]
    assert held[:-1] == [None, None]
    assert (len(held[-1]["values"]), held[-1]["tokens"], held[-1]["note"]) == (33, 16, HOST_ALONE)
    assert results["tests"][0]["metrics"]["leaked_bytes_per_token"]["limit"]["verdict"] == "pass"


@pytest.mark.slow
def test_nobody_is_watched_for_leaks_who_sets_no_limit_to_them(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llm.machine.environment.anonymous_memory", Rising)
    project.write("def test_it(llm_bench): pass")
    assert "leaked_bytes_per_token" not in project.results()["tests"][0]["metrics"]


@pytest.mark.slow
def test_where_nothing_tells_what_is_held_the_limit_is_not_covered(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llm.machine.environment.anonymous_memory", lambda: lambda pid: None)
    project.write(LEAK.format(limit=0))
    found = project.results()
    assert [each["metric"] for each in found["not_covered"]] == ["leaked_bytes_per_token"]


def test_a_leak_has_a_limit_and_no_baseline(project: Project) -> None:
    project.write("""
        @pytest.mark.llm_no_regression("leaked_bytes_per_token")
        def test_it(): pass
    """)
    (text,) = project.failures().values()
    assert text == (
        "llm_no_regression: leaked_bytes_per_token is about 0, and may be below, so no share of it is a "
        "tolerance; set a limit with llm_leak"
    )


@pytest.mark.slow
def test_what_a_test_measured_of_a_leak_is_stored_with_no_baseline(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llm.machine.environment.anonymous_memory", Rising)
    project.write(LEAK.format(limit=0))
    project.measure("--llm-update-baselines=new", "--llm-baselines=stored").assert_outcomes(passed=1)
    written = "".join(path.read_text() for path in (project.path / "stored").rglob("*.json"))
    assert "peak_ram" in written
    assert "leaked_bytes_per_token" not in written


# --- The fixture llm_memory -----------------------------------------------------------------------------

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@needs_proc
def test_the_fixture_watches_code_that_is_not_ours(project: Project) -> None:
    project.write("""
        def test_it(llm_memory):
            with llm_memory.watch():
                pass  # the first watch of a process imports its probes
            with llm_memory.watch() as nothing:
                pass
            with llm_memory.watch() as seen:
                kept = bytearray(b"x" * 2**25)
            assert 2**25 <= seen.grown < 2**25 + 2**22
            assert abs(nothing.grown) < 2**22
            assert seen.peak >= seen.peak_anonymous >= 2**25
            assert seen.peak_file > 0
    """)
    # Apart: a process that has run thousands of tests grows by itself.
    done = project.run_apart()
    assert "1 passed" in done.stdout, done.stdout


@needs_proc
def test_the_fixture_tells_what_leaks_by_the_token(project: Project) -> None:
    project.write("""
        import mmap

        def fresh():  # not from what was freed before, which would show no growth
            block = mmap.mmap(-1, 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            block.write(b"x" * 2**20)
            return block

        def test_it(llm_memory):
            kept = []
            leak = llm_memory.leak(lambda: kept.append(fresh()), tokens=4, steps=16)
            assert abs(leak.bytes_per_token / 2**18 - 1) < 0.05
            assert leak.interval[0] <= leak.bytes_per_token <= leak.interval[1]
            assert len(leak.readings) == 17
            assert abs(llm_memory.leak(lambda: bytearray(b"x" * 2**20), tokens=4).bytes_per_token) < 1024
    """)
    project.run().assert_outcomes(passed=1)


@needs_proc
def test_the_fixture_watches_other_processes_and_the_model_s_own(project: Project) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        project.write(f"""
            def test_it(llm_memory, gguf_model):
                with llm_memory.watch({other.pid}) as seen:
                    pass
                assert 0 < seen.peak < 2**27
                assert llm_memory.held(gguf_model.pid) > 0
        """)
        result = project.run(f"--llm-candidate={project.candidate}", f"--llm-model={project.model}")
        other.communicate(b"\n")
    result.assert_outcomes(passed=1)


@needs_proc
@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("held(2**22 - 1)", "nothing tells what process 4194303 holds"),
        ("leak(print, tokens=0)", "give 1 and 2 at least"),
        ("leak(print, steps=1)", "give 1 and 2 at least"),
    ],
)
def test_the_fixture_refuses_in_one_line(call: str, message: str, project: Project) -> None:
    project.write(f"""
        def test_it(llm_memory):
            llm_memory.{call}
    """)
    (text,) = project.texts(project.run()).values()
    assert message in text


def test_this_process_is_the_one_that_is_watched() -> None:
    from pytest_llm.machine.memory.fixture import MemoryWatch

    assert MemoryWatch().held() == pytest.approx(MemoryWatch().held(os.getpid()), abs=2**20)
