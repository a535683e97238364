"""Limits on the time of a test do not count the minutes in which a model is measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

TIMEOUT = ("-p", "timeout")  # runs in this process are without it
TWO = """
    import time

    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_tokens_per_second(min=1)
    def test_first(llm_bench): pass

    @pytest.mark.llm_workload(prompt_tokens=8, generate_tokens=2)
    @pytest.mark.llm_tokens_per_second(min=1)
    def test_second(llm_bench): pass

    def test_plain(): pass
"""
SKIPPING = """
    def pytest_runtest_setup(item):
        if item.get_closest_marker("gpu"):
            pytest.skip("no GPU here")
"""
# A wrapper that limits the time of a test, of no plugin that is known.
ALARM = """
    import signal

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(item):
        def ring(*_):
            pytest.fail("it took too long")
        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
"""


@pytest.fixture(autouse=True)
def _measuring_takes_longer_than_the_limit(fake: Fake) -> None:
    fake.set(pause=0.1)  # three sessions


@pytest.mark.parametrize("method", ["signal", "thread"])
def test_of_pytest_timeout_hold_for_the_test_alone(project: Project, fake: Fake, method: str) -> None:
    project.write(TWO)

    result = project.measure(*TIMEOUT, "--timeout=0.2", f"--timeout-method={method}")

    result.assert_outcomes(passed=3)
    assert len(fake.started) == 3


@pytest.mark.slow
@pytest.mark.parametrize("file", ["conftest.py", "below/conftest.py"])
@pytest.mark.parametrize("options", ["wrapper=True", "wrapper=True, tryfirst=True"])
def test_of_a_wrapper_in_a_conftest_hold_for_the_test_alone(
    project: Project, fake: Fake, file: str, options: str
) -> None:
    project.write(ALARM.replace("wrapper=True", options), file)
    project.write(TWO, f"{file.rpartition('conftest')[0]}test_it.py")

    project.measure().assert_outcomes(passed=3)
    assert len(fake.started) == 3


@pytest.mark.parametrize("func_only", ["true", "false"])
def test_of_pytest_timeout_wait_where_a_test_asks_while_it_runs(project: Project, func_only: str) -> None:
    project.write(
        """
        import time

        def test_asks(request): request.getfixturevalue("llm_bench")
        def test_hangs(request):
            request.getfixturevalue("llm_bench")
            time.sleep(5)
        """
    )

    result = project.measure(*TIMEOUT, "--timeout=0.2", "-o", f"timeout_func_only={func_only}")

    result.assert_outcomes(passed=1, failed=1)
    assert "Timeout (>0.2s) from pytest-timeout" in project.texts(result)["test_hangs"]


def test_still_end_a_test_that_hangs(project: Project) -> None:
    project.write(TWO.replace("test_first(llm_bench): pass", "test_first(llm_bench): time.sleep(5)"))

    result = project.measure(*TIMEOUT, "--timeout=0.2")

    result.assert_outcomes(passed=2, failed=1)
    assert "Timeout (>0.2s) from pytest-timeout" in project.texts(result)["test_first"]


class TestWhereASetUpHookMaySkip:
    """A hook of the user's decides first; then the test's limit waits."""

    def test_nothing_that_it_skips_is_measured(self, project: Project, fake: Fake) -> None:
        project.write(SKIPPING, "conftest.py")
        project.write("@pytest.mark.gpu\ndef test_first(llm_bench): pass")

        project.measure("-W", "ignore", "--llm-none-measured=warn").assert_outcomes(skipped=1)

        assert fake.started == []

    def test_the_limit_of_pytest_timeout_waits_until_the_rest_is_measured(
        self, project: Project, fake: Fake
    ) -> None:
        project.write(SKIPPING, "conftest.py")
        project.write(TWO.replace("test_second(llm_bench): pass", "test_second(llm_bench): time.sleep(5)"))

        result = project.measure(*TIMEOUT, "--timeout=0.2")

        result.assert_outcomes(passed=2, failed=1)
        assert set(project.texts(result)) == {"test_second"}
        assert len(fake.started) == 3


@pytest.mark.parametrize("hook", ["", SKIPPING], ids=["before the set-up", "in the set-up"])
def test_a_campaign_that_something_broke_off_is_a_finding_and_is_not_begun_again(
    project: Project, monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    """A signal's handler may raise anywhere."""
    begun: list[object] = []

    def broken_off(*_: object) -> None:
        begun.append(_)
        pytest.fail("it took too long")

    monkeypatch.setattr("pytest_llm.plugin.runner.measure", broken_off)
    project.write(hook, "conftest.py")
    project.write(TWO)

    result = project.measure("--llm-json=results.json")

    result.assert_outcomes(passed=1, errors=2)
    texts = project.texts(result)
    assert "it took too long" in texts["test_first"]
    assert texts["test_second"].startswith("measuring was broken off (it took too long) and is not begun ")
    assert len(begun) == 1
    tests = json.loads((project.path / "results.json").read_text(encoding="utf-8"))["tests"]
    assert [test["outcome"] for test in tests] == ["error", "error"]
    assert all("broken off (it took too long)" in test["notes"][0] for test in tests)


@pytest.mark.parametrize(
    "mark", ["skip", "skipif(True, reason='never')", "xfail(run=False)", "skipif('1 == 1', reason='never')"]
)
def test_what_a_marker_skips_is_not_measured(project: Project, fake: Fake, mark: str) -> None:
    project.write(f"@pytest.mark.{mark}\ndef test_first(llm_bench): pass")

    project.measure("--llm-none-measured=warn")

    assert fake.started == []


def test_a_crash_of_ours_while_measuring_is_an_error_of_the_test_alone(
    project: Project, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr("pytest_llm.plugin.runner.measure", crash)
    project.write(TWO)

    result = project.measure()

    result.assert_outcomes(passed=1, errors=2)
    assert "ZeroDivisionError: a mistake of ours" in project.texts(result)["test_first"]
