"""No path leads from a marker to a green test that did not judge it: random situations, run as users do."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_llm.machine import fingerprint
from pytest_llm.records.protocols import Coverage
from tests.fake_engine import FakeSubject, Script

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

NORMAL = Script().token_seconds  # 128 tokens a second
TESTS = ("test_plain", "TestGroup::test_inside")
GREEN = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


@dataclass(frozen=True)
class Mark:
    """A marker, what it judges, and at which speeds the fake engine keeps it."""

    text: str
    kind: Literal["limit", "baseline", "output"]
    metrics: tuple[str, ...] = ()
    kept_at: tuple[str, ...] = ("normal",)


SPEED, PROMPT = "generation_tokens_per_second", "prompt_tokens_per_second"
MARKS = (
    Mark("llm_tokens_per_second(min=100)", "limit", (SPEED,)),
    Mark("llm_tokens_per_second(min=1_000)", "limit", (SPEED,), ()),
    Mark("llm_tokens_per_second(min=100, phase='prompt')", "limit", (PROMPT,)),
    Mark("llm_first_token_latency(max='10 s')", "limit", ("first_token_latency",), ("normal", "a tenth")),
    Mark("llm_first_token_latency(max='1 ms')", "limit", ("first_token_latency",), ()),
    Mark(
        "llm_load_time(max='1 s')", "limit", ("load_time",), ("normal", "a tenth", "NaN", "zero", "negative")
    ),
    Mark("llm_vram(max='1 GiB')", "limit", ("peak_vram",), ()),  # the fake engine has no device
    Mark("llm_no_regression()", "baseline", (PROMPT, SPEED)),
    Mark(f"llm_no_regression({SPEED!r}, tolerance=0.5)", "baseline", (SPEED,)),
    Mark("llm_output()", "output", (), ("normal", "a tenth", "NaN", "zero", "negative")),
)
PLACES = ("function", "class", "module", "hook", "last hook", "fixture")
SELECTIONS: Mapping[str, tuple[str, ...]] = {
    "all": (),
    "-k": ("-k", "plain"),
    "-m": ("-m", "llm_bench"),
    "--deselect": ("--deselect", "test_it.py::test_plain"),
    "--lf": ("--lf",),
    "--ff": ("--ff",),
    "-x": ("-x",),
    "by node id": ("test_it.py::TestGroup::test_inside",),
}
# What other plugins do, in words of their own.
PLUGINS: Mapping[str, str] = {
    "none": "",
    "reverses": "def pytest_collection_modifyitems(items): items.reverse()\n",
    "replaces the items": """
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items): items[:] = list(items)[:1]
""",
    "skips": """
def pytest_collection_modifyitems(items): items[0].add_marker(pytest.mark.skip(reason="not today"))
""",
    "expects a failure": """
def pytest_collection_modifyitems(items): items[0].add_marker(pytest.mark.xfail(reason="known"))
""",
    "calls the function itself": """
@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem): return True
""",
    "has a benchmark of its own": """
@pytest.fixture
def benchmark(): return lambda function: function()
""",
    "turns failures into passes": """
@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    report.outcome, report.longrepr = "passed", None
    return report
""",
    "turns failures into skips": """
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        report.outcome, report.longrepr = "skipped", ("another.py", 1, "Skipped: quarantine")
    return report
""",
    "catches failures": """
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item):
    try:
        return (yield)
    except BaseException:
        return None
""",
    "reports nothing": """
from _pytest.runner import runtestprotocol

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    runtestprotocol(item, nextitem=nextitem, log=False)
    return True
""",
    "runs nothing": """
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item): return True
""",
    "drops items late": """
@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session): del session.items[1:]
""",
    "resets the exit status": """
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session):
    yield
    session.exitstatus = 0
""",
    "exits": """
@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(): pytest.exit("enough", returncode=0)
""",
}
LOSING = ("runs nothing", "reports nothing", "drops items late", "exits")  # benchmarks that were selected
NEVER_SET_UP = ("runs nothing", "drops items late", "exits")  # all tests, or those after the first
FLAGS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "--benchmark-disable": ("--benchmark-disable",),
    "no pytest-benchmark": ("-p", "no:benchmark"),
    "updates": ("--llm-update-baselines=new",),
    "runs no call": ("--setup-only",),
    "plans": ("--setup-plan",),
    "without cache": ("-p", "no:cacheprovider"),
    "without skips": ("-p", "no:skipping"),
    "--runxfail": ("--runxfail",),
    "--continue-on-collection-errors": ("--continue-on-collection-errors",),
    "no warnings": ("-W", "ignore", "--disable-warnings"),
}
# What PYTEST_ADDOPTS holds, that nobody sees.
ADDED = {
    "nothing": "",
    "--co": "--co -q",
    "--setup-plan": "--setup-plan",
    "--benchmark-skip": "--benchmark-skip",
    "--fixtures": "--fixtures",
    "--version": "--version",
    "-k": "-k nothing",
    "--deselect": "--deselect test_it.py::test_plain",
    "-x": "-x",
}
SPEEDS: Mapping[str, float] = {
    "normal": NORMAL,
    "a tenth": NORMAL * 10,
    "NaN": float("nan"),
    "zero": 0.0,
    "negative": -NORMAL,
}
BASELINES = ("none", "stored", "of another machine", "damaged", "in conflict")
COVERAGE: Mapping[str, Coverage] = {"all": Coverage(), "slices": Coverage(requests=False, load=False)}


@dataclass(frozen=True)
class Situation:
    """All that may be different from one run to the next."""

    marks: tuple[tuple[Mark, str], ...]
    selection: str = "all"
    plugin: str = "none"
    flag: str = "none"
    speed: str = "normal"
    baseline: str = "none"
    coverage: str = "all"
    added: str = "nothing"

    def on(self, test: str) -> list[tuple[Mark, str]]:
        """Return the markers of a test and their places."""
        other = "function" if "::" in test else "class"
        return [(mark, place) for mark, place in self.marks if place != other]

    def asks(self, test: str) -> bool:
        """Whether there is a gate, as far as it can be known: a fixture that never runs adds none."""
        return any(place != "fixture" or self.plugin not in NEVER_SET_UP for _, place in self.on(test))

    def must_pass(self, test: str) -> bool:
        """Whether a gate that failed would cry wolf."""
        harmless = (
            (self.selection, self.added) == ("all", "nothing")
            and self.plugin in ("none", "reverses", "calls the function itself")
            and self.flag not in ("updates", "runs no call", "plans")
            and (self.speed, self.coverage) == ("normal", "all")
            and self.baseline in ("none", "stored")
        )
        return harmless and all(
            ("normal" in mark.kept_at or mark.metrics == ("peak_vram",))
            and (mark.kind == "limit" or place != "fixture")
            for mark, place in self.on(test)
        )


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    chosen = draw(st.lists(st.sampled_from(MARKS), min_size=1, max_size=3, unique_by=lambda each: each.text))
    # The closest marker of a name wins: one of each name and phase.
    names = [mark.text.partition("(")[0] for mark in chosen]
    marks = [mark for at, mark in enumerate(chosen) if names[at] not in names[:at]]

    def drawn(values: Iterable[str]) -> str:
        """Draw one of them: the first one, where nothing is special, half of the time."""
        first, *_ = values
        return draw(st.one_of(st.just(first), st.sampled_from(list(values))))

    return Situation(
        tuple((mark, draw(st.sampled_from(PLACES))) for mark in marks),
        *map(drawn, (SELECTIONS, PLUGINS, FLAGS, SPEEDS, BASELINES, COVERAGE, ADDED)),
    )


def source(situation: Situation) -> dict[str, str]:
    """Return the files of a project."""

    def decorators(place: str) -> str:
        return "".join(f"@pytest.mark.{mark.text}\n" for mark, at in situation.marks if at == place)

    def added(place: str, node: str) -> str:
        calls = [f"{node}.add_marker(pytest.mark.{mark.text})" for mark, at in situation.marks if at == place]
        return "; ".join(calls) or "pass"

    module = "".join(f"    pytest.mark.{mark.text},\n" for mark, at in situation.marks if at == "module")
    return {
        "test_it.py": f"""
pytestmark = [
    pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=8),
{module}]

{decorators("function")}def test_plain(late): pass

{decorators("class")}class TestGroup:
    def test_inside(self, llm_bench, late): pass
""",
        "conftest.py": f"""
pytest_plugins = ["first_hook", "last_hook", "another"]

@pytest.fixture
def late(request): {added("fixture", "request.node")}
""",
        "first_hook.py": f"""
def pytest_collection_modifyitems(items):
    for item in items: {added("hook", "item")}
""",
        "last_hook.py": f"""
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    for item in items: {added("last hook", "item")}
""",
        "another.py": PLUGINS[situation.plugin],
    }


def run(project: Project, fake: Fake, situation: Situation, stored: Path) -> None:
    for name, text in source(situation).items():
        project.write(text, name)
    results, baselines = project.path / "results.json", project.path / "baselines"
    results.unlink(missing_ok=True)
    shutil.rmtree(baselines, ignore_errors=True)
    last_failed = project.path / ".pytest_cache" / "v" / "cache" / "lastfailed"
    last_failed.parent.mkdir(parents=True, exist_ok=True)
    last_failed.write_text('{"test_it.py::test_plain": true}', encoding="utf-8")
    _place_baselines(situation, stored, baselines)
    fake.set(token_seconds=SPEEDS[situation.speed])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeSubject, "coverage", lambda *_: COVERAGE[situation.coverage])
        patch.setenv("PYTEST_ADDOPTS", ADDED[situation.added])
        words = (*FLAGS[situation.flag], *SELECTIONS[situation.selection])
        result = project.measure(f"--llm-json={results}", *words)
    if result.ret == pytest.ExitCode.USAGE_ERROR:
        return
    reports = project.reports(result)
    document = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    judged = 0
    for test in TESTS:
        ended = [each for each in reports if each.nodeid == f"test_it.py::{test}"]
        called = [each.when for each in ended] in (["setup", "call", "teardown"], ["setup", "call"])
        if called and all(each.passed for each in ended):
            _assert_judged(situation, test, document)
            judged += 1
        else:
            shown = "\n".join(each.longreprtext for each in ended)
            assert not situation.must_pass(test), f"{test} fails although nothing is wrong:\n{shown}"
    failed = any(each.failed for each in reports)
    judged += sum(hasattr(each, "wasxfail") for each in reports)  # the user's own word
    everything = (situation.selection, situation.added) == ("all", "nothing")
    left_out = everything and situation.plugin in LOSING and judged < sum(map(situation.asks, TESTS))
    without_gate = [each for each in TESTS if not situation.asks(each)]
    measured = {each["nodeid"].removeprefix("test_it.py::") for each in document.get("tests", [])}
    nothing = not judged and measured.isdisjoint(without_gate)
    if failed or left_out or nothing:
        assert result.ret not in GREEN, "no gate was judged, or one failed, and the run is green"


def _place_baselines(situation: Situation, stored: Path, baselines: Path) -> None:
    if situation.baseline == "none":
        return
    shutil.copytree(stored, baselines)
    if situation.baseline == "of another machine":
        here = baselines / "machines" / fingerprint.fingerprint()
        here.rename(here.with_name("another-machine"))
    for path in baselines.rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        if situation.baseline == "damaged":
            path.write_text(text[: len(text) // 2], encoding="utf-8")
        if situation.baseline == "in conflict":
            path.write_text(f"<<<<<<< ours\n{text}=======\n{text}>>>>>>> theirs\n", encoding="utf-8")


def _assert_judged(situation: Situation, test: str, document: Mapping[str, Any]) -> None:
    """Assert that each marker of a test that passed is judged, or listed as not covered."""
    nodeid = f"test_it.py::{test}"
    entry = next((each for each in document.get("tests", []) if each["nodeid"] == nodeid), None)
    assert entry is not None, f"{test} passed and is not in the results"
    uncovered = {each["metric"] for each in document["not_covered"] if each["nodeid"] == nodeid}
    for mark, place in situation.on(test):
        assert mark.kind == "limit" or place != "fixture", f"{mark.text} came too late and {test} passed"
        if mark.kind == "output":
            assert entry["output"] is not None, f"{mark.text} was not judged and {test} passed"
        for metric in set(mark.metrics) - uncovered:
            verdict = entry["metrics"].get(metric, {}).get(mark.kind)
            assert verdict is not None, f"{mark.text} did not judge {metric} and {test} passed"
            if mark.kind == "limit" or situation.baseline == "stored":
                assert situation.speed in mark.kept_at, f"{mark.text} was not kept and {test} passed"
            if mark.kind == "baseline":
                assert situation.speed in ("normal", "a tenth"), f"{situation.speed} is no speed"
                assert situation.baseline not in ("damaged", "in conflict"), "a baseline that cannot be read"


@pytest.fixture
def stored(project: Project, fake: Fake) -> Path:
    """Five stored runs of both tests."""
    every = Situation(
        tuple((mark, "module") for mark in MARKS if mark.text in ("llm_no_regression()", "llm_output()"))
    )
    for name, text in source(every).items():
        project.write(text, name)
    for factor in (1.0, 1.01, 0.99, 1.02, 0.98):
        fake.set(token_seconds=NORMAL * factor)
        project.measure("--llm-update-baselines=append").assert_outcomes(passed=2)
    return (project.path / "baselines").rename(project.path / "stored")


@settings(
    max_examples=settings().max_examples // 4,  # each is a run of pytest
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(situation=situations())
def test_every_marker_ends_as_judged_failed_or_not_covered(
    project: Project, fake: Fake, stored: Path, situation: Situation
) -> None:
    run(project, fake, situation, stored)
