"""Workloads that embed texts: solo, paired, stored, and refused where they make no sense."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

EMBED = """
    @pytest.mark.llm_workload(prompt_tokens=16, parallel=4, embed=True)
    {markers}
    def test_embed(llm_bench):
        {body}
"""


def write(project: Project, markers: str = "", body: str = "pass") -> None:
    project.write(EMBED.format(markers=markers, body=body))


def test_an_encoder_is_measured_by_the_tokens_that_it_embeds(project: Project, fake: Fake) -> None:
    fake.set(no_generation="it has no next token")
    write(
        project,
        '@pytest.mark.llm_tokens_per_second(min=129, phase="embedding")',
        "assert llm_bench.embedding_tokens_per_second.value == 128",
    )
    result = project.measure("--llm-json=results.json")
    (text,) = project.texts(result).values()
    assert text.startswith("embedding speed is 128.0 tok/s, the limit is at least 129.0 tok/s")
    assert "workload texts of 16 tokens embedded, 4 in parallel" in text
    result.stdout.fnmatch_lines(["  embedding speed *  over limit"])
    found = json.loads((project.path / "results.json").read_text())
    assert set(found["runs"]["run-1"]["sessions"][0]["series"]) >= {"embedding", "load"}
    assert "prompt_tokens_per_second" not in found["tests"][0]["metrics"]


def test_a_slower_candidate_is_called_by_its_pair(project: Project, fake: Fake, reference: str) -> None:
    fake.set_reference(token_seconds=1 / 256)
    write(project)
    failed = project.failures(f"--llm-against={reference}")
    assert "embedding speed fell from 256.0 tok/s to 128.0 tok/s" in failed["test_embed"]


def test_two_equal_builds_pass(project: Project) -> None:
    write(project)
    project.measure("--llm-aa").assert_outcomes(passed=1)


def test_a_loss_against_stored_runs_is_called(
    project: Project, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    write(project, "@pytest.mark.llm_no_regression()")
    for number in range(5):
        fake.set(token_seconds=(1 + number / 1000) / 128)  # equal runs of one second would be one run
        project.measure("--llm-update-baselines=append").assert_outcomes(passed=1)
    fake.set(token_seconds=1 / 64)
    failed = project.failures()
    assert "embedding speed" in failed["test_embed"]
    assert "prompt speed" not in failed["test_embed"]


def test_what_a_model_cannot_embed_is_not_covered(project: Project, fake: Fake) -> None:
    fake.set(no_embedding="the model is a reranker")
    write(project, '@pytest.mark.llm_tokens_per_second(min=1, phase="embedding")')
    failed = project.failures("--llm-uncovered=fail")
    assert "embedding speed cannot be had: the model is a reranker" in failed["test_embed"]


def test_a_limit_on_generation_is_not_covered_and_names_the_phase(project: Project) -> None:
    write(project, "@pytest.mark.llm_tokens_per_second(min=1)")
    failed = project.failures("--llm-uncovered=fail")
    assert "generation speed cannot be had: the workload embeds texts" in failed["test_embed"]
    assert "phase='embedding'" in failed["test_embed"]


def test_embeddings_that_are_not_finite_are_wrong_output(project: Project, fake: Fake) -> None:
    fake.set(broken=True)
    write(project, '@pytest.mark.llm_tokens_per_second(min=1, phase="embedding")')
    assert project.failures()["test_embed"].startswith("wrong output: ")


@pytest.mark.parametrize(
    ("workload", "model", "problem"),
    [
        ("embed=True, generate_tokens=8", "", "leave generate_tokens and depth out, or embed"),
        ("embed=True, depth=8", "", "leave generate_tokens and depth out, or embed"),
        ("embed=1", "", "llm_workload: embed=1 is neither True nor False"),
        ("generate_tokens=0", "", "generate_tokens=0 is less than 1"),
        ("prompt_tokens=600, embed=True", "", "raise both to 600 in llm_model"),
        ("prompt_tokens=600, embed=True", "n_ubatch=1024, n_batch=512", "raise both to 600 in llm_model"),
    ],
)
def test_workloads_that_make_no_sense_are_refused(
    project: Project, workload: str, model: str, problem: str
) -> None:
    project.write(f"""
        @pytest.mark.llm_model({model})
        @pytest.mark.llm_workload({workload})
        def test_embed(llm_bench): ...
    """)
    assert problem in project.failures()["test_embed"]


OUTPUT = "@pytest.mark.llm_output({})"


@pytest.mark.parametrize(
    ("turn", "gate", "said"),
    [
        (0.0, "", "same output, to the last bit, at 10 texts"),
        (1e-4, "", "output within tolerance: cosine distance of embeddings 4e-09, tolerance 1e-05"),
        (0.1, "", "wrong output: cosine distance of embeddings 0.004, tolerance 1e-05 (10 texts, furthest"),
        (
            0.1,
            "max_distance=0.01",
            "output within tolerance: cosine distance of embeddings 0.004, max_distance",
        ),
        (0.1, "max_distance=0.001", "wrong output: cosine distance of embeddings 0.004, max_distance=0.001"),
        (1.0, "prompts=['one', 'two']", "(2 texts, furthest is text 0)"),
    ],
)
def test_embeddings_are_compared_by_their_cosine_distance(
    project: Project, fake: Fake, reference: str, turn: float, gate: str, said: str
) -> None:
    fake.set(no_generation="it has no next token", turn=turn)
    fake.set_reference(turn=0.0)
    write(project, OUTPUT.format(gate))
    result = project.measure(f"--llm-against={reference}")
    assert said in result.stdout.str()
    result.assert_outcomes(**({"failed": 1} if "wrong" in said or turn == 1 else {"passed": 1}))


def test_stored_embeddings_are_compared_on_the_next_run(
    project: Project, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    write(project, OUTPUT.format(""))
    project.measure("--llm-update-baselines=append").assert_outcomes(passed=1)
    (stored,) = project.path.glob("baselines/portable/**/*.json")
    (test,) = json.loads(stored.read_text())["tests"].values()
    sample = test["invariants"]["output_snapshot"]["embeddings"]
    assert len(sample["vectors"]) == 10
    assert {each["name"] for each in sample["variants"]} >= {"flash_attn=on"}
    result = project.measure("--llm-json=results.json")
    assert "output within tolerance: cosine distance of embeddings" in result.stdout.str()
    fake.set(turn=0.1)
    assert project.failures()["test_embed"].startswith("wrong output: cosine distance of embeddings 0.004")


def test_embeddings_that_hold_nan_are_wrong_output_before_any_timing(project: Project, fake: Fake) -> None:
    fake.set(broken=True)
    write(project, OUTPUT.format(""))
    failed = project.failures("--llm-json=results.json")
    assert failed["test_embed"].startswith("wrong output: fake: NaN or infinite embeddings")


@pytest.mark.parametrize("value", ["-1", "True", "'5%'"])
def test_a_distance_that_is_none_is_refused(project: Project, value: str) -> None:
    write(project, OUTPUT.format(f"max_distance={value}"))
    assert "is not a distance, 0 or more" in project.failures()["test_embed"]
