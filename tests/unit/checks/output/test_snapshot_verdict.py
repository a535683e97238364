"""What is said of a candidate's output by what is stored of it, and in which words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.checks import judge_snapshot
from pytest_llm.checks.output.verdict import context, headline
from pytest_llm.records import (
    LogprobSample,
    OutputGate,
    OutputSnapshot,
    Provenance,
    Rounding,
    StoredSnapshot,
    Verdict,
)

if TYPE_CHECKING:
    from pytest_llm.checks.findings import OutputJudgement

GATE = OutputGate()
ROUNDING = (Rounding("flash_attn=off", 1e-3, 4e-3, 0.4), Rounding("n_ubatch=32", 5e-4, 2e-3, 0.1))
LIKELY = ("0 7:-0.100000 8:-3.000000", "90 9:-0.500000 2:-1.500000")
OWN = LogprobSample("Q4_1 weights", LIKELY, ROUNDING)
EXACT = LogprobSample(
    "F32 weights without flash attention", LIKELY, (Rounding("type_k=type_v=f32", 1e-6, 4e-6, 0.01),)
)
SAID = OutputSnapshot(
    corpus="a1",
    compiled_with="CPU : AVX2 = 1",
    positions=100,
    not_finite=0,
    prompts="b2",
    token_ids={"Na\\xc3\\xafve": "c3", "\\xff": "c4"},
    template="<|im_start|>user\nHi<|im_end|>\n",
    greedy=(4, 5, 6),
    leads=(2.0, 0.79, 3.0),
    loops=False,
    samples=(OWN, EXACT),
)
STORED = StoredSnapshot(
    SAID, Provenance("llama-cpp-python 0.3.36", "abc", "2026-11-22T20:00:00+00:00", "0.1")
)


def judged(gate: OutputGate = GATE, stored: StoredSnapshot | None = STORED, **now: Any) -> OutputJudgement:
    return judge_snapshot(gate, replace(SAID, **now), stored, "never recorded")


def nudged(sampled: LogprobSample, likely: str) -> LogprobSample:
    """Return a sample with the first position's first token as likely as this."""
    first, *others = sampled.likely
    return replace(sampled, likely=(first.replace("7:-0.100000", f"7:{likely}"), *others))


def test_what_was_said_before_is_a_pass_that_tells_what_it_rests_on() -> None:
    found = judged()
    assert found.verdict is Verdict.PASS
    assert headline(found) == (
        "output as stored: mean KL divergence 0 from what is stored with Q4_1 weights, where up to 0.004 is "
        "rounding (2 positions); mean KL divergence 0 from what is stored with F32 weights without flash "
        "attention, where up to 4e-06 is rounding (2 positions)"
    )
    assert context(found) == ["output of llama-cpp-python 0.3.36 (llama.cpp abc), recorded 2026-11-22"]


def test_a_log_probability_beyond_the_envelope_is_wrong_and_the_position_is_told() -> None:
    found = judged(samples=(nudged(OWN, "-1.100000"), EXACT))
    assert headline(found) == (
        "wrong output: mean KL divergence 0.39 from what is stored with Q4_1 weights, where up to 0.004 is "
        "rounding (furthest at position 0: token 7 −0.1 → −1.1 nats)"
    )


def test_a_log_probability_within_the_envelope_is_none_but_counts_with_exact_weights() -> None:
    assert judged(samples=(nudged(OWN, "-0.110000"), EXACT)).verdict is Verdict.PASS
    found = judged(samples=(OWN, nudged(EXACT, "-0.110000")))
    assert found.verdict is Verdict.WRONG_OUTPUT
    assert "with F32 weights without flash attention, where up to 4e-06 is rounding" in found.reasons[0]


def test_one_position_far_off_is_wrong_where_the_mean_is_not() -> None:
    many = replace(OWN, likely=(LIKELY[0], *(f"{row} 9:-0.500000 2:-1.500000" for row in range(1, 60))))
    found = judge_snapshot(
        GATE,
        replace(SAID, samples=(nudged(many, "-0.200000"),)),
        replace(STORED, snapshot=replace(SAID, samples=(many,))),
    )
    assert found.verdict is Verdict.WRONG_OUTPUT
    assert "at one position, where up to 0.016 is rounding" in found.reasons[0]


@pytest.mark.parametrize(
    ("greedy", "verdict"),
    [
        ((9, 5, 6), Verdict.WRONG_OUTPUT),  # led by 2 nats
        ((4, 9, 9), Verdict.PASS),  # by 0.79, and 2 · 0.4 is rounding
        ((4, 5), Verdict.WRONG_OUTPUT),
        ((4, 5, 6, 7), Verdict.PASS),
    ],
)
def test_other_greedy_text_counts_where_its_lead_was_clear(greedy: tuple[int, ...], verdict: Verdict) -> None:
    assert judged(greedy=greedy).verdict is verdict


def test_a_doctored_greedy_token_is_told_with_its_lead() -> None:
    assert judged(greedy=(9, 5, 6)).reasons == (
        "greedy text differs from token 0 on: 4, which led by 2 nats, is now 9, where a lead of up to 0.8 is "
        "rounding",
    )
    assert headline(judged(greedy=(4, 9, 6), loops=True)).endswith(
        "; it ends up repeating itself, which what is stored does not, greedy text differs from token 1 on"
    )


def test_other_tokens_and_another_template_are_drift_and_the_first_difference_is_told() -> None:
    tokens = judged(token_ids={"Na\\xc3\\xafve": "c3", "\\xff": "other"}, prompts="other", samples=())
    assert (tokens.verdict, tokens.reasons) == (
        Verdict.DRIFT,
        ("other token ids for 1 text, the first of which is '\\xff'",),
    )
    assert judged(prompts="other").reasons == ("other token ids for the prompts",)
    template = judged(template="<|im_start|>person\nHi<|im_end|>\n")
    assert headline(template) == (
        "output: drift: the chat template is rendered otherwise: '<|im_start|>user\\nHi<|im_end|>\\n' → "
        "'<|im_start|>person\\nHi<|im_end|>\\n', at character 12"
    )


def test_nan_is_wrong_whatever_is_stored() -> None:
    for stored in (STORED, None):
        found = judged(stored=stored, not_finite=3, samples=(), leads=())
        assert headline(found) == "wrong output: NaN or infinite logits at 3 of 100 positions"


@pytest.mark.parametrize(
    ("stored", "verdict", "told"),
    [
        (None, Verdict.NO_BASELINE, "never recorded"),
        (replace(SAID, corpus="other"), Verdict.NO_BASELINE, "on other texts; replace it"),
        (replace(SAID, not_finite=1, samples=()), Verdict.INCONCLUSIVE, "NaN or infinite logits itself"),
        (
            replace(SAID, samples=(replace(OWN, rounding=()),)),
            Verdict.INCONCLUSIVE,
            "every variant was refused",
        ),
    ],
)
def test_where_nothing_can_be_said_the_reason_is_told(
    stored: OutputSnapshot | None, verdict: Verdict, told: str
) -> None:
    found = judged(stored=None if stored is None else replace(STORED, snapshot=stored))
    assert found.verdict is verdict
    assert told in found.reasons[0]


def test_exact_weights_that_cannot_be_made_any_more_leave_it_open() -> None:
    found = judged(samples=(OWN,), no_f32="no room")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reasons == ("what is stored with F32 weights cannot be compared: no room",)


@pytest.mark.parametrize(("bound", "verdict"), [(0.4, Verdict.PASS), (0.3, Verdict.WRONG_OUTPUT)])
def test_a_limit_of_the_marker_counts_instead_of_the_variants(bound: float, verdict: Verdict) -> None:
    bare = replace(STORED, snapshot=replace(SAID, samples=(replace(OWN, rounding=()),)))
    gate = replace(GATE, max_kl=bound)
    assert judged(gate, bare, samples=(nudged(OWN, "-1.100000"),)).verdict is verdict


def test_another_cpu_is_told_with_what_fails() -> None:
    found = judged(greedy=(9, 5, 6), compiled_with="CPU : NEON = 1")
    assert "that build was compiled with CPU : AVX2 = 1" in context(found)
