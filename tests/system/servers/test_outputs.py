"""Outputs of a real llama-server, by its probabilities, beside those of the binding and of itself."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pytest_llm.checks.output import prompts
from pytest_llm.checks.output.compare import compare_outputs
from pytest_llm.checks.output.f32_copies import F32Copies
from pytest_llm.engines import DEFAULT, engine_for
from pytest_llm.engines.llama_server.engine import LlamaServer
from pytest_llm.errors import NotCoveredError
from pytest_llm.records import Installed, LoadOptions, OutputGate, Subject, Workload
from pytest_llm.records.side import Side
from tests.system.faults.inner import measure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_llm.engines.llama_server.generation import GeneratingServer
    from pytest_llm.records import BuildReference, Model

PATIENCE = 120.0
KEPT = 6
OPTIONS = LoadOptions(n_ctx=2048)  # one thread: two wait for each other beside other tests
SUITE = """
import pytest

@pytest.mark.llm_model("smollm2-135m", n_ctx=2048, n_threads=1)
@pytest.mark.llm_output({gate})
def test_output(llm_bench):
    pass
"""


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare few positions: each is a request that takes half a second."""
    monkeypatch.setattr(prompts, "_KEPT", KEPT)


@pytest.fixture
def server(smollm2: Model, server_build: BuildReference, server_program: Path) -> Side:
    subject = Subject(smollm2.name, server_build, OPTIONS)
    return Side(subject, smollm2, LlamaServer(server_build, PATIENCE, str(server_program)))


@pytest.fixture
def binding(smollm2: Model) -> Side:
    build = Installed(DEFAULT)
    return Side(Subject(smollm2.name, build, OPTIONS), smollm2, engine_for(build, PATIENCE))


@pytest.fixture
def loaded(server: Side) -> Iterator[GeneratingServer]:
    started = server.engine.start_generation(server.subject, server.model)
    with closing(started):
        started.load()
        yield started  # type: ignore[misc]


def test_a_server_answers_as_a_model_that_is_loaded(loaded: GeneratingServer) -> None:
    answer = loaded.generate("The capital of France is", max_tokens=6)
    assert "Paris" in answer.text
    assert loaded.detokenize(answer.tokens) == answer.text
    assert answer.finish == "length"
    assert [each.text for each in loaded.stream("The capital of France is", max_tokens=2)]
    drawn = [loaded.generate("Once", max_tokens=8, temperature=1.0, seed=seed).tokens for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    chat = loaded.render_chat("Say only: yes")
    ended = loaded.generate(chat, max_tokens=64)
    assert ended.finish == "stop"
    assert len(ended.tokens) < 64
    assert loaded.detokenize(ended.tokens) == ended.text
    with pytest.raises(NotCoveredError, match="embeddings"):
        loaded.embed("text")


def test_probabilities_are_those_of_the_binding(loaded: GeneratingServer, binding: Side) -> None:
    text = "The capital of France is Paris."
    ours = loaded.top_logprobs(text, k=5)
    with closing(binding.engine.start_generation(binding.subject, binding.model)) as other:
        other.load()
        theirs = other.top_logprobs(text, k=5)
    assert [each.token for each in ours] == [each.token for each in theirs]
    for mine, its in zip(ours, theirs, strict=True):
        assert mine.top[0].id == its.top[0].id
        assert mine.top[0].logprob == pytest.approx(its.top[0].logprob, abs=0.02)
    assert ours[0].logprob is None
    assert ours[-1].logprob == pytest.approx(theirs[-1].logprob, abs=0.05)


def test_a_server_says_what_it_said_before_and_what_the_binding_says(
    server: Side, binding: Side, tmp_path: Path
) -> None:
    copies = F32Copies(tmp_path)
    gate, workload = OutputGate(max_kl=0.05), Workload()
    again = compare_outputs(server, server, gate, workload, copies).comparison
    assert again.same
    assert again.token_ids == again.template == ()
    other = compare_outputs(server, binding, gate, workload, copies).comparison
    assert not other.token_ids
    assert not other.prompts
    assert not other.not_finite
    (contrast,) = other.contrasts
    assert contrast.candidate.mean_kl < 0.05  # rounded otherwise: another shape of batches
    assert contrast.candidate.positions == KEPT


def test_a_server_that_turns_positions_by_another_base_says_something_else(
    pytester: pytest.Pytester, server_program: Path
) -> None:
    pytester.makepyfile(test_inner=SUITE.format(gate="max_kl=0.01"))
    base = f"llama-server@cmd:{server_program} -c 2048 -np 1 -t 1 -tb 1 --cache-ram 0 -lv 4"
    other = f"{base} --rope-freq-base 30000"
    result, found = measure(pytester, f"--llm-candidate={other}", f"--llm-against={base}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*wrong output*"])
    assert found["tests"][0]["output"]["verdict"] == "wrong output"
