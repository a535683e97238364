"""The verdict on an output by its comparison, and its explanation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_llm.baselines import Missing
from pytest_llm.checks import explain, judge_output, notes, verdicts, without_reference
from pytest_llm.checks.findings import Finding
from pytest_llm.checks.output.verdict import context, summary
from pytest_llm.records import (
    ALWAYS_FAILING,
    Benchmark,
    Build,
    Contrast,
    Divergence,
    Furthest,
    GreedyDifference,
    Installed,
    LoadOptions,
    Model,
    OutputComparison,
    OutputGate,
    Provenance,
    Run,
    Subject,
    TestKey,
    Variant,
    Verdict,
    Workload,
)
from pytest_llm.stats.tolerance import MARGIN

NEW, OLD = (Build("llama-cpp-python", each, "abc", "python") for each in ("0.3.36", "0.3.35"))
SAME = OutputComparison(1000, OLD, same=True)
DIFFERENT = replace(SAME, same=False)
STORED = OutputComparison(
    1000, stored=Provenance("llama-cpp-python 0.3.35", "abc", "2026-11-22T20:00:00+00:00", "0.1")
)
GATE = OutputGate()
FURTHEST = 1e-3
BOTH = pytest.mark.parametrize("found", [DIFFERENT, STORED], ids=["captured", "stored"])


def contrast(mean: float, tail: float | None = None, weights: str = "Q4_1 weights") -> Contrast:
    variants = (
        Variant("flash_attn=off", FURTHEST / 2, 5 * FURTHEST / 2, 0.4),
        Variant("n_ubatch=32", FURTHEST, 5 * FURTHEST, 0.1),
    )
    tail = 5 * mean if tail is None else tail
    return Contrast(
        weights, Divergence(1000, mean, tail, 9 * mean, 3, 0.5, 0.2, Furthest(12, 7, -0.1, -1.1)), variants
    )


def verdict(found: OutputComparison, gate: OutputGate = GATE) -> Verdict:
    return judge_output(gate, found).verdict


def test_the_same_to_the_last_bit_is_a_pass() -> None:
    found = judge_output(GATE, SAME)
    assert found.verdict is Verdict.PASS
    assert summary(found) == "same output, to the last bit, at 1000 positions"


@BOTH
def test_as_far_as_the_tolerance_is_a_pass_and_further_is_wrong(found: OutputComparison) -> None:
    furthest = MARGIN * FURTHEST
    assert verdict(replace(found, contrasts=(contrast(furthest),))) is Verdict.PASS
    assert verdict(replace(found, contrasts=(contrast(furthest * 1.001),))) is Verdict.WRONG_OUTPUT
    assert verdict(replace(found, contrasts=(contrast(1e-9, 5 * furthest),))) is Verdict.PASS
    few = judge_output(GATE, replace(found, contrasts=(contrast(1e-9, 5.01 * furthest),)))
    assert summary(few) == (
        "wrong output: KL divergence 0.02 at the furthest positions with Q4_1 weights, tolerance 0.02 "
        "(1000 positions, furthest at 12: token 7 −0.1 → −1.1 nats)"
    )


@BOTH
def test_every_type_of_weights_counts(found: OutputComparison) -> None:
    hidden = replace(found, contrasts=(contrast(1e-4), contrast(1.0, weights="F32 weights")))
    assert summary(judge_output(GATE, hidden)) == (
        "wrong output: mean KL divergence 1 with F32 weights, tolerance 0.004 "
        "(1000 positions, furthest at 12: token 7 −0.1 → −1.1 nats)"
    )


@pytest.mark.parametrize("found", [DIFFERENT, SAME, STORED, OutputComparison(1000, missing="never recorded")])
def test_nan_is_wrong_whatever_the_reference(found: OutputComparison) -> None:
    judged = judge_output(GATE, replace(found, not_finite=3, reference_not_finite=3))
    assert summary(judged) == "wrong output: NaN or infinite logits at 3 of 1000 positions"


def test_only_the_reference_not_finite_is_inconclusive() -> None:
    text = "output: inconclusive: the reference's own logits are NaN or infinite at 1 of 1000 positions"
    assert summary(judge_output(GATE, replace(DIFFERENT, reference_not_finite=1))) == text
    stored = judge_output(GATE, replace(STORED, reference_not_finite=1))
    assert summary(stored) == f"{text}; replace it"


@BOTH
def test_without_a_single_variant_it_is_inconclusive(found: OutputComparison) -> None:
    judged = judge_output(GATE, replace(found, contrasts=(replace(contrast(0.1), variants=()),)))
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "the reference takes no benign variant" in judged.reasons[0]


@BOTH
@pytest.mark.parametrize(("bound", "expected"), [(0.1, Verdict.PASS), (0.09, Verdict.WRONG_OUTPUT)])
def test_a_limit_of_the_marker_counts_instead_of_the_variants(
    found: OutputComparison, bound: float, expected: Verdict
) -> None:
    bare = replace(found, contrasts=(replace(contrast(0.1), variants=()),))
    judged = judge_output(replace(GATE, max_kl=bound), bare)
    assert judged.verdict is expected
    assert f"mean KL divergence 0.1 with Q4_1 weights, max_kl={bound}" in summary(judged)


@BOTH
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"token_ids": ("a", "b"), "prompts": True}, "other token ids for 2 texts, first for 'a'"),
        ({"prompts": True}, "other token ids for the prompts"),
        (
            {"template": ("<|im_start|>user\nHi<|im_end|>\n", "<|im_start|>person\nHi<|im_end|>\n")},
            "the chat template is rendered as '<|im_start|>person\\nHi<|im_end|>\\n', not as "
            "'<|im_start|>user\\nHi<|im_end|>\\n', at character 12",
        ),
    ],
)
def test_other_tokens_and_another_template_are_drift(
    found: OutputComparison, change: dict[str, object], told: str
) -> None:
    drifted = replace(found, **change)  # type: ignore[arg-type]
    judged = judge_output(GATE, drifted)
    assert (judged.verdict, summary(judged)) == (Verdict.DRIFT, f"output: drift: {told}")
    assert verdict(replace(drifted, not_finite=1)) is Verdict.WRONG_OUTPUT


@BOTH
def test_text_that_differs_within_rounding_and_repetition_prove_nothing(found: OutputComparison) -> None:
    unclear = GreedyDifference(4, 7, 9, lead=0.79)  # 2 · 0.4 is rounding
    judged = judge_output(GATE, replace(found, contrasts=(contrast(1e-3),), greedy=unclear, loops=True))
    assert judged.verdict is Verdict.PASS
    assert summary(judged) == (
        "output within tolerance: mean KL divergence 0.001 with Q4_1 weights, tolerance 0.004 "
        "(1000 positions); it ends up repeating itself, which the reference does not; greedy text differs "
        "from token 4 on"
    )


@BOTH
@pytest.mark.parametrize(("now", "told"), [(9, "9"), (None, "the end")])
def test_another_greedy_token_is_wrong_if_its_lead_was_clear(
    found: OutputComparison, now: int | None, told: str
) -> None:
    clear = GreedyDifference(4, 7, now, lead=2.0)
    found = replace(found, contrasts=(contrast(1e-3),), greedy=clear)
    judged = judge_output(GATE, found)
    assert judged.verdict is Verdict.WRONG_OUTPUT
    assert judged.reasons == (
        f"greedy text differs from token 4 on: 7, which led by 2 nats, is now {told}, tolerance 0.8 nats",
    )
    assert verdict(replace(found, greedy=replace(clear, lead=None))) is Verdict.PASS


def test_a_stored_output_with_f32_weights_must_be_compared() -> None:
    without = replace(STORED, contrasts=(contrast(1e-3),), no_f32="no room")
    judged = judge_output(GATE, without)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.reasons == ("the stored output with F32 weights cannot be compared: no room",)
    assert verdict(without, replace(GATE, max_kl=1.0)) is Verdict.PASS
    assert verdict(replace(without, stored=None, reference=OLD)) is Verdict.PASS


def test_without_a_reference_there_is_no_baseline() -> None:
    found = without_reference(GATE, Missing("never recorded"))
    assert found.verdict is Verdict.NO_BASELINE
    assert "--llm-against" in summary(found)


def test_a_stored_reference_is_named_with_its_date_and_its_cpu() -> None:
    found = replace(STORED, contrasts=(contrast(0.5),), compiled_with="CPU : AVX2 = 1")
    assert context(judge_output(GATE, found))[:2] == [
        "reference llama-cpp-python 0.3.35 (llama.cpp abc), recorded 2026-11-22",
        "the reference was compiled with CPU : AVX2 = 1",
    ]


def test_a_failed_test_says_wrong_first_and_then_with_what() -> None:
    model = Model("m", "m.gguf", "0" * 64, 1, "llama", "Q4_1", 1_000_000, 1, 1, 1, 1, 1, 1)
    subject = Subject("m", Installed("llama-cpp-python"), LoadOptions())
    run = Run(subject, Workload(), model, NEW, {}, (), {})
    greedy = GreedyDifference(0, 7, 9, lead=0.1)
    judged = judge_output(
        GATE, replace(DIFFERENT, contrasts=(contrast(0.5),), no_f32="no room", greedy=greedy)
    )
    benchmark = Benchmark("test_it.py::test", TestKey("test_it", "test"), subject, Workload(), output=GATE)
    finding = Finding(benchmark, run, output=judged)

    assert verdicts(finding) == [Verdict.WRONG_OUTPUT]
    assert notes(finding) == [summary(judged)]
    assert explain(finding, ALWAYS_FAILING).splitlines() == [
        "wrong output: mean KL divergence 0.5 with Q4_1 weights, tolerance 0.004 "
        "(1000 positions, furthest at 12: token 7 −0.1 → −1.1 nats)",
        "  candidate llama-cpp-python 0.3.36 (llama.cpp abc)",
        "  reference llama-cpp-python 0.3.35 (llama.cpp abc)",
        "  Q4_1 weights: 3 other likeliest tokens, log-probabilities of the likeliest tokens off by up to "
        "0.5 (p99)",
        "  no copy with F32 weights was compared: no room",
        "  greedy text differs from token 0 on",
        "  model m (llama, Q4_1, 1.0 M parameters), n_ctx=4096, n_threads=1",
        "  workload 128 prompt tokens, 64 generated, depth 0",
    ]
