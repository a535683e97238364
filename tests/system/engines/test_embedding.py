"""A real encoder: solo, stored and paired."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests import tiny_models

if TYPE_CHECKING:
    import pytest


def test_a_real_encoder_is_measured_and_its_output_compared_and_stored(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    tiny_models.bert(pytester.path / "bert.gguf")
    source = """
        import pytest

        @pytest.mark.llm_model("bert.gguf", n_ctx=512, n_threads=1)
        @pytest.mark.llm_workload(prompt_tokens=32, parallel=2, embed=True)
        @pytest.mark.llm_tokens_per_second(min=1, phase="embedding")
        @pytest.mark.llm_output()
        def test_embed(llm_bench):
            assert llm_bench.embedding_tokens_per_second.value > 1

        @pytest.mark.llm_model("bert.gguf", n_ctx=512, n_threads=1)
        @pytest.mark.llm_workload(prompt_tokens=32, generate_tokens=8)
        @pytest.mark.llm_tokens_per_second(min=1, phase="prompt")
        def test_speed(llm_bench): ...
    """
    pytester.makepyfile(source)
    arguments = ("-p", "no:hypothesispytest", "--llm-bench", "--llm-effort=quick")
    first = pytester.runpytest_subprocess(*arguments, "--llm-update-baselines=append")
    first.assert_outcomes(passed=2)
    first.stdout.fnmatch_lines(["not covered: *test_speed: prompt speed cannot be had: *no next token*"])
    second = pytester.runpytest_subprocess(*arguments)
    second.stdout.fnmatch_lines(["*output within tolerance: cosine distance of embeddings*"])
    pair = pytester.runpytest_subprocess(*arguments, "--llm-aa", "-k", "embed")
    assert pair.parseoutcomes()["passed"] == 1
    pair.stdout.fnmatch_lines(["*same output, to the last bit, at 10 texts*"])
