"""A report as one HTML page that opens offline: verdicts, and figures of what they rest on.

Figures are Vega-Lite's, whose code vl-convert puts into the page. It needs the extra ``html``.
"""

from __future__ import annotations

import importlib
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.checks.format import counted
from pytest_llm.errors import UsageError
from pytest_llm.reports.heading import heading
from pytest_llm.reports.html import figures
from pytest_llm.reports.html.content import Content, content_of
from pytest_llm.reports.rows import failed, shortfall
from pytest_llm.reports.variants import lines_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.reports.document import Results

_HERE = Path(__file__).parent
_VEGA_LITE = "6.4"
_OPEN_AT_FIRST = 5  # of the tests that failed


def render(files: Sequence[Results]) -> str:
    """Return the page.

    Raises:
        UsageError: The extra is not installed.
    """
    jinja2 = _imported("jinja2")
    content = content_of(files)
    tests = [test for each in files for test in each.tests]
    broken = failed(tests)
    page = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    text: str = page.from_string(_own("page.html")).render(
        title=_title(len(broken), len(tests)),
        state="failed" if broken else shortfall(files) or "passed",
        where=list(dict.fromkeys(line for each in files for line in heading(each))),
        unfinished=any(not each.finished for each in files),
        content=content,
        variants=["\n".join(found) for each in files if (found := lines_of(each))],
        opened=[place for place, test in enumerate(content.tests) if test.failed][:_OPEN_AT_FIRST],
        style=_own("page.css"),
        script=_own("page.js"),
        library=_library(),
        data=_data(content),
        not_covered=[f"{each.nodeid}: {each.reason}" for file in files for each in file.not_covered],
    )
    return text


def _title(broken: int, count: int) -> str:
    return (
        f"{broken} of {counted(count, 'test')} failed" if broken else f"{counted(count, 'test')}, none failed"
    )


def _data(content: Content) -> str:
    """Return what the figures show, as JSON that cannot end the element in which it stands."""
    data = {
        "specifications": figures.SPECIFICATIONS,
        "tests": [test.figures for test in content.tests],
        "sweeps": [each.figure for each in content.sweeps],
        "trends": [each.figure for each in content.trends],
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


@lru_cache(maxsize=1)
def _library() -> str:
    """Return the code of Vega, Vega-Lite and vega-embed."""
    code: str = _imported("vl_convert").javascript_bundle(vl_version=_VEGA_LITE)
    return code.replace("</script", "<\\/script")


def _own(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UsageError(
            f"--html needs {name}, which is not installed: pip install 'pytest-llm-bench[html]'"
        ) from None
