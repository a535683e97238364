"""Whatever text a results file holds, no command prints what a terminal or a CI runner obeys."""

from __future__ import annotations

import copy
import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.cli import main
from pytest_llm.reports import results_file
from tests.faults import fault

from .things import Test, results_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOSTILE = (
    "\x1b]0;PWNED\x07\x1b[2J\x1b[32mgreen\n::error file=a.py::x\n ::stop-commands::z\r##[add-mask]o\n"
    "##vso[task.complete]\x9b1m\u202efug"
)
OBEYED = re.compile(r"^\s*::|##\[|##vso\[|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", re.MULTILINE)
DOCUMENT = results_of(Test(), Test("test_b[x]", gated=False))


def texts(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of each text in a JSON value, and of each key."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from texts(each, (*place, name))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from texts(each, (*place, number))
    elif isinstance(value, str):
        yield place


def with_hostile(place: tuple[Any, ...]) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    inner: Any = document
    for each in place[:-1]:
        inner = inner[each]
    inner[place[-1]] = f"{inner[place[-1]]}{HOSTILE}"
    return document


@fault(
    "a results file with terminal escapes and CI commands in any of its texts",
    "`report`, `diff`, `accept` and `show` print them as text, or refuse the file",
)
@pytest.mark.parametrize(
    "words",
    [
        ["report"],
        ["report", "--json"],
        pytest.param(["report", "--markdown=-"], marks=pytest.mark.slow),
        pytest.param(["report", "--csv=-"], marks=pytest.mark.slow),
        pytest.param(["baselines", "diff"], marks=pytest.mark.slow),
        pytest.param(["baselines", "accept"], marks=pytest.mark.slow),
        pytest.param(["baselines", "show"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_no_text_of_a_results_file_is_obeyed(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "results.json"
    told = []
    for place in texts(DOCUMENT):
        shutil.rmtree(tmp_path / "baselines", ignore_errors=True)
        file.write_text(json.dumps(with_hostile(place)), encoding="utf-8")
        if words[-1] == "show":
            main(["baselines", "accept", file.name])
            status = main(words)
        else:
            status = main([*words, file.name])
        captured = capsys.readouterr()
        assert status in (0, 1, 2), place
        for printed in captured:
            assert not OBEYED.search(printed), (place, printed)
        told.append("PWNED" in captured.out)
    assert any(told)


def test_reports_of_extensions_get_no_hidden_characters(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    document = copy.deepcopy(DOCUMENT)
    document["machine"]["cpu"] = f"a CPU{HOSTILE}"
    path.write_text(json.dumps(document), encoding="utf-8")

    cpu = results_file.read(path).machine.cpu

    assert cpu.startswith(r"a CPU\x1b]0;PWNED\x07\x1b[2J")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", cpu)
