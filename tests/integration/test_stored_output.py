"""``llm_output`` without a reference: what is stored of the test decides."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.cli import main
from pytest_llm.reports.recheck import differences
from pytest_llm.reports.results_file import DOCUMENT

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

TEST = """
    @pytest.mark.llm_model(n_ctx=512)
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=4)
    @pytest.mark.llm_output("Three herons stood in the shallow water.")
    def test_speed(llm_bench):
        pass
"""


@pytest.fixture(autouse=True)
def _with_a_test(project: Project) -> None:
    project.write(TEST)


def arguments(project: Project) -> list[str]:
    return [f"--llm-cache={project.path / 'cache'}"]


def record(project: Project, mode: str = "append") -> None:
    project.measure(f"--llm-update-baselines={mode}", *arguments(project)).assert_outcomes(passed=1)


def output_of(project: Project, *more: str) -> dict[str, Any]:
    results = project.results(*arguments(project), *more)
    assert differences(DOCUMENT.decode(results)) == []
    (test,) = results["tests"]
    found: dict[str, Any] = test["output"]
    return found


def stored(project: Project) -> dict[str, Any]:
    path = project.path / "baselines" / "portable" / "test_it.py.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["tests"]["test_speed"]["invariants"]
    return found


def test_what_is_recorded_is_small_and_what_it_may_differ_by_is_beside_it(project: Project) -> None:
    record(project)

    said = stored(project)["output_snapshot"]

    own, exact = said["samples"]
    assert (own["weights"], exact["weights"]) == (
        "unknown weights",
        "F32 weights without flash attention",
    )
    names = ["flash_attn=on", "n_ubatch=32", "type_k=type_v=f32", "use_extra_bufts=False"]
    assert [each["name"] for each in own["variants"]] == names
    assert [each["name"] for each in exact["variants"]] == names[1:3]
    assert all(each["mean_kl"] > 0 for each in (*own["variants"], *exact["variants"]))
    assert 48 <= len(own["lines"]) <= 48 + 3
    assert len(said["token_ids"]) == 15
    assert any(each.startswith("Na\\xc3\\xafve") for each in said["token_ids"])
    assert said["template"].startswith("user: Which of these")
    assert len(json.dumps(said)) < 20_000


def test_the_same_again_passes_says_so_and_changes_nothing_that_is_stored(
    project: Project, fake: Fake
) -> None:
    record(project)
    before = stored(project)

    looked = len(fake.started)
    result = project.measure(*arguments(project))

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "  output *within tolerance *pass",
            "test_it.py::test_speed: output within tolerance: mean KL divergence 0 with unknown weights, "
            "tolerance * (* positions); mean KL divergence 0 with F32 weights without flash attention, "
            "tolerance * (* positions)",
        ]
    )
    # Which build it is, the prompt's tokens, the copy of the model, and with each kind of weights.
    looks = 1 + 1 + 1 + 2
    assert len(fake.started) - looked == looks + 3  # sessions
    record(project)
    assert stored(project) == before


def test_other_rounding_is_no_error(project: Project, fake: Fake) -> None:
    record(project)
    fake.set(rounding=1)
    found = output_of(project)
    assert found["verdict"] == "pass"
    assert found["snapshot"]["samples"][0] != found["stored"]["snapshot"]["samples"][0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "verdict", "told"),
    [
        ({"logit_error": 0.5}, "wrong output", "with unknown weights, tolerance "),
        ({"logit_error": 0.003}, "wrong output", "with F32 weights without flash attention, tolerance "),
        ({"nan_at": 20}, "wrong output", "NaN or infinite logits at 1 of 144 positions"),
        (
            {"nan_at": 20, "nan_in": ".f32.gguf"},
            "wrong output",
            "NaN or infinite logits at 1 of 144 positions",
        ),
        ({"first_letter": "b"}, "wrong output", "greedy text differs from token 0 on: "),
        ({"token_shift": 1}, "drift", "other token ids for 15 texts, first for 'Na\\xc3"),
        ({"asker": "person"}, "drift", "the chat template is rendered as 'person: "),
    ],
)
def test_what_is_not_as_it_was_is_told(
    project: Project, fake: Fake, values: dict[str, object], verdict: str, told: str
) -> None:
    record(project)
    fake.set(**values)

    found = output_of(project)

    assert found["verdict"] == verdict
    assert told in " ".join(found["reasons"])


def test_wrong_output_fails_before_anything_is_timed_and_is_stored_by_replace_alone(
    project: Project, fake: Fake
) -> None:
    record(project)
    before = stored(project)
    fake.set(logit_error=0.5)

    result = project.measure("--llm-update-baselines=append", *arguments(project))

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["wrong output: mean KL divergence *", "  reference fake 1.0 *, recorded *"])
    assert stored(project) == before
    record(project, "replace")
    assert stored(project)["output_snapshot"] != before["output_snapshot"]
    assert output_of(project)["verdict"] == "pass"


def test_results_without_a_baseline_can_be_taken_in(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = output_of(project)
    assert (found["verdict"], found["stored"]) == ("no baseline", None)
    monkeypatch.chdir(project.path)

    assert main(["baselines", "accept", "results.json", "--baselines=baselines"]) == 0

    assert output_of(project)["verdict"] == "pass"


def test_other_texts_have_no_baseline(project: Project) -> None:
    record(project)
    project.write(TEST.replace("Three herons", "Four herons"))
    found = output_of(project)
    assert (found["verdict"], found["reasons"]) == (
        "no baseline",
        ["the stored output is of other texts; replace it"],
    )


def test_where_nothing_is_stored_or_kept_nothing_is_looked_at(project: Project, fake: Fake) -> None:
    result = project.measure()
    result.stdout.fnmatch_lines(["*output: no baseline: * never recorded: give --llm-against, or *"])
    assert len(fake.started) == 3  # sessions


def test_the_plan_and_the_progress_know_of_looks_at_outputs(project: Project, reference: str) -> None:
    alone = project.plan(f"--llm-candidate={project.candidate}", f"--llm-model={project.model}")
    assert alone[0].endswith("5 sessions, about 27 s")
    assert alone[-1] == (
        f"  output of {project.model} against what is stored: 1 capture of 1024 tokens, up to 2 if it "
        "differs or is new"
    )
    candidate = f"--llm-candidate={project.candidate}"
    paired = project.plan(candidate, f"--llm-against={reference}", f"--llm-model={project.model}")
    assert paired[-1] == (
        f"  output of {project.model} against {reference}: 2 captures of 1024 tokens, up to 15 if it differs "
        "or is new"
    )

    result = project.measure("--llm-update-baselines=append", *arguments(project))

    result.stdout.fnmatch_lines(
        [
            f"  {project.model}: output of the candidate",
            f"  {project.model}: output of the candidate with unknown weights, n_ubatch=32",
            f"  {project.model}: output of the candidate with F32 weights without flash attention",
        ]
    )
