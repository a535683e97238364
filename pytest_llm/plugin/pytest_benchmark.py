"""Records of pytest-benchmark: every request of a run is one round.

Only the documented interface of pytest-benchmark is used: its options, its marker, and its fixture's
``pedantic`` and ``extra_info``. Without pytest-benchmark, a user's own fixture ``benchmark`` is left alone.
"""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.errors import UsageError
from pytest_llm.plugin.state import FINDING
from pytest_llm.records.serialization import encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_llm.checks.findings import Finding
    from pytest_llm.records import Measurement, Run

_FIXTURE = "benchmark"
_SERIES = "request"
# Who gives one of these wants the table.
_SHOWN_BY = tuple(
    f"--benchmark-{name}"
    for name in ("columns", "compare", "cprofile", "csv", "group", "hist", "name", "sort", "time", "verbose")
)


class BenchmarkTakenError(UsageError):
    """A test that measures a model used the fixture ``benchmark`` to time something else."""

    def __init__(self, reason: str = "") -> None:
        """Compose the message.

        Args:
            reason: What pytest-benchmark said, if it was asked.
        """
        super().__init__(
            "the fixture benchmark holds the requests of this test's model and can time nothing else: move "
            "what it was called with to a test of its own" + (f" ({reason})" if reason else "")
        )


class _Replay:
    """Seconds that were measured elsewhere, shown to pytest-benchmark as if they passed now."""

    def __init__(self) -> None:
        self._now: float | None = None

    def replayed(self) -> float:
        """Return the time; the timer of a marker ``benchmark``, whose name its files keep."""
        if self._now is None:
            raise BenchmarkTakenError
        return self._now

    def feed(self, benchmark: Any, seconds: Sequence[float]) -> None:
        """Make a round of each of the seconds.

        Raises:
            BenchmarkTakenError: The fixture was used before.
        """
        waiting = iter(seconds)

        def rewind() -> None:
            self._now = 0.0  # so that the difference of two readings is exact

        def request() -> None:
            self._now = next(waiting, 0.0)  # profiling repeats a round

        try:
            benchmark.pedantic(request, setup=rewind, rounds=len(seconds))
        except Exception as error:
            raise BenchmarkTakenError(str(error)) from None
        finally:
            self._now = None


_ADDED: pytest.StashKey[bool] = pytest.StashKey()  # the fixture, to a test that does not ask for it
_REPLAY: pytest.StashKey[_Replay] = pytest.StashKey()


def skips(config: pytest.Config) -> bool:
    """Return if the options of pytest-benchmark skip benchmarks."""
    return _option(config, "skip") and not _option(config, "only")


def join(item: pytest.Item, measuring: bool) -> None:
    """Make a benchmark count as one for plugins that ask if a test uses the fixture ``benchmark``.

    Args:
        item: One of our benchmarks.
        measuring: Whether benchmarks run.
    """
    if not isinstance(item, pytest.Function) or not _selects(item.config):
        return
    # Otherwise pytest-benchmark would warn, under pytest-xdist, of benchmarks that nobody runs.
    concerned = measuring or _option(item.config, "only") or _option(item.config, "skip")
    if concerned and _FIXTURE not in item.fixturenames:
        item.fixturenames = [*item.fixturenames, _FIXTURE]  # a copy: tests of one function share the list
        item.stash[_ADDED] = True


def leave(item: pytest.Item) -> None:
    """Take back :func:`join` of a benchmark that was not timed, before its fixtures are set up."""
    if item.stash.get(_ADDED, False):
        assert isinstance(item, pytest.Function)
        item.fixturenames = [name for name in item.fixturenames if name != _FIXTURE]


def has_one(finding: Finding) -> bool:
    """Whether there is something to record: whole requests, which some engines do not serve."""
    return finding.run is not None and any(_SERIES in each.series for each in finding.run.sessions)


def prepare(item: pytest.Item) -> None:
    """Set the timer of a record before the fixtures are set up; the user's other settings stay."""
    if not _is_loaded(item.config):
        leave(item)  # pytest-codspeed alone provides the fixture only if it is enabled
        return
    if _FIXTURE not in getattr(item, "fixturenames", ()):
        return
    replay = item.stash[_REPLAY] = _Replay()
    theirs = item.get_closest_marker(_FIXTURE)
    arguments = theirs.args if theirs else ()
    settings = {**(theirs.kwargs if theirs else {}), "timer": replay.replayed}
    item.add_marker(pytest.mark.benchmark.with_args(*arguments, **settings), append=False)


def leave_namesake(item: pytest.Item) -> None:
    """Make no record if the fixture ``benchmark`` is a conftest's own, or that of pytest-codspeed.

    pytest-benchmark would end the whole run over the one, and pytest-codspeed refuses the timer.
    """
    if _REPLAY not in item.stash:
        return
    assert isinstance(item, pytest.Function)
    # pytest-codspeed's pretends to be an instance.
    if any(each.__module__.startswith("pytest_benchmark.") for each in type(item.funcargs[_FIXTURE]).__mro__):
        return
    timer = item.stash[_REPLAY].replayed
    del item.stash[_REPLAY]
    item.own_markers[:] = [each for each in item.own_markers if each.kwargs.get("timer") != timer]
    if not item.stash.get(_ADDED, False):
        return
    item.funcargs.pop(_FIXTURE, None)
    if not _option(item.config, "disable"):  # which pytest-codspeed sets
        item.warn(
            pytest.PytestWarning(
                "no record in pytest-benchmark, whose fixture benchmark is hidden by another one of that name"
            )
        )


@contextmanager
def recorded(item: pytest.Item) -> Iterator[None]:
    """Make the record after the test's body, passed or failed; a test that skips itself gets none.

    Until then the test may set the record's group or extra information.
    """
    if _REPLAY not in item.stash:
        yield
        return
    try:
        yield
        _record(item)
    except pytest.skip.Exception:
        raise
    except BenchmarkTakenError as error:
        # `pytest.fail` would report two exceptions.
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    except BaseException:
        with suppress(BenchmarkTakenError):
            _record(item)
        raise


def _record(item: pytest.Item) -> None:
    finding = item.stash[FINDING]
    assert isinstance(item, pytest.Function)
    assert finding.run is not None
    benchmark: Any = item.funcargs[_FIXTURE]
    for name, value in _extra_info(finding, finding.run).items():
        benchmark.extra_info.setdefault(name, value)
    seconds = [each for session in finding.run.sessions for each in session.series[_SERIES].values]
    item.stash[_REPLAY].feed(benchmark, seconds)


def _extra_info(finding: Finding, run: Run) -> dict[str, Any]:
    # A percentile that only a marker names is not among the run's own metrics.
    asked = {each.limit.metric.name: each.measurement for each in finding.judgements if each.measurement}
    return {
        **{name: _metric(each) for name, each in {**run.measurements, **asked}.items()},
        "verdicts": {each.limit.metric.name: each.verdict.value for each in finding.judgements},
        "baseline_verdicts": {each.gate.metric.name: each.verdict.value for each in finding.baseline_checks},
        "build": {
            "engine": run.build.engine,
            "version": run.build.version,
            "llama_cpp_commit": run.build.llama_cpp_commit,
        },
        "model": {"name": run.model.name, "sha256": run.model.sha256},
        "workload": encode(run.workload),
        "load_options": encode(run.subject.load_options),
    }


def _metric(measurement: Measurement) -> dict[str, Any]:
    return {
        "value": measurement.value,
        "unit": measurement.metric.unit.base,
        "samples": list(measurement.samples),
    }


def leave_out(config: pytest.Config, rows: list[dict[str, Any]]) -> None:
    """Take our rows out of pytest-benchmark's table, unless an option asks how it shall look or compare."""
    words = [*map(str, config.invocation_params.args), *config.getini("addopts")]
    words += shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    if any(word.startswith(_SHOWN_BY) for word in words):
        return
    timer = _Replay.replayed.__name__
    rows[:] = [each for each in rows if each["options"]["timer"] != timer]


def _selects(config: pytest.Config) -> bool:
    """Return if pytest-benchmark or pytest-codspeed may select by their fixture."""
    return _is_loaded(config) or config.pluginmanager.has_plugin("codspeed_plugin")


def _is_loaded(config: pytest.Config) -> bool:
    plugin = sys.modules.get("pytest_benchmark.plugin")
    return plugin is not None and config.pluginmanager.is_registered(plugin)


def _option(config: pytest.Config, name: str) -> bool:
    return bool(config.getoption(f"benchmark_{name}", False))
