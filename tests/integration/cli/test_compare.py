"""``pytest-llm compare``: variants in the same sessions, told as a table and in a sentence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.cli import main
from pytest_llm.reports import recheck, terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

    Compare = Callable[..., tuple[int, str, str]]


@pytest.fixture
def compare(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Compare:
    """Compare variants of the tiny model on the fake engine; return status, output and log."""
    monkeypatch.chdir(project.path)
    (project.path / "pytest.ini").write_text("[pytest]\n")

    def run(*words: str) -> tuple[int, str, str]:
        cache = str(project.path / "cache")
        status = main(["compare", *words, "--effort", "quick", "--cache", cache])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def test_equal_variants_are_told_to_be_equal(compare: Compare, project: Project) -> None:
    status, out, _ = compare(str(project.model), "--build", project.candidate, "--load", "n_batch=64,128")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split() == [
        *("variant", "prompt", "change", "generation", "change", "RAM", "output"),
    ]
    assert lines[-1].startswith("n_batch=128 against n_batch=64: prompt equal; generation equal; output ")


def test_three_variants_share_their_sessions(
    compare: Compare, project: Project, fake: Fake, reference: str
) -> None:
    fake.set_reference(token_seconds=1 / 64)
    builds = f"{project.candidate},{reference}"
    words = (
        str(project.model),
        "--build",
        builds,
        "--load",
        "n_batch=64,128",
        "--no-output",
        "--depth",
        "0,32",
    )
    status, out, err = compare(*words)
    assert status == 0
    shown = [line for line in out.splitlines() if " against " in line]
    assert len(shown) == 3
    slow = [line for line in shown if line.startswith(reference)]
    assert len(slow) == 2
    for line in slow:
        assert "prompt 50.0 % slower at depth 0 and 32; generation 50.0 % slower at depth 0 and 32" in line
    # Each of the four once alone, and then once a session, together.
    assert len(fake.started) == 4 * (1 + int(err.rpartition(" of ")[2].split()[0]))


def test_the_table_is_sorted_by_what_is_asked(
    compare: Compare, project: Project, fake: Fake, reference: str
) -> None:
    fake.set_reference(token_seconds=1 / 256)
    words = (str(project.model), "--build", f"{project.candidate},{reference}", "--no-output")
    _, out, _ = compare(*words, "--sort", "generation")
    assert [line.split()[0] for line in out.splitlines()[1:3]] == [reference, project.candidate]
    _, out, _ = compare(*words)
    assert [line.split()[0] for line in out.splitlines()[1:3]] == [project.candidate, reference]


def test_figures_are_there_as_json(compare: Compare, project: Project, fake: Fake, reference: str) -> None:
    fake.set_reference(token_seconds=1 / 64)
    _, out, _ = compare(
        str(project.model), "--build", f"{project.candidate},{reference}", "--no-output", "--json"
    )
    first, second = json.loads(out)["rows"]
    assert first["speeds"]["generation"]["change"] is None
    found: Any = second["speeds"]["generation"]
    assert (found["value"], found["verdict"], found["word"]) == (64.0, "regressed", "50.0 % slower")
    assert found["change"] == pytest.approx(-0.5)


def test_another_output_is_told(compare: Compare, project: Project, fake: Fake, reference: str) -> None:
    fake.set_reference(logit_error=0.05)
    _, out, _ = compare(str(project.model), "--build", f"{project.candidate},{reference}")
    assert "output KL " in out.splitlines()[-1]


def test_every_figure_traces_to_samples_in_a_results_file(
    compare: Compare, project: Project, fake: Fake, reference: str, tmp_path: Path
) -> None:
    fake.set_reference(token_seconds=1 / 64)
    file = tmp_path / "results.json"
    words = (str(project.model), "--build", f"{project.candidate},{reference}", "--depth", "0,32")
    _, out, _ = compare(*words, "--results", str(file))
    results, wrong = recheck.read(file)
    assert wrong == []
    assert terminal.render([results]).endswith(out.strip())
    for test in results.tests[1::2]:
        entry = test.metrics["generation_tokens_per_second"].variant
        assert entry is not None
        pair = results.pairs[entry.pair]
        assert [results.runs[each].sessions for each in (pair.candidate, pair.reference)]
    document = json.loads(file.read_text())
    (changed,) = [run for name, run in document["runs"].items() if name == document["tests"][-1]["run"]]
    series = changed["sessions"][0]["series"]["generation"]
    series["values"] = [2 * each for each in series["values"]]
    file.write_text(json.dumps(document))
    assert any("generation_tokens_per_second" in each for each in recheck.read(file)[1])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "there is one variant: list several models, builds, or values of --load"),
        (("--load", "n_batch"), "--load 'n_batch' is not OPTION=VALUE"),
        (("--load", "n_batch=1,x"), "'x' is no value of that option"),
        (("--load", "n_batsh=1,2"), "unknown load option 'n_batsh'"),
        (("--load", "flash_attn=on,maybe"), "flash_attn='maybe' is not one of"),
        (("--load", "n_batch=64,64"), "two variants are the same"),
        (("--load", "n_batch=64,128", "--depth", "0,a"), "--depth '0,a' is no list of numbers"),
        (("--load", "n_batch=64,128", "--depth", "0,0"), "has a number twice"),
        (("--load", "n_batch=64,128", "--load", "n_ctx=64"), "the context is too small"),
        (("--load", "n_batch=64,128", "--prompt", "0"), "prompt_tokens=0"),
        (("none.gguf",), "there is no such file"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    compare: Compare, project: Project, words: tuple[str, ...], told: str
) -> None:
    status, out, err = compare(str(project.model), *words, "--build", project.candidate)
    assert status == 2
    assert told in err
    assert (out, "\n" in err.strip()) == ("", False)


def test_a_variant_that_cannot_be_loaded_is_one_line(
    compare: Compare, project: Project, fake: Fake, reference: str
) -> None:
    fake.set_reference(fault="load")
    status, _, err = compare(str(project.model), "--build", f"{project.candidate},{reference}", "--no-output")
    assert status == 2
    assert "Traceback" not in err


def test_outputs_that_cannot_be_compared_are_told_below_the_table(
    compare: Compare, project: Project, fake: Fake, reference: str
) -> None:
    fake.set_reference(fault="write")
    status, out, _ = compare(str(project.model), "--build", f"{project.candidate},{reference}")
    assert status == 0
    assert any(line.startswith("note: outputs are not compared: ") for line in out.splitlines())
