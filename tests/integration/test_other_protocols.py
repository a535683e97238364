"""Plugins that run tests in a way of their own: repeated, in a forked process, or in another loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

# As pytest-retry and flaky do it.
RETRYING = """
    from _pytest.runner import runtestprotocol

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(item, nextitem):
        for attempt in range(3):
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            if all(each.passed for each in reports):
                break
        for each in reports:
            item.ihook.pytest_runtest_logreport(report=each)
        return True
"""
# As pytest-forked does it.
FORKING = """
    import os
    import pickle
    from _pytest.runner import runtestprotocol

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(item, nextitem):
        hook, config = item.config.hook, item.config
        source, target = os.pipe()
        pid = os.fork()
        if pid == 0:
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            texts = [hook.pytest_report_to_serializable(config=config, report=each) for each in reports]
            os.write(target, pickle.dumps(texts))
            os._exit(0)
        os.close(target)
        os.waitpid(pid, 0)
        with open(source, "rb") as file:
            for each in pickle.load(file):
                report = hook.pytest_report_from_serializable(config=config, data=each)
                item.ihook.pytest_runtest_logreport(report=report)
        return True
"""
LOOPING = """
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(session):
        for item in session.items:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        return True
"""
TESTS = """
    short = pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)

    @short
    @pytest.mark.llm_tokens_per_second(min=1000)
    def test_slow(llm_bench): pass

    @short
    def test_measured(llm_bench): pass
"""


def test_a_benchmark_that_is_repeated_until_it_passes_fails(project: Project, fake: Fake) -> None:
    project.write(RETRYING, "conftest.py")
    project.write(TESTS)

    result = project.measure()

    result.assert_outcomes(passed=1, failed=1)
    assert len(fake.started) == 3


def test_a_test_that_passes_at_last_is_stored(project: Project) -> None:
    project.write(RETRYING, "conftest.py")
    project.write(
        "attempts = []\n" + "def test_it(llm_bench):\n    attempts.append(1)\n    assert len(attempts) > 1"
    )

    assert project.results()["tests"][0]["outcome"] == "passed"


@pytest.mark.slow
def test_a_test_in_a_forked_process_is_measured_before(project: Project) -> None:
    project.write(FORKING, "conftest.py")
    project.write(TESTS)

    done = project.run_apart(*project.measuring(), "--llm-json=r.json", "-W", "ignore")

    assert "1 failed, 1 passed" in done.stdout
    assert done.stdout.count("session 1 of 3") == 1
    assert done.stdout.count("  over limit\n") == 1


@pytest.mark.slow
def test_what_would_be_measured_in_a_forked_process_is_refused(project: Project) -> None:
    project.write(FORKING, "conftest.py")
    project.write("def test_it(request): request.getfixturevalue('llm_bench')")

    done = project.run_apart(*project.measuring(), "-W", "ignore")

    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "a model cannot be measured in a process that another plugin has forked, " in done.stdout


def test_another_loop_measures_and_judges(project: Project) -> None:
    project.write(LOOPING, "conftest.py")
    project.write(TESTS)

    project.measure().assert_outcomes(passed=1, failed=1)


def test_another_loop_that_runs_nothing_is_a_run_that_measured_nothing(project: Project) -> None:
    project.write("def pytest_runtestloop(session): return True", "conftest.py")
    project.write(TESTS)

    result = project.measure()

    assert result.ret != pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["nothing was measured: all 2 benchmarks were not run*"])
