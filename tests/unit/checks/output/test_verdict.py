"""What is said of a candidate's output, and in which words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_llm.checks import explain, judge_output, notes, verdicts, without_reference
from pytest_llm.checks.findings import Finding
from pytest_llm.checks.output.verdict import headline
from pytest_llm.records import (
    ALWAYS_FAILING,
    Benchmark,
    Build,
    Contrast,
    Divergence,
    Installed,
    LoadOptions,
    Model,
    OutputComparison,
    OutputGate,
    Run,
    Subject,
    TestKey,
    Variant,
    Verdict,
    Workload,
)
from pytest_llm.stats.tolerance import MARGIN, outside

NEW, OLD = (Build("llama-cpp-python", each, "abc", "python") for each in ("0.3.36", "0.3.35"))
SAME = OutputComparison(NEW, OLD, 1000, same=True)
GATE = OutputGate()
FURTHEST = 1e-3


def apart(mean: float, p99: float | None = None) -> Divergence:
    return Divergence(1000, mean, 5 * mean if p99 is None else p99, 9 * mean, 3, 0.5, -0.1)


def contrast(mean: float, p99: float | None = None, weights: str = "Q4_1 weights") -> Contrast:
    variants = Variant("flash_attn=off", apart(FURTHEST / 2)), Variant("n_ubatch=32", apart(FURTHEST))
    return Contrast(weights, apart(mean, p99), variants)


def differing(*contrasts: Contrast, **others: object) -> OutputComparison:
    return replace(SAME, same=False, contrasts=contrasts, **others)  # type: ignore[arg-type]


def verdict(found: OutputComparison, gate: OutputGate = GATE) -> Verdict:
    return judge_output(gate, found).verdict


def test_the_same_to_the_last_bit_is_a_pass() -> None:
    found = judge_output(GATE, SAME)
    assert found.verdict is Verdict.PASS
    assert headline(found) == "same output, to the last bit, at 1000 positions"


def test_as_far_as_the_margin_is_inclusive_and_further_is_wrong() -> None:
    furthest = MARGIN * FURTHEST
    assert verdict(differing(contrast(furthest))) is Verdict.PASS
    assert verdict(differing(contrast(furthest * 1.001))) is Verdict.WRONG_OUTPUT
    assert verdict(differing(contrast(1e-9, p99=5 * furthest))) is Verdict.PASS
    assert verdict(differing(contrast(1e-9, p99=5.01 * furthest))) is Verdict.WRONG_OUTPUT


@pytest.mark.parametrize(
    ("mean", "p99", "expected"), [(1.0, 1.0, False), (1.01, 0.0, True), (0.0, 1.01, True)]
)
def test_the_campaign_goes_no_further_once_either_is_outside(mean: float, p99: float, expected: bool) -> None:
    furthest = MARGIN * FURTHEST
    assert outside(contrast(mean * furthest, 5 * p99 * furthest)) is expected
    assert not outside(replace(contrast(1.0), variants=()))


def test_every_kind_of_weights_counts() -> None:
    hidden = differing(contrast(1e-4), contrast(1.0, weights="F32 weights"))
    assert headline(judge_output(GATE, hidden)) == (
        "wrong output: mean KL divergence 1 with F32 weights, where up to 0.004 is rounding (1000 positions)"
    )


def test_nan_is_wrong_whatever_else_there_is() -> None:
    found = judge_output(GATE, differing(not_finite=3, reference_not_finite=3))
    assert headline(found) == "wrong output: NaN or infinite logits at 3 of 1000 positions"
    assert verdict(replace(SAME, not_finite=1)) is Verdict.WRONG_OUTPUT


def test_where_only_the_reference_is_not_finite_nothing_can_be_said() -> None:
    found = judge_output(GATE, differing(reference_not_finite=1))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert headline(found) == (
        "output: inconclusive: the reference's own logits are NaN or infinite at 1 of 1000 positions"
    )


def test_without_a_single_variant_nothing_can_be_said() -> None:
    assert verdict(differing(replace(contrast(0.1), variants=()))) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(("bound", "expected"), [(0.1, Verdict.PASS), (0.09, Verdict.WRONG_OUTPUT)])
def test_a_limit_of_the_marker_counts_instead_of_the_variants(bound: float, expected: Verdict) -> None:
    found = differing(replace(contrast(0.1), variants=()))
    assert verdict(found, replace(GATE, max_kl=bound)) is expected


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (replace(SAME, token_ids=("a", "b")), "other token ids for 2 texts: a, b"),
        (replace(SAME, template=True), "the chat template is rendered otherwise"),
    ],
)
def test_other_tokens_and_another_template_are_drift(found: OutputComparison, told: str) -> None:
    judged = judge_output(GATE, found)
    assert (judged.verdict, headline(judged)) == (Verdict.DRIFT, f"output: drift: {told}")
    assert verdict(replace(found, not_finite=1)) is Verdict.WRONG_OUTPUT


def test_other_text_and_repetition_are_told_and_prove_nothing() -> None:
    found = judge_output(GATE, differing(contrast(1e-3), greedy=4, loops=True))
    assert found.verdict is Verdict.PASS
    assert headline(found) == (
        "output differs no more than it may: mean KL divergence 0.001 with Q4_1 weights, "
        "where up to 0.004 is rounding (1000 positions); it ends up repeating itself, which the reference "
        "does not, greedy text differs from token 4 on"
    )


def test_without_a_reference_there_is_no_baseline() -> None:
    found = without_reference(GATE, "never recorded")
    assert found.verdict is Verdict.NO_BASELINE
    assert "--llm-against" in headline(found)


def test_a_failed_test_says_wrong_first_and_then_with_what() -> None:
    model = Model("m", "m.gguf", "0" * 64, 1, "llama", "Q4_1", 1_000_000, 1, 1, 1, 1, 1, 1)
    subject = Subject("m", Installed("llama-cpp-python"), LoadOptions())
    run = Run(subject, Workload(), model, NEW, {}, (), {})
    judged = judge_output(GATE, differing(contrast(0.5), no_f32="no room", greedy=0))
    benchmark = Benchmark("test_it.py::test", TestKey("test_it", "test"), subject, Workload(), output=GATE)
    finding = Finding(benchmark, run, output=judged)

    assert verdicts(finding) == [Verdict.WRONG_OUTPUT]
    assert notes(finding) == [headline(judged)]
    assert explain(finding, ALWAYS_FAILING).splitlines() == [
        "wrong output: mean KL divergence 0.5 with Q4_1 weights, "
        "where up to 0.004 is rounding (1000 positions)",
        "  candidate llama-cpp-python 0.3.36 (llama.cpp abc)",
        "  reference llama-cpp-python 0.3.35 (llama.cpp abc)",
        "  Q4_1 weights: 3 other likeliest tokens, log-probabilities of the top 20 off by up to 0.5 (p99)",
        "  no copy with F32 weights was compared: no room",
        "  greedy text differs from token 0 on",
        "  model m (llama, Q4_1, 1.0 M parameters), n_ctx=4096, n_threads=1",
        "  workload 128 prompt tokens, 64 generated, depth 0",
    ]
