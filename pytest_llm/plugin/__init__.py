"""The pytest plugin: hooks.

This module and its imports load in every run of pytest; everything else loads when a test uses a model.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

import pytest

from pytest_llm.plugin import late, markers, options
from pytest_llm.plugin.fixtures import _llm_choice, gguf_model, llm_bench, llm_load, llm_memory
from pytest_llm.plugin.items import concerned, is_benchmark, keep_benchmarks
from pytest_llm.plugin.state import (
    BENCHMARK,
    EXPLAINED,
    FINDING,
    MARKED,
    PROBLEM,
    WORST,
    bench_of,
    existing_bench,
)
from pytest_llm.plugin.suite_file import pytest_collect_file

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager
    from typing import Any

__all__ = ["_llm_choice", "gguf_model", "llm_bench", "llm_load", "llm_memory", "pytest_collect_file"]

# Letter, word and colour of passed tests with a notable verdict.
_STATUS = {
    "drift": ("d", "DRIFT", "yellow"),
    "inconclusive": ("?", "INCONCLUSIVE", "yellow"),
    "no baseline": ("b", "NO BASELINE", "yellow"),
    "not covered": ("n", "NOT COVERED", "yellow"),
    "improved": ("+", "IMPROVED", "green"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    options.add_to(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and check the options before anything is collected."""
    for line in markers.ini_lines():
        config.addinivalue_line("markers", line)
    if options.showing(config) in ("--help", "--version", "--markers"):
        return
    if options.any_given(config) and bench_of(config).settings.bench:
        from pytest_llm.plugin.ending import EarlyEnd
        from pytest_llm.plugin.inventory import record_collection

        record_collection(config)
        config.pluginmanager.register(EarlyEnd(bench_of(config)))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, int, int]:
    """Refuse hidden options that keep benchmarks from running, and a green status of a run that failed."""
    flag = options.hidden(config)
    if flag and options.measuring_asked(config):
        raise pytest.UsageError(
            f"--llm-bench measures nothing with {flag}, which is not on the command line: take it out of "
            "PYTEST_ADDOPTS, or of addopts in the ini file"
        )
    status = yield
    bench = existing_bench(config)
    return status if bench is None else bench.ending.status(status)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist starts workers
def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse to measure in a run that distributes its tests."""
    bench = existing_bench(session.config)
    if bench is None or not bench.settings.bench or options.showing(session.config):
        return
    from pytest_llm.errors import UsageError
    from pytest_llm.plugin.refusals import check_alone
    from pytest_llm.system.text import LONGEST_LINE, clean

    try:
        check_alone(session.config)
    except UsageError as error:
        raise pytest.UsageError(clean(error, LONGEST_LINE)) from None


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Name the homes of what the command line names, and say if tests are only shown."""
    bench = existing_bench(config)
    if bench is None or not bench.settings.bench:
        return []
    from pytest_llm.plugin.header import lines_of

    return lines_of(bench, options.showing(config))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End every worker."""
    bench = existing_bench(config)
    if bench is not None:
        bench.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Turn lists in markers into parameters."""
    if concerned(metafunc.definition):
        from pytest_llm.plugin import collect

        collect.parametrize(metafunc, bench_of(metafunc.config))


@pytest.hookimpl(specname="pytest_generate_tests", wrapper=True)
def pytest_llm_tests_are_generated(metafunc: pytest.Metafunc) -> Generator[None, None, None]:
    """Refuse markers that hooks add to a definition, whose tests do not get them."""
    yield
    late.check_definition(metafunc)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark benchmarks before others select among items, and refuse two with one key."""
    _mark_benchmarks(config, items)
    benchmarks = [item for item in items if MARKED in item.stash]
    if benchmarks:
        from pytest_llm.plugin import keys

        keys.check_keys(benchmarks, bench_of(config))


@pytest.hookimpl(specname="pytest_collection_modifyitems")
def pytest_llm_others_have_added_markers(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what markers of conftest files have made benchmarks, before pytest's own selection by marker."""
    _mark_benchmarks(config, items)


def _mark_benchmarks(config: pytest.Config, items: list[pytest.Item]) -> None:
    unmarked = [item for item in items if MARKED not in item.stash and is_benchmark(item)]
    if unmarked:
        from pytest_llm.plugin import collect

        for item in unmarked:
            collect.mark(item, bench_of(config))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Read what is asked, once no hook adds markers any more, and make the plan of what was selected."""
    late.check_modules(session)
    ours = [item for item in session.items if concerned(item)]
    if ours:
        from pytest_llm.plugin import collect, keys

        for item in ours:
            collect.read_item(item, bench_of(session.config))
        benchmarks = [item for item in ours if MARKED in item.stash]
        keys.check_keys(benchmarks, bench_of(session.config))
        session.items[:] = collect.in_plan_order(session.items)
    if options.value(session.config, "llm_bench_only"):
        keep_benchmarks(session.config, session.items)
    bench = existing_bench(session.config)
    if bench is not None:
        from pytest_llm.plugin import collect

        selected = [item for item in session.items if BENCHMARK in item.stash]
        if bench.settings.bench:
            collect.check_baselines(selected, bench)
        wanted = [
            item for item in selected if item.get_closest_marker("skip") is None and PROBLEM not in item.stash
        ]
        asked = {each.nodeid: each for each in (item.stash[BENCHMARK] for item in wanted)}
        bench.make_plan(list(asked.values()))
        if bench.settings.bench and not options.showing(session.config):
            from pytest_llm.plugin.last_check import LastCheck
            from pytest_llm.plugin.refusals import check_limits

            check_limits(bench)
            asking = [item for item in session.items if BENCHMARK in item.stash or PROBLEM in item.stash]
            session.config.pluginmanager.register(LastCheck(bench, asking))


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """Name the homes that the header has not named, and tell the plan, or that benchmarks are skipped."""
    bench = existing_bench(config)
    if bench is None or not bench.settings.bench:
        if options.showing(config):
            return []
        skipped = sum(MARKED in item.stash for item in items)
        each = "1 benchmark is" if skipped == 1 else f"{skipped} benchmarks are"
        return [f"llm-bench: {each} skipped: --llm-bench runs them"] if skipped else []
    from pytest_llm.plugin.header import planned

    return planned(bench, items, options.showing(config))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Measure from now on."""
    bench = existing_bench(session.config)
    if bench is not None and bench.settings.bench and not options.only_showing(session.config):
        bench.begun = True
        if not options.showing(session.config):
            session.config.pluginmanager.register(bench.protocol)
    return (yield)


@pytest.hookimpl(specname="pytest_runtest_setup", tryfirst=True)
def pytest_llm_set_up_begins(item: pytest.Item) -> None:
    """Note where markers are added from now on; a test that a plugin repeats fails anew."""
    late.trace(item)
    if EXPLAINED in item.stash:
        del item.stash[EXPLAINED]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail an item with a problem, skip benchmarks without --llm-bench, and show errors of measuring."""
    if PROBLEM in item.stash:
        pytest.fail(item.stash[PROBLEM], pytrace=False)
    if MARKED not in item.stash:
        return
    bench = bench_of(item.config)
    if not bench.settings.bench:
        pytest.skip("a benchmark: run it with --llm-bench")
    if options.showing(item.config):
        return
    from pytest_llm.plugin import protocol, pytest_benchmark

    if pytest_benchmark.has_one(protocol.measured(item, bench)):
        pytest_benchmark.prepare(item)
    else:
        pytest_benchmark.leave(item)


@pytest.hookimpl(specname="pytest_runtest_setup", trylast=True)
def pytest_llm_fixtures_are_set_up(item: pytest.Item) -> None:
    """Drop the record of a test whose fixture ``benchmark`` is not pytest-benchmark's."""
    if FINDING in item.stash:
        from pytest_llm.plugin import pytest_benchmark

        pytest_benchmark.leave_namesake(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a benchmark with a failing verdict after its own assertions passed."""
    with _recorded(item):
        late.check_set_up(item)
        try:
            yield
        except BaseException:
            with suppress(pytest.fail.Exception):
                late.judge_limits(item)  # the report shows them beside the failure
            raise
        late.check_call(item)
    if FINDING in item.stash:
        from pytest_llm.plugin import protocol

        protocol.fail_by_verdict(item)


def _recorded(item: pytest.Item) -> AbstractContextManager[None]:
    if FINDING not in item.stash:
        return nullcontext()
    from pytest_llm.plugin import protocol, pytest_benchmark

    if item.stash[FINDING].ended_by_output:  # there is no run for the test
        protocol.fail_by_verdict(item)
    return pytest_benchmark.recorded(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a test that got markers after it was judged."""
    yield
    late.check_tear_down(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the engine's last lines to failures that it caused."""
    report = yield
    hint = late.scope_hint(call.excinfo.value) if call.excinfo is not None else ""
    if hint:
        report.longrepr = f"{report.longreprtext}\n{hint}"
    if call.excinfo is not None and existing_bench(item.config) is not None:
        from pytest_llm.plugin.messages import engine_log

        log = engine_log(call.excinfo.value)
        if log:
            report.sections.append(("llama.cpp's last lines", log))
    if report.when == "call" and FINDING in item.stash:
        from pytest_llm.plugin.protocol import beside

        report.sections += beside(item, call)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(
    report: pytest.TestReport,
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Give passed tests with a notable verdict a status letter of their own."""
    if report.when != "call" or not report.passed:
        return None
    worst = next((value for name, value in report.user_properties if name == WORST), None)
    if worst not in _STATUS:
        return None
    letter, word, colour = _STATUS[str(worst)]
    return "passed", letter, (word, {colour: True})


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_benchmark_group_stats(config: pytest.Config, benchmarks: list[dict[str, Any]]) -> None:
    """Leave the table of pytest-benchmark to other tests than ours; its files have all."""
    bench = existing_bench(config)
    if bench is not None and bench.begun:
        from pytest_llm.plugin import pytest_benchmark

        pytest_benchmark.leave_out(config, benchmarks)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # other plugins' hooks may raise: then the results are there
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Write the results, and fail a passed session that measured nothing."""
    bench = existing_bench(session.config)
    if bench is not None and bench.begun:
        from pytest_llm.plugin import ending

        ending.finish(session, bench)
    yield


@pytest.hookimpl(tryfirst=True)  # pytest-benchmark's own raises where a comparison fails
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was measured."""
    bench = existing_bench(terminalreporter.config)
    if bench is not None and (bench.begun or bench.ending.nothing):
        from pytest_llm.plugin import ending

        ending.show(terminalreporter, bench)
