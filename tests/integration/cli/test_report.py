"""``pytest-llm report``: verdicts follow from the file, or the command says where they do not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.cli import main
from pytest_llm.reports import REPORTS

from .things import Test, results_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_llm.reports.document import Results


def report(path: Path, document: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    path.write_text(json.dumps(document), encoding="utf-8")
    status = main(["report", str(path)])
    out, err = capsys.readouterr()
    return status, out + err


def test_a_file_whose_verdicts_follow_is_told_as_pytest_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = report(tmp_path / "r.json", results_of(Test(), Test("test_other", gated=False)), capsys)
    assert status == 0
    assert "test_chat" in out
    assert "every value and verdict follows from the series in the file" in out


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda metric: metric.update(value=metric["value"] * (1 + 1e-15)), "generation_tokens_per_second"),
        (lambda metric: metric["baseline"].update(verdict="pass"), "generation_tokens_per_second"),
        (lambda metric: metric["samples"].append(1.0), "generation_tokens_per_second"),
    ],
)
def test_a_file_that_says_otherwise_is_found_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, place: str
) -> None:
    document = results_of(Test())
    change(document["tests"][0]["metrics"][place])
    status, out = report(tmp_path / "r.json", document, capsys)
    assert status == 1
    assert f"not what its series say: {document['tests'][0]['nodeid']}: {place}" in out


@pytest.fixture
def names_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REPORTS, "_parts", dict(REPORTS))
    REPORTS.register("names", f"{__name__}:names")


def names(files: Sequence[Results]) -> str:
    return ", ".join(test.key.name for results in files for test in results.tests)


@pytest.mark.usefixtures("names_report")
def test_a_registered_report_on_several_files_is_printed_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for name in ("test_chat", "test_other"):
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(results_of(Test(name))), encoding="utf-8")
    assert main(["report", *map(str, paths), "--names", "-"]) == 0
    assert capsys.readouterr() == ("test_chat, test_other\n", "")
    assert main(["report", *map(str, paths), "--name", "-"]) == 2
    assert "unrecognized arguments: --name" in capsys.readouterr().err


@pytest.mark.usefixtures("names_report")
def test_reports_are_written_to_files_beside_the_one_that_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, markdown, table = tmp_path / "r.json", tmp_path / "r.md", tmp_path / "r.csv"
    path.write_text(json.dumps(results_of(Test())), encoding="utf-8")
    assert main(["report", str(path), "--markdown", str(markdown), "--csv", str(table)]) == 0
    assert capsys.readouterr().out == f"markdown report in {markdown}\ncsv report in {table}\n"
    written = [markdown.read_bytes(), table.read_bytes()]
    assert b"## \xe2\x9c\x85 llm-bench: 1 test, none failed" in written[0]
    assert written[1].startswith(b"started,machine,")

    assert main(["report", str(path), "--markdown", str(markdown), "--csv", str(table), "--names", "-"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("test_chat\n", f"markdown report in {markdown}\ncsv report in {table}\n")
    assert [markdown.read_bytes(), table.read_bytes()] == written  # the same files give the same bytes


def test_standard_output_has_room_for_one_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(results_of(Test())), encoding="utf-8")
    assert main(["report", str(path), "--markdown", "-", "--csv", "-"]) == 2
    assert "--markdown - and --csv -: only one report fits standard output" in capsys.readouterr().err


def test_a_report_that_is_called_like_another_option_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(REPORTS, "_parts", {**REPORTS, "json": f"{__name__}:names"})
    assert main(["report", "r.json"]) == 2
    assert "a report cannot be called 'json': --json is another option" in capsys.readouterr().err


def test_no_report_is_made_of_a_file_that_says_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = results_of(Test())
    document["tests"][0]["metrics"]["load_time"]["value"] = 9.0
    path, written = tmp_path / "r.json", tmp_path / "r.md"
    path.write_text(json.dumps(document), encoding="utf-8")
    assert main(["report", str(path), "--markdown", str(written)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert not written.exists()
    assert f"{path}: {document['tests'][0]['nodeid']}: load_time: not what its series say" in err


DRIFTED = Test(
    invariants={"effective_options": {"flash_attn": "on"}},
    stored_facts={"effective_options": {"flash_attn": "off"}},
)


def test_drift_follows_from_the_facts_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = results_of(DRIFTED)
    drift = document["tests"][0]["drift"]
    assert (drift["verdict"], drift["stored"]["provenance"]["build"]) == ("drift", "llama-cpp-python 0.3.35")
    status, out = report(tmp_path / "r.json", document, capsys)
    assert status == 0
    assert "  drift" in out
    assert "output not compared; configuration differs: flash_attn off → on" in out


@pytest.mark.parametrize(
    "change",
    [
        lambda drift: drift.update(verdict="pass"),
        lambda drift: drift["differences"].clear(),
        lambda drift: drift["stored"]["invariants"]["effective_options"].update(flash_attn="on"),
    ],
)
def test_a_drift_that_does_not_follow_is_found_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any
) -> None:
    document = results_of(DRIFTED)
    change(document["tests"][0]["drift"])
    status, out = report(tmp_path / "r.json", document, capsys)
    assert status == 1
    assert f"not what its series say: {document['tests'][0]['nodeid']}: drift" in out


def test_a_file_that_is_none_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.json"
    path.write_text("{", encoding="utf-8")
    assert main(["report", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"pytest-llm: {path} is not JSON")
