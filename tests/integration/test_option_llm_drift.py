"""``--llm-drift``: what becomes of a test whose configuration or output is another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.cli import main

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project, StandIn

GATED = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_no_regression()
    def test_speed():
        pass
"""
REPACKED = "load_tensors:  {} model buffer size =    60.19 MiB"


@pytest.fixture(autouse=True)
def _gated(project: Project) -> None:
    project.write(GATED)


@pytest.fixture
def against(reference: str) -> str:
    return f"--llm-against={reference}"


@pytest.fixture
def worker_against(reference_environment: str) -> str:
    return f"--llm-against={reference_environment}"


def _record(project: Project) -> None:
    project.measure("--llm-update-baselines=append").assert_outcomes(passed=1)


def _drift(project: Project, *arguments: str) -> dict[str, Any]:
    (test,) = project.results(*arguments)["tests"]
    found: dict[str, Any] = test["drift"]
    return found


def test_fails_by_default_and_says_what_drifted_then_on_what(
    project: Project, against: str, fake: Fake
) -> None:
    fake.set_reference(flash_attention="on")

    lines = project.failures(against)["test_speed"].splitlines()

    assert lines[0] == "same output; configuration differs: flash_attn on → off"
    assert [line.split()[0] for line in lines[1:]] == ["candidate", "reference", "model", "workload", "next:"]
    assert lines[-1] == (
        "  next: state flash_attn='on' in llm_model, so that every build gets it; --llm-drift=warn judges "
        "the speed all the same"
    )


@pytest.mark.slow
def test_a_release_that_tells_cells_for_sequences_does_not_differ(
    worker: Project, worker_against: str, stand_in: StandIn
) -> None:
    stand_in.set_reference(sequences="cells")

    assert _drift(worker, worker_against)["differences"] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("differs", "told"),
    [
        ({"first_letter": "b"}, "other output; same configuration"),
        pytest.param(
            {"template": "other"},
            "same output; configuration differs: chat_template ",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"reuses": "no"},
            "same output; configuration differs: graph_reuse off → on",
            marks=pytest.mark.slow,
        ),
        (
            {"log": REPACKED.format("CPU_REPACK") + "\n" + REPACKED.format("CPU")},
            "same output; configuration differs: CPU_REPACK model buffer 60.19 MiB → none",
        ),
    ],
    ids=["output", "template", "graph reuse", "buffers"],
)
def test_output_configuration_and_buffers_are_compared(
    worker: Project, worker_against: str, stand_in: StandIn, differs: dict[str, str], told: str
) -> None:
    stand_in.set(log=REPACKED.format("CPU"))
    stand_in.set_reference(**differs)

    assert worker.failures(worker_against)["test_speed"].startswith(told)


@pytest.mark.slow
@pytest.mark.parametrize(
    "differs",
    [
        pytest.param({"flash_attention": "0"}, marks=pytest.mark.slow),
        pytest.param({"log": REPACKED.format("CPU_AARCH64")}, marks=pytest.mark.slow),
        {"log": REPACKED.format("CPU_REPACK") + "\nllama_context: graph nodes  = 1056"},
    ],
    ids=["flash attention", "buffer", "graph"],
)
def test_what_was_only_renamed_is_no_drift(
    worker: Project, worker_against: str, stand_in: StandIn, differs: dict[str, str]
) -> None:
    stand_in.set(log=REPACKED.format("CPU_REPACK") + "\nsched_reserve: graph: nodes = 936, splits = 1")
    stand_in.set_reference(**differs)

    drift = _drift(worker, worker_against)

    assert (drift["verdict"], drift["differences"]) == ("pass", [])


def test_warns_where_it_is_told_to_and_shows_a_letter(project: Project, against: str, fake: Fake) -> None:
    fake.set_reference(flash_attention="on")

    result = project.measure(against, "--llm-drift=warn", "-v")

    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines([r"(.*::test_speed )?DRIFT .*"])
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_speed  drift",
            "test_it.py::test_speed: same output; configuration differs: flash_attn on → off",
        ]
    )
    assert any(
        line.startswith("test_it.py d ") for line in project.measure(against, "--llm-drift=warn").outlines
    )


def test_the_results_file_holds_what_the_verdict_follows_from(
    project: Project, against: str, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.set_reference(flash_attention="on")

    drift = _drift(project, against)

    assert drift["verdict"] == "drift"
    assert drift["differences"] == [{"name": "flash_attn", "before": "on", "now": "off", "expected": ""}]
    assert (drift["pair"], drift["stored"]) == ("pair-1", None)
    path = project.path / "results.json"
    assert main(["report", str(path)]) == 0
    document = json.loads(path.read_text(encoding="utf-8"))
    document["tests"][0]["drift"]["differences"] = []
    path.write_text(json.dumps(document), encoding="utf-8")
    assert main(["report", str(path)]) == 1
    assert "test_speed: drift" in capsys.readouterr().out


def test_stored_facts_are_compared_and_their_origin_is_told(project: Project, fake: Fake) -> None:
    _record(project)
    fake.set(template="other")

    text = project.failures()["test_speed"]

    lines = text.splitlines()
    assert lines[0].startswith("same output; configuration differs: chat_template ")
    assert lines[2].startswith("  invariants of fake 1.0 (llama.cpp 57a9d1234), recorded 20")
    assert lines[-1] == (
        "  next: if it is meant to be so: pytest test_it.py::test_speed --llm-bench "
        "--llm-update-baselines=replace"
    )
    result = project.measure("--llm-drift=warn", "--llm-json=results.json")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["test_it.py::test_speed: same output; configuration differs: chat_template*"]
    )
    assert main(["report", str(project.path / "results.json")]) == 0


def test_baselines_can_be_recorded_all_the_same(project: Project, fake: Fake) -> None:
    _record(project)
    fake.set(template="other")

    result = project.measure("--llm-update-baselines=append")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["not stored: test_it.py::test_speed, effective_options: another value is stored: *"]
    )


def test_replacing_the_baselines_accepts_it(project: Project, fake: Fake) -> None:
    _record(project)
    fake.set(template="other")

    drift = _drift(project, "--llm-update-baselines=replace")

    assert (drift["verdict"], drift["reason"]) == (None, "this run replaces it")
    assert _drift(project)["verdict"] == "pass"


def test_what_a_claim_asks_for_is_no_drift(project: Project) -> None:
    project.write(
        """
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        @pytest.mark.llm_model(flash_attn="on")
        @pytest.mark.llm_faster_than("1%", flash_attn="off")
        def test_claim():
            pass
        """
    )

    (test,) = project.results()["tests"]

    assert "same output; configuration differs: flash_attn off → on (asked for)" in test["notes"]
    (claim,) = (metric["claim"] for metric in test["metrics"].values() if metric["claim"])
    assert claim["drift"]["verdict"] == "pass"
    assert test["drift"] is None


@pytest.mark.slow
def test_other_build_settings_of_one_release_are_told_and_are_no_drift(
    worker: Project, worker_against: str, stand_in: StandIn
) -> None:
    stand_in.set(features="SSE3")
    stand_in.set_reference(features="SSE3 AVX2", first_letter="b")

    result = worker.measure(worker_against)

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["*: other output (other build settings); configuration differs: compiled with AVX2 → without"]
    )


def test_fails_nothing_else(project: Project) -> None:
    project.measure("--llm-drift=fail").assert_outcomes(passed=1)


def test_an_unknown_word_is_one_line(project: Project) -> None:
    told = project.usage_error(*project.measuring(), "--llm-drift=ignore")

    assert "unknown --llm-drift 'ignore'" in told
