"""Verdicts that a plugin, a hook or an option leaves out are reported when all tests have ended."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from tests import TESTS

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

SLOW = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_tokens_per_second(min=1000)
    def test_slow(llm_bench): pass

    def test_ordinary(): pass
"""
OVER = "generation speed is 128.0 tok/s, the limit is at least 1000 tok/s"
# What leaves the verdict of a test out, by how the test is reported then.
SWALLOWING = {
    "a report turned into a pass": (
        "as passed",
        """
        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_makereport(item, call):
            report = yield
            report.outcome, report.longrepr = "passed", None
            return report
        """,
    ),
    "a report turned into a skip": (
        "as skipped",
        """
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(item, call):
            report = yield
            if report.failed:
                report.outcome, report.longrepr = "skipped", ("conftest.py", 1, "Skipped: quarantine")
            return report
        """,
    ),
    "a report turned into an expected failure": (
        "as skipped",
        """
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(item, call):
            report = yield
            if report.failed:
                report.outcome, report.wasxfail = "skipped", "flaky"
            return report
        """,
    ),
    "a call whose failure is caught": (
        "as passed",
        """
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_call(item):
            try:
                return (yield)
            except BaseException:
                return None
        """,
    ),
    "a protocol that runs the test by itself": (
        "as passed",
        """
        from _pytest.runner import CallInfo

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_protocol(item, nextitem):
            item.session._setupstate.setup(item)
            for when, run in (("setup", int), ("call", item.runtest), ("teardown", int)):
                call = CallInfo.from_call(run, when)
                item.ihook.pytest_runtest_logreport(report=pytest.TestReport.from_item_and_call(item, call))
            item.session._setupstate.teardown_exact(nextitem)
            return True
        """,
    ),
    "a protocol that reports nothing": (
        "not at all",
        """
        from _pytest.runner import runtestprotocol

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_protocol(item, nextitem):
            runtestprotocol(item, nextitem=nextitem, log=False)
            return True
        """,
    ),
    "a protocol that runs nothing": (
        "not at all",
        """
        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_protocol(item): return True
        """,
    ),
}


@pytest.mark.parametrize(("how", "plugin"), SWALLOWING.values(), ids=SWALLOWING)
def test_an_exceeded_limit_is_reported_once_whatever_a_plugin_leaves_out(
    project: Project, how: str, plugin: str
) -> None:
    project.write(plugin, "conftest.py")
    project.write(SLOW)

    result = project.measure("--llm-json=r.json", "--junitxml=junit.xml", "-p", "no:benchmark")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    (text,) = project.texts(result).values()
    assert OVER in text
    assert text.splitlines()[-1].startswith(
        f"  pytest reported this test {how}: a plugin, a hook or an option "
    )
    failed = [report for report in project.reports(result) if report.failed]
    assert [(each.nodeid, each.when) for each in failed] == [("test_it.py::test_slow", "call")]
    assert result.stdout.str().count("FAILED test_it.py::test_slow") == 1
    root = ElementTree.parse(project.path / "junit.xml").getroot()
    assert [OVER in str(each.text) for each in root.iter("failure")] == [True]
    (test,) = json.loads((project.path / "r.json").read_text(encoding="utf-8"))["tests"]
    assert (test["outcome"], test["failed_by_verdict"]) == ("failed", True)


@pytest.mark.parametrize(
    "arguments", [(), ("-p", "no:terminal"), ("-p", "no:skipping"), ("--runxfail",), ("-x",)]
)
def test_a_verdict_that_pytest_reports_is_not_reported_twice(
    project: Project, arguments: tuple[str, ...]
) -> None:
    project.write(SLOW)

    result = project.measure(*arguments)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert [each.nodeid for each in project.reports(result) if each.failed] == ["test_it.py::test_slow"]


def test_a_plugin_of_the_environment_hides_no_verdict(project: Project) -> None:
    """It is loaded before all others, so that its wrappers are inside of ours."""
    project.write(SWALLOWING["a report turned into a pass"][1], "quarantine.py")
    project.write(SLOW)
    path = os.pathsep.join([str(TESTS.parent), str(project.path)])

    done = project.run_apart(*project.measuring(), PYTEST_PLUGINS="quarantine", PYTHONPATH=path)

    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert OVER in done.stdout
    assert "1 failed, 2 passed" in done.stdout


def test_a_plugin_that_turns_every_report_into_a_pass_does_not_make_the_run_green(project: Project) -> None:
    project.write(
        """
        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_logreport(report):
            report.outcome = "passed"

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(item, call):
            report = yield
            report.outcome = "passed"
            return report
        """,
        "conftest.py",
    )
    project.write(SLOW)

    result = project.measure()

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["failed or not judged, and not reported as failed: test_it.py::test_slow"])


@pytest.mark.parametrize(
    "hook",
    [
        "@pytest.hookimpl(trylast=True)\ndef pytest_sessionfinish(session): session.exitstatus = 0",
        "@pytest.hookimpl(wrapper=True, tryfirst=True)\ndef pytest_sessionfinish(session):\n"
        "    yield\n    session.exitstatus = 0",
        "def pytest_sessionstart(session): global found; found = session\n"
        "def pytest_unconfigure(): found.exitstatus = 0",
        "def pytest_sessionfinish(): pytest.exit('done', returncode=0)",
    ],
    ids=["last", "outermost", "afterwards", "exit"],
)
@pytest.mark.parametrize("source", [SLOW, "def test_ordinary(): pass"], ids=["over a limit", "none measured"])
def test_an_exit_status_that_is_reset_stays_red(project: Project, hook: str, source: str) -> None:
    project.write(hook, "conftest.py")
    project.write(source)

    assert project.measure().ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_run_that_ends_early_with_status_0_is_red_if_gates_are_left(project: Project, place: str) -> None:
    names = {"before": "test_a.py", "after": "test_z.py"}
    project.write("def test_exit(): pytest.exit('enough', returncode=0)", names[place])
    project.write(SLOW.replace("1000", "1"))

    result = project.measure("-k", "exit or slow")

    assert result.ret == (pytest.ExitCode.TESTS_FAILED if place == "before" else pytest.ExitCode.OK)
    if place == "before":
        line = "failed or not judged, and not reported as failed: test_it.py::test_slow"
        result.stdout.fnmatch_lines([line])


def test_a_run_that_ends_while_it_collects_is_red(project: Project) -> None:
    project.write("def pytest_collection_modifyitems(): pytest.exit('later', returncode=0)", "conftest.py")
    project.write(SLOW)

    result = project.measure()

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["nothing was measured: pytest.exit ended the run before any test"])
    assert project.run().ret == pytest.ExitCode.OK


def test_benchmarks_that_vanish_after_the_plan_is_made_fail(project: Project, fake: Fake) -> None:
    project.write(
        """
        @pytest.hookimpl(trylast=True)
        def pytest_collection_finish(session):
            session.items[:] = [item for item in session.items if "slow" not in item.name]
        """,
        "conftest.py",
    )
    project.write(SLOW.replace("1000", "1"))

    result = project.measure("--llm-none-measured=warn")

    assert project.texts(result) == {
        "test_slow": "limits and gates were not judged: the test did not run\n"
        "  pytest reported this test not at all: a plugin, a hook or an option left its verdict out"
    }
    assert fake.started == []


@pytest.mark.parametrize("name", ["a protocol that reports nothing", "a protocol that runs nothing"])
def test_a_test_without_a_report_is_red_even_if_its_limits_are_kept(project: Project, name: str) -> None:
    project.write(SWALLOWING[name][1], "conftest.py")
    project.write(SLOW.replace("1000", "1"))

    result = project.measure()

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    (text,) = project.texts(result).values()
    assert text.startswith("limits and gates were not judged: the test did not run\n")


def test_a_kept_limit_that_a_fixture_adds_counts_without_a_report(project: Project) -> None:
    project.write(SWALLOWING["a protocol that reports nothing"][1], "conftest.py")
    project.write(
        """
        @pytest.fixture
        def late(request): request.node.add_marker(pytest.mark.llm_tokens_per_second(min=1))

        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        def test_slow(late): pass
        """
    )

    result = project.measure()

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "limits and gates were not judged" in project.texts(result)["test_slow"]


def test_a_failed_measurement_is_red_although_the_limit_would_have_come_from_a_fixture(
    project: Project, fake: Fake
) -> None:
    """The error comes before the fixture has added anything."""
    project.write(SWALLOWING["a report turned into a pass"][1], "conftest.py")
    project.write(
        """
        @pytest.fixture
        def late(request): request.node.add_marker(pytest.mark.llm_tokens_per_second(min=1))

        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        def test_slow(late): pass
        """
    )
    fake.set(token_seconds=float("nan"))

    (text,) = project.failures("--llm-none-measured=warn").values()

    assert text.startswith("limits and gates were not judged: ")
    assert "took nan s, which is not a time" in text


def test_benchmarks_that_are_deselected_late_are_deselected(project: Project) -> None:
    project.write(
        """
        @pytest.hookimpl(trylast=True)
        def pytest_collection_finish(session):
            left = [item for item in session.items if "slow" in item.name]
            session.config.hook.pytest_deselected(items=left)
            session.items[:] = [item for item in session.items if item not in left]
        """,
        "conftest.py",
    )
    project.write(SLOW)

    assert project.measure("--llm-none-measured=warn").ret == pytest.ExitCode.OK


def test_what_is_stored_counts_if_a_hook_takes_the_verdict_back(project: Project) -> None:
    """The series say otherwise than a finding that somebody has replaced."""
    project.write(
        """
        from dataclasses import replace
        from pytest_llm.plugin.state import FINDING
        from pytest_llm.records import Verdict

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_call(item):
            if FINDING in item.stash:
                found = item.stash[FINDING]
                judged = [replace(each, verdict=Verdict.PASS) for each in found.judgements]
                item.stash[FINDING] = replace(found, judgements=tuple(judged))
        """,
        "conftest.py",
    )
    project.write(SLOW)

    assert OVER in project.failures()["test_slow"]


@pytest.mark.parametrize(
    ("marker", "text"),
    [
        ("llm_tokens_per_second(min=1000)", OVER),
        ("llm_no_regression()", "llm_no_regression was added after the plan was made"),
        ("llm_tokens_per_second(min=0)", "llm_tokens_per_second: min=0 cannot fail"),
    ],
)
def test_a_marker_that_a_fixture_adds_counts_without_a_call(project: Project, marker: str, text: str) -> None:
    project.write(SWALLOWING["a protocol that runs the test by itself"][1], "conftest.py")
    project.write(
        f"""
        @pytest.fixture
        def late(request): request.node.add_marker(pytest.mark.{marker})

        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        def test_slow(late): pass
        """
    )

    assert text in project.failures()["test_slow"]


@pytest.mark.parametrize(
    "source",
    [
        "@pytest.mark.xfail\n" + "{limit}def test_it(): pass",
        "@pytest.mark.xfail(strict=True)\n" + "{limit}def test_it(): pass",
        "{limit}def test_it(): pytest.xfail('known')",
        "{limit}def test_it(llm_bench): pytest.skip('not this machine')",
        "@pytest.fixture\ndef gpu(): pytest.skip('no GPU')\n" + "{limit}def test_it(gpu): pass",
        "import unittest\nclass TestIt(unittest.TestCase):\n    @unittest.expectedFailure\n"
        "    @pytest.mark.llm_tokens_per_second(min=1000)\n    def test_it(self): self.fail()",
    ],
    ids=["xfail", "strict xfail", "xfail in the body", "skip in the body", "skip in a fixture", "unittest"],
)
def test_what_a_test_itself_expects_or_skips_stays_so(project: Project, source: str) -> None:
    project.write(source.format(limit="@pytest.mark.llm_tokens_per_second(min=1000)\n"))

    result = project.measure()

    assert result.ret == pytest.ExitCode.OK
    assert not project.texts(result)


def test_xfail_is_no_word_of_the_test_if_it_does_not_hold(project: Project) -> None:
    project.write(SWALLOWING["a report turned into a pass"][1], "conftest.py")
    project.write(
        "@pytest.mark.xfail(False, reason='elsewhere')\n@pytest.mark.llm_tokens_per_second(min=1000)\n"
        "def test_it(): pass"
    )

    assert OVER in project.failures()["test_it"]


def test_a_required_plugin_that_is_switched_off_ends_the_run(project: Project) -> None:
    """Without the plugin its markers mean nothing, so only pytest itself can notice."""
    project.write("required_plugins = pytest-llm-bench\n".join(["[pytest]\n", ""]), "pytest.ini")
    project.write(SLOW.replace("(llm_bench)", "()"))

    for off in ({"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, {"PYTEST_ADDOPTS": "-p no:llm_bench"}):
        done = project.run_apart("-o", "llm_bench=true", **off)

        assert done.returncode == pytest.ExitCode.USAGE_ERROR
        assert "Missing required plugins: pytest-llm-bench" in done.stderr
