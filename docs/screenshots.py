"""Take the screenshots of the HTML report that ``docs/reports.md`` shows: ``python -m docs.screenshots``."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from playwright.sync_api import sync_playwright

from pytest_llm.reports import html
from tests.system.reports.test_page import FLAGS
from tests.unit.reports.examples import later, many_results, results_of_pairs, some_results, swept_results

if TYPE_CHECKING:
    from pytest_llm.reports.document import Results

FOLDER = Path(__file__).parent / "images"
SWEPT = [swept_results(), later(swept_results(), 1), later(swept_results(), 2)]
# Name -> the results, the width of the window, and its colours.
SHOTS: dict[str, tuple[list[Results], int, Literal["light", "dark"]]] = {
    "report-light": ([results_of_pairs(), some_results()], 1280, "light"),
    "report-dark": ([results_of_pairs(), some_results()], 1280, "dark"),
    "report-narrow": ([results_of_pairs(), some_results()], 400, "light"),
    "report-sweep": (SWEPT, 1280, "light"),
    "report-1000": ([many_results(1000)], 1280, "light"),
}


def main() -> None:
    """Take them anew."""
    FOLDER.mkdir(exist_ok=True)
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as started, tempfile.TemporaryDirectory() as folder:
        browser = started.chromium.launch(executable_path=program, args=FLAGS)
        for name, (files, width, scheme) in SHOTS.items():
            path = Path(folder, "report.html")
            path.write_text(html.render(files), encoding="utf-8")
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page = context.new_page()
            page.goto(path.as_uri())
            page.wait_for_function("document.querySelectorAll('figure svg').length > 1")
            page.wait_for_timeout(1000)  # until the last one is drawn
            page.screenshot(path=FOLDER / f"{name}.png")
            context.close()


if __name__ == "__main__":
    main()
