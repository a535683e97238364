"""Where the plugin would measure nonsense, it refuses to measure."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_llm.plugin import runner
from pytest_llm.system.lock import MeasuringLock, lock_path

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

TEST = """
def test_nothing(llm_bench):
    pass
"""


@pytest.mark.parametrize(
    "distributing",
    [("-n", "2"), ("--tx", "popen", "--dist", "load"), ("-d", "--tx=2*popen"), ("--tx=popen", "--dist=each")],
    ids=" ".join,
)
def test_tests_that_run_beside_each_other_are_not_measured(
    project: Project, distributing: tuple[str, ...], fake: Fake
) -> None:
    project.write(TEST)
    line = project.usage_error(*project.measuring(), *distributing)
    assert "--llm-bench cannot measure under pytest-xdist" in line
    assert line.endswith("add -n 0")
    assert fake.started == []


@pytest.mark.slow
def test_options_of_xdist_that_distribute_nothing_are_not_refused(project: Project) -> None:
    project.write(TEST)
    project.measure("--tx=popen", "--dist=no").assert_outcomes(passed=1)
    assert project.run_apart(*project.measuring(), "-n2", "--collect-only").returncode == pytest.ExitCode.OK


@pytest.mark.slow
def test_with_xdist_at_rest_measuring_is_not_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest_subprocess("--llm-bench", "-n", "0")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["nothing was measured*"])


@pytest.mark.slow
def test_without_llm_bench_tests_may_run_beside_each_other(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TEST)
    result = pytester.runpytest_subprocess("-n", "2", "--llm-model=smollm2-135m")
    result.assert_outcomes(skipped=1)


@pytest.mark.slow
def test_the_distribution_that_overwrites_this_package_is_named(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "pytest_llm-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: pytest-llm\nVersion: 1.0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pytester.makepyfile(TEST)
    result = pytester.runpytest_subprocess("--llm-bench")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*the distribution pytest-llm is installed as well*uninstall pytest-llm*"])


def test_a_machine_that_stays_busy_is_waited_for_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PATIENCE", 0.1)
    project.write(
        """
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        @pytest.mark.llm_model(n_ctx=[512, 1024])
        def test_speed():
            pass
        """
    )
    other = MeasuringLock(lock_path(os.environ))
    other.acquire(0)
    try:
        result = project.measure()
    finally:
        other.release()

    result.assert_outcomes(errors=2)
    (text,) = set(project.texts(result).values())
    assert text.startswith("another run measures on this machine: ")
    assert [": waiting up to" in line for line in result.outlines].count(True) == 1
