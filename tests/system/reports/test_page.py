"""The HTML page in a real browser: what it shows, its filters, and who can use it."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.records import Series
from pytest_llm.records.metrics import MEMORY_BYTES, VRAM_BYTES, VRAM_SECONDS
from pytest_llm.reports import html
from tests.unit.reports.examples import later, many_results, results_of_pairs, some_results, swept_results

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pytest_llm.reports.document import Results

pytestmark = pytest.mark.slow

# For no one but this machine, and so that it asks nothing of the network by itself.
FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",
]
MIB = 2**20


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("not covered: no Chromium here; install it, or name it in CHROMIUM")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


class Shown:
    """A page that a browser shows, and what went wrong on it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console",
            lambda line: self.errors.append(line.text) if line.type in ("error", "warning") else None,
        )
        page.on("request", lambda asked: self.requests.append(asked.url))

    def drawn(self) -> int:
        """Return how many figures are drawn."""
        return int(self.page.locator("figure svg").count())

    def titles(self) -> list[str]:
        """Return the tests that are visible."""
        found = self.page.locator("tbody[data-title]:visible")
        return [each.get_attribute("data-title") for each in found.all()]


@pytest.fixture
def show(chromium: Any, tmp_path: Path) -> Iterator[Any]:
    contexts = []

    def show(files: Sequence[Results], width: int = 1280, scheme: str = "light") -> Shown:
        path = tmp_path / "report.html"
        path.write_text(html.render(files), encoding="utf-8")
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        )
        contexts.append(context)
        shown = Shown(context.new_page())
        shown.page.goto(path.as_uri())
        shown.page.wait_for_load_state("networkidle")
        return shown

    yield show
    for each in contexts:
        each.close()


FILES = [some_results(), results_of_pairs()]


def test_it_renders_without_an_error_and_asks_for_nothing(show: Any) -> None:
    shown = show(FILES)
    shown.page.wait_for_selector("figure svg")
    shown.page.wait_for_function("document.querySelectorAll('details[open] figure svg').length > 4")
    assert shown.errors == []
    assert [url for url in shown.requests if not url.startswith(("file:", "data:"))] == []
    assert shown.page.title() == "llm-bench: 5 of 5 tests failed"
    assert shown.page.locator("del").first.inner_text() == "off"


def test_filters_leave_what_is_asked_for_and_tell_how_many(show: Any) -> None:
    shown = show([many_results(20), swept_results()])
    assert len(shown.titles()) == 26
    shown.page.fill("input[name=title]", "DEPTH")
    assert len(shown.titles()) == 6
    assert shown.page.inner_text("#shown") == "6 of 26 tests"
    shown.page.select_option("select[name=model]", "large.gguf")
    assert shown.titles() == [f"t.py::depth[large.gguf-{depth}]" for depth in (0, 4096, 16384)]
    shown.page.fill("input[name=title]", "")
    shown.page.select_option("select[name=model]", "")
    shown.page.select_option("select[name=kind]", "regressed")
    assert len(shown.titles()) == 20
    shown.page.select_option("select[name=build]", "llama-cpp-python 0.3.36")
    assert len(shown.titles()) == 20


def test_the_keyboard_opens_what_lies_below_a_test(show: Any) -> None:
    shown = show([swept_results()])
    details = shown.page.locator("tbody details").first
    before = shown.drawn()
    details.locator("summary").focus()
    shown.page.keyboard.press("Enter")
    shown.page.wait_for_function(f"document.querySelectorAll('figure svg').length > {before}")
    shown.page.keyboard.press("Enter")
    shown.page.wait_for_function(f"document.querySelectorAll('figure svg').length == {before}")


def test_memory_over_time_has_a_line_for_devices_where_a_driver_tells_it(show: Any) -> None:
    results = some_results()
    name, run = next(
        (name, run) for name, run in results.runs.items() if MEMORY_BYTES in run.sessions[0].series
    )
    first = run.sessions[0]
    devices = {VRAM_SECONDS: Series((0.1, 0.9, 2.0)), VRAM_BYTES: Series((0.0, 2e8, 2.5e8))}
    sessions = (replace(first, series={**first.series, **devices}), *run.sessions[1:])
    with_devices = replace(results, runs={**results.runs, name: replace(run, sessions=sessions)})
    for files, words in (([results], "resident memory"), ([with_devices], "resident and device memory")):
        shown = show(files)
        shown.page.wait_for_function("document.querySelectorAll('details[open] figure svg').length > 2")
        figure = shown.page.locator("figure", has_text=f"{words} over time").first
        figure.locator("svg").wait_for()
        lines = figure.locator("svg .mark-line path").count()
        assert lines == (2 if "device" in words else 1)
        assert shown.errors == []


def test_a_sweep_is_a_line_for_each_model_and_trends_are_over_dates_or_builds(show: Any) -> None:
    files = [swept_results(), later(swept_results(), 1), later(swept_results(), 2)]
    shown = show(files)
    assert shown.page.locator("#sweeps").count() == 1
    sweep = shown.page.locator("section[aria-labelledby=sweeps] figure svg").first
    sweep.wait_for()
    assert {"small.gguf", "large.gguf"} <= set(sweep.locator("text").all_text_contents())
    trend = shown.page.locator("section[aria-labelledby=trends] figure svg").first
    trend.wait_for()
    assert "llama-cpp-python 0.3.36" not in trend.locator("text").all_text_contents()
    shown.page.check("input[name=order][value=build]")
    shown.page.wait_for_function(
        "document.querySelector('section[aria-labelledby=trends] figure svg')?.textContent.includes('0.3.36')"
    )
    assert shown.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_no_serious_fault(show: Any, scheme: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

    shown = show([*FILES, swept_results(), later(swept_results(), 1)], width, scheme)
    shown.page.wait_for_function("document.querySelectorAll('details[open] figure svg').length > 4")
    found = Axe().run(shown.page).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in serious] == []
    wider = shown.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider <= 0


def test_light_and_dark_differ(show: Any) -> None:
    colours = {
        scheme: show(FILES, scheme=scheme).page.evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    }
    assert colours == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}


def test_no_text_of_a_results_file_is_obeyed(show: Any) -> None:
    results = results_of_pairs()
    hostile = "</script><script>document.title='obeyed'</script><img src=x onerror=document.title='obeyed'>"
    test = replace(results.tests[0], nodeid=f"t.py::{hostile}", message=(hostile,))
    shown = show([replace(results, tests=(test,)), later(replace(results, tests=(test,)), 1)])
    shown.page.wait_for_selector("figure svg")
    assert shown.page.title() == "llm-bench: 2 of 2 tests failed"
    assert shown.page.locator("img").count() == 0
    assert shown.titles()[0].endswith(hostile)
    assert shown.errors == []


@pytest.mark.parametrize(("count", "most"), [(100, 2 * MIB), (1000, 6 * MIB)])
def test_it_is_small_and_the_same_each_time(count: int, most: int) -> None:
    text = html.render([many_results(count)])
    assert len(text.encode()) < most
    assert text == html.render([many_results(count)])
