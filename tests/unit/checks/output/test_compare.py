"""The comparison of a snapshot with a stored one, and the verdict that follows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.checks import compare_with_stored, judge_output
from pytest_llm.checks.output.verdict import summary
from pytest_llm.records import (
    GreedyDifference,
    LogprobSample,
    OutputGate,
    OutputSnapshot,
    Provenance,
    StoredSnapshot,
    Variant,
    Verdict,
)
from pytest_llm.records.generation import Greedy

if TYPE_CHECKING:
    from pytest_llm.checks.findings import OutputJudgement
    from pytest_llm.records import OutputComparison

GATE = OutputGate()
VARIANTS = (Variant("flash_attn=off", 1e-3, 4e-3, 0.4), Variant("n_ubatch=32", 5e-4, 2e-3, 0.1))
LINES = ("0 7:-0.100000 8:-3.000000", "90 9:-0.500000 2:-1.500000")
OWN = LogprobSample("Q4_1 weights", LINES, VARIANTS)
EXACT = LogprobSample(
    "F32 weights without flash attention", LINES, (Variant("type_k=type_v=f32", 1e-6, 4e-6, 0.01),)
)
SNAPSHOT = OutputSnapshot(
    corpus="a1",
    compiled_with="CPU : AVX2 = 1",
    positions=100,
    not_finite=0,
    prompts="b2",
    token_ids={"Na\\xc3\\xafve": "c3", "\\xff": "c4"},
    template="<|im_start|>user\nHi<|im_end|>\n",
    greedy=Greedy((4, 5, 6), (2.0, 0.79, 3.0)),
    loops=False,
    samples=(OWN, EXACT),
)
PROVENANCE = Provenance("llama-cpp-python 0.3.36", "abc", "2026-11-22T20:00:00+00:00", "0.1")
STORED = StoredSnapshot(SNAPSHOT, PROVENANCE)


def compared(stored: StoredSnapshot | None = STORED, **now: Any) -> OutputComparison:
    return compare_with_stored(replace(SNAPSHOT, **now), stored, "never recorded")


def judged(gate: OutputGate = GATE, stored: StoredSnapshot | None = STORED, **now: Any) -> OutputJudgement:
    return judge_output(gate, compared(stored, **now))


def stored_with(**changes: Any) -> StoredSnapshot:
    return replace(STORED, snapshot=replace(SNAPSHOT, **changes))


def nudged(sample: LogprobSample, logprob: str) -> LogprobSample:
    """Return a sample with another log-probability of the first position's first token."""
    first, *others = sample.lines
    return replace(sample, lines=(first.replace("7:-0.100000", f"7:{logprob}"), *others))


def test_the_stored_output_again_is_a_pass_with_what_it_rests_on() -> None:
    found = judged()
    assert found.verdict is Verdict.PASS
    assert summary(found) == (
        "output within tolerance: mean KL divergence 0 with Q4_1 weights, tolerance 0.004 (2 positions); "
        "mean KL divergence 0 with F32 weights without flash attention, tolerance 4e-06 (2 positions)"
    )
    assert compared().stored == PROVENANCE


def test_a_log_probability_beyond_the_tolerance_is_wrong() -> None:
    found = judged(samples=(nudged(OWN, "-1.100000"), EXACT))
    assert summary(found) == (
        "wrong output: mean KL divergence 0.39 with Q4_1 weights, tolerance 0.004 "
        "(2 positions, furthest at 0: token 7 −0.1 → −1.1 nats)"
    )


def test_a_log_probability_within_the_tolerance_is_wrong_with_exact_weights_alone() -> None:
    assert judged(samples=(nudged(OWN, "-0.110000"), EXACT)).verdict is Verdict.PASS
    found = judged(samples=(OWN, nudged(EXACT, "-0.110000")))
    assert found.verdict is Verdict.WRONG_OUTPUT
    assert "with F32 weights without flash attention, tolerance 4e-06" in found.reasons[0]


def test_one_position_far_off_is_wrong_if_the_mean_is_not() -> None:
    many = replace(OWN, lines=(LINES[0], *(f"{row} 9:-0.500000 2:-1.500000" for row in range(1, 60))))
    found = judged(stored=stored_with(samples=(many,)), samples=(nudged(many, "-0.200000"),))
    assert found.verdict is Verdict.WRONG_OUTPUT
    assert "at the furthest positions with Q4_1 weights, tolerance 0.016" in found.reasons[0]


def test_rounding_to_the_stored_digits_is_no_difference() -> None:
    still = replace(OWN, variants=(Variant("n_ubatch=32", 0.0, 0.0, 0.0),))
    stored = stored_with(samples=(still,))
    assert judged(stored=stored, samples=(nudged(still, "-0.100001"),)).verdict is Verdict.PASS
    assert judged(stored=stored, samples=(nudged(still, "-0.101000"),)).verdict is Verdict.WRONG_OUTPUT


@pytest.mark.parametrize(
    ("tokens", "difference", "verdict"),
    [
        ((4, 5, 6), None, Verdict.PASS),
        ((9, 5, 6), GreedyDifference(0, 4, 9, 2.0), Verdict.WRONG_OUTPUT),
        ((4, 9, 9), GreedyDifference(1, 5, 9, 0.79), Verdict.PASS),  # 2 · 0.4 is rounding
        ((4, 5), GreedyDifference(2, 6, None, 3.0), Verdict.WRONG_OUTPUT),
        ((4, 5, 6, 7), GreedyDifference(3, None, 7, None), Verdict.PASS),
    ],
)
def test_other_greedy_text_counts_if_its_lead_was_clear(
    tokens: tuple[int, ...], difference: GreedyDifference | None, verdict: Verdict
) -> None:
    greedy = Greedy(tokens, ())
    assert compared(greedy=greedy).greedy == difference
    assert judged(greedy=greedy).verdict is verdict


def test_other_token_ids_are_drift_and_distributions_are_not_compared() -> None:
    token_ids = {"Na\\xc3\\xafve": "c3", "\\xff": "other"}
    found = compared(token_ids=token_ids, prompts="other", greedy=Greedy((9,), ()))
    assert (found.token_ids, found.prompts) == (("\\xff",), True)
    assert (found.contrasts, found.greedy) == ((), None)
    assert judge_output(GATE, found).verdict is Verdict.DRIFT


def test_another_template_a_repetition_and_another_cpu_are_found() -> None:
    found = compared(template="Hi", loops=True, compiled_with="CPU : NEON = 1")
    assert found.template == (SNAPSHOT.template, "Hi")
    assert found.loops
    assert not compared(stored_with(loops=True), loops=True).loops
    assert found.compiled_with == "CPU : AVX2 = 1"
    assert compared().compiled_with == ""


@pytest.mark.parametrize("stored", [STORED, None, stored_with(corpus="other")])
def test_nan_is_wrong_whatever_is_stored(stored: StoredSnapshot | None) -> None:
    found = judged(stored=stored, not_finite=3, samples=(), greedy=Greedy((9, 9), ()))
    assert summary(found) == "wrong output: NaN or infinite logits at 3 of 100 positions"


@pytest.mark.parametrize(
    ("stored", "verdict", "told"),
    [
        (None, Verdict.NO_BASELINE, "never recorded"),
        (stored_with(corpus="other"), Verdict.NO_BASELINE, "the stored output is of other texts; replace it"),
        (stored_with(not_finite=1, samples=()), Verdict.INCONCLUSIVE, "NaN or infinite at 1 of 100"),
        (
            stored_with(samples=(replace(OWN, variants=()),)),
            Verdict.INCONCLUSIVE,
            "takes no benign variant",
        ),
    ],
)
def test_a_reference_that_decides_nothing_is_explained(
    stored: StoredSnapshot | None, verdict: Verdict, told: str
) -> None:
    found = judged(stored=stored)
    assert found.verdict is verdict
    assert told in found.reasons[0]


def test_exact_weights_that_cannot_be_made_any_more_leave_it_open() -> None:
    assert judged(samples=(OWN,), no_f32="no room").verdict is Verdict.INCONCLUSIVE
    own_alone = stored_with(samples=(OWN,), no_f32="no room")
    assert judged(stored=own_alone, samples=(OWN,), no_f32="no room").verdict is Verdict.PASS


@pytest.mark.parametrize(("bound", "verdict"), [(0.4, Verdict.PASS), (0.3, Verdict.WRONG_OUTPUT)])
def test_a_limit_of_the_marker_counts_instead_of_the_variants(bound: float, verdict: Verdict) -> None:
    bare = stored_with(samples=(replace(OWN, variants=()),))
    gate = replace(GATE, max_kl=bound)
    assert judged(gate, bare, samples=(nudged(OWN, "-1.100000"),)).verdict is verdict
