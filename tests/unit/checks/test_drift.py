"""What differs between two subjects, what of it was asked for, and how it is told."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_llm.checks import compare, compare_sides, explain, failing, notes, verdicts, worst
from pytest_llm.checks.drift import next_step, sentence
from pytest_llm.checks.expected_differences import _FOLLOWS
from pytest_llm.checks.findings import Difference, Drift, Finding
from pytest_llm.records import (
    Benchmark,
    Build,
    Claim,
    Gate,
    Installed,
    LoadOptions,
    PairedRun,
    Provenance,
    Run,
    Series,
    Session,
    StoredInvariants,
    Subject,
    TestKey,
    Verdict,
    Workload,
)
from pytest_llm.records.effective_options import normalize
from pytest_llm.records.metrics import METRICS
from pytest_llm.stats.sequential import rule_for
from tests.bare import RUN
from tests.comparing import compare_alone
from tests.golden import assert_golden

GOLDEN = Path(__file__).parent / "golden" / "drift.txt"
SPEED = METRICS["generation_tokens_per_second"]
GATE = Gate(SPEED, 0.05)
FEATURES = "CPU : SSE3 = 1 | AVX2 = 1 | FMA = 1 | REPACK = 1"
OLD = Build("llama-cpp-python", "0.3.35", "4df29be", "python", FEATURES)
NEW = Build("llama-cpp-python", "0.3.36", "0c1e570", "python", FEATURES)
SUBJECT = Subject("m", Installed("llama-cpp-python"), LoadOptions(n_ctx=2048, n_threads=2))
BUFFERS = {"CPU_Mapped model": 92.1, "CPU_REPACK model": 60.19, "CPU KV": 45.0, "CPU compute": 98.25}
RESOLVED: dict[str, Any] = {
    "n_ctx": 2048,
    "n_threads": 2,
    "flash_attn": "off",
    "graph_nodes": "1056",
    "graph_splits": "1",
    "chat_template": "872be49dbb63",
    "buffers_mib": BUFFERS,
}
FACTS: dict[str, Any] = {
    "kv_bytes": 45 * 2**20,
    "token_ids": [1, 2],
    "greedy_output": [3, 4],
    "effective_options": {"n_ctx": 2048, "flash_attn": "off", "graph_reuse": "on"},
}
STORED = StoredInvariants(
    FACTS, Provenance("llama-cpp-python 0.3.35", "4df29be", "2026-01-02T03:04:05+00:00", "0.1.0")
)


def a_run(
    build: Build = NEW,
    options: dict[str, Any] | None = None,
    invariants: dict[str, Any] | None = None,
    **effective_options: Any,
) -> Run:
    subject = replace(SUBJECT, load_options=replace(SUBJECT.load_options, **(options or {})))
    told = {
        **FACTS["effective_options"],
        **{name: effective_options[name] for name in FACTS["effective_options"].keys() & effective_options},
    }
    return replace(
        RUN,
        subject=subject,
        build=build,
        effective_options={**RESOLVED, **effective_options},
        sessions=(Session({"generation": Series((0.04,), tokens=4)}),) * 10,
        invariants={**FACTS, "effective_options": told, **(invariants or {})},
    )


def apart(candidate: Run, reference: Run | None = None) -> dict[str, str]:
    """What differs from a reference, and why it may; of another release, where nothing else is said."""
    found = compare_sides(PairedRun(candidate, reference or a_run(OLD)))
    return {each.name: each.expected for each in found.differences}


# ── what is compared ─────────────────────────────────────────────────────────────────────────────


def test_equal_sides_do_not_drift() -> None:
    drift = compare_sides(PairedRun(a_run(), a_run(OLD)))
    assert drift == Drift()
    assert drift.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        (a_run(flash_attn="on"), "flash_attn"),
        (a_run(n_threads=4), "n_threads"),
        (a_run(graph_splits="3"), "graph_splits"),
        (a_run(chat_template="none"), "chat_template"),
        (a_run(graph_reuse="off"), "graph_reuse"),
        (a_run(buffers_mib={**BUFFERS, "CPU KV": 50.6}), "CPU KV buffer"),
        (a_run(invariants={"kv_bytes": 50 * 2**20}), "kv_bytes"),
        (a_run(invariants={"token_ids": [1]}), "token_ids"),
        (a_run(invariants={"greedy_output": [1]}), "greedy_output"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whatever_both_sides_of_a_pair_show_is_compared(changed: Run, name: str) -> None:
    assert apart(changed) == {name: ""}
    assert apart(a_run(), replace(changed, build=OLD)) == {name: ""}
    assert compare_sides(PairedRun(changed, a_run(OLD))).verdict is Verdict.DRIFT


def test_what_is_a_fact_and_an_option_as_well_is_told_once() -> None:
    heavier, lighter = (a_run(invariants={"weights_bytes": size}, weights_bytes=size) for size in (2, 1))
    drift = compare_sides(PairedRun(lighter, heavier))
    assert [each.name for each in drift.differences] == ["weights_bytes"]


@pytest.mark.parametrize(
    "changed",
    [
        a_run(graph_nodes="936"),
        a_run(buffers_mib={**BUFFERS, "CPU compute": 102.51}),
        a_run(buffers_mib={**BUFFERS, "CUDA_Host compute": 4.0}),
    ],
    ids=["nodes", "compute buffer", "another compute buffer"],
)
def test_what_every_release_plans_otherwise_is_no_drift(changed: Run) -> None:
    assert apart(changed) == {}


def test_what_only_one_side_tells_says_nothing() -> None:
    assert apart(a_run(vocabulary_type="bpe", invariants={"a new fact": 1})) == {}
    assert apart(a_run(), a_run(OLD, vocabulary_type="bpe")) == {}
    assert apart(a_run(buffers_mib={**BUFFERS, "CPU output": 0.19})) == {}


def test_a_buffer_that_is_gone_is_told_where_its_kind_is_told_at_all() -> None:
    without = {name: size for name, size in BUFFERS.items() if name != "CPU_REPACK model"}
    drift = compare_sides(PairedRun(a_run(buffers_mib=without), a_run(OLD)))
    assert drift.differences == (Difference("CPU_REPACK model buffer", 60.19, None),)
    none_of_the_kind = {"CPU KV": 45.0}
    assert apart(a_run(buffers_mib=none_of_the_kind)) == {}


@pytest.mark.parametrize(
    ("mebibytes", "differs"), [(45.1, False), (44.9, False), (45.22, False), (45.25, True), (44.7, True)]
)
def test_sizes_that_are_rounded_otherwise_are_the_same(mebibytes: float, differs: bool) -> None:
    assert bool(apart(a_run(buffers_mib={**BUFFERS, "CPU KV": mebibytes}))) is differs
    assert bool(apart(a_run(invariants={"kv_bytes": round(mebibytes * 2**20)}))) is differs


def test_other_numbers_are_never_rounded() -> None:
    assert apart(a_run(n_ctx=2049)) == {"n_ctx": ""}
    assert apart(
        a_run(invariants={"weights_bytes": 10**9 + 1}), a_run(OLD, invariants={"weights_bytes": 10**9})
    ) == {"weights_bytes": ""}


# ── one form ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"flash_attn": "enabled"}, {"flash_attn": "on"}),
        ({"flash_attn": "1"}, {"flash_attn": "on"}),
        ({"flash_attn": True}, {"flash_attn": "on"}),
        ({"flash_attn": 0}, {"flash_attn": "off"}),
        ({"flash_attn": "disabled"}, {"flash_attn": "off"}),
        ({"use_mmap": True, "use_mlock": False}, {"load_mode": "mmap"}),
        ({"use_mmap": False, "use_mlock": True}, {"load_mode": "mlock"}),
        ({"use_mmap": True, "use_direct_io": True}, {"load_mode": "direct_io"}),
        ({"load_mode": "dio"}, {"load_mode": "direct_io"}),
        ({"buffers_mib": {"CPU_AARCH64 model": 60.19}}, {"buffers_mib": {"CPU_REPACK model": 60.19}}),
    ],
)
def test_what_was_only_renamed_is_no_drift(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert normalize(old) == new
    assert normalize(new) == new
    stored = StoredInvariants({"effective_options": old}, Provenance())
    assert compare(stored, {"effective_options": new}).differences == ()


def test_values_of_other_options_keep_their_form() -> None:
    kept: dict[str, Any] = {"check_tensors": True, "n_seq_max": 1, "graph_splits": "1", "offload_kqv": False}
    assert normalize(kept) == kept


# ── what was asked for ───────────────────────────────────────────────────────────────────────────


def test_every_load_option_says_what_follows_from_it() -> None:
    assert set(_FOLLOWS) == {field.name for field in fields(LoadOptions)}


def test_what_was_asked_for_and_what_follows_is_no_drift() -> None:
    asked = a_run(
        options={"flash_attn": "on"},
        flash_attn="on",
        n_ctx=2304,
        buffers_mib={**BUFFERS, "CPU KV": 50.6},
        invariants={"kv_bytes": 50 * 2**20, "greedy_output": [9]},
    )
    reference = a_run(NEW, options={"flash_attn": "off"})
    names = {"flash_attn", "n_ctx", "CPU KV buffer", "kv_bytes", "greedy_output"}
    assert apart(asked, reference) == dict.fromkeys(names, "asked for")
    assert compare_sides(PairedRun(asked, reference)).verdict is Verdict.PASS


@pytest.mark.parametrize("change", [{"n_threads": 4}, {"chat_template": "none"}])
def test_what_does_not_follow_from_what_was_asked_for_is_drift(change: dict[str, Any]) -> None:
    (name,) = change
    assert apart(a_run(options={"flash_attn": "on"}, **change)) == {name: ""}


def test_tokens_follow_from_no_option() -> None:
    every = dict.fromkeys(_FOLLOWS, "x")
    assert apart(a_run(options=every, invariants={"token_ids": [7]}))["token_ids"] == ""


def test_one_release_with_other_build_settings_differs_as_asked() -> None:
    slower = replace(NEW, compiled_with="CPU : SSE3 = 1 | REPACK = 1 | OPENMP = 1", where="elsewhere")
    without = {name: size for name, size in BUFFERS.items() if name != "CPU_REPACK model"}
    found = apart(a_run(slower, buffers_mib=without, invariants={"greedy_output": [9]}), a_run())
    assert found == dict.fromkeys(
        ("compiled_with", "CPU_REPACK model buffer", "greedy_output"), "other build settings"
    )


def test_of_two_releases_the_features_are_told_and_what_else_differs_is_drift() -> None:
    slower = replace(NEW, compiled_with="CPU : SSE3 = 1 | REPACK = 1")
    assert apart(a_run(slower)) == {"compiled_with": "other build settings"}
    assert apart(a_run(slower, flash_attn="on"))["flash_attn"] == ""


def test_a_claim_knows_what_differs_beside_what_it_asked_for() -> None:
    than = a_run(options={"flash_attn": "off"})
    candidate = a_run(options={"flash_attn": "on"}, flash_attn="on")
    claim = Claim(SPEED, 0.2, than.subject)
    rule = rule_for("normal", 1)
    found = compare_alone(PairedRun(candidate, than), claim, rule)
    assert found.drift == Drift((Difference("flash_attn", "off", "on", "asked for"),))
    finding = Finding(
        Benchmark("t.py::a", TestKey("t", "a"), SUBJECT, Workload()), candidate, (), (), (found,)
    )
    assert Verdict.DRIFT not in verdicts(finding)
    assert notes(finding)[-1] == "same output; configuration differs: flash_attn off → on (asked for)"
    assert compare_alone(PairedRun(candidate, than), GATE, rule).drift is None


# ── rounding ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        ([3, 4, 9], Verdict.PASS),  # led by 0.9
        ([3, 9, 5], Verdict.DRIFT),  # by 1.1
        ([9, 4, 9], Verdict.PASS),  # by 1.0: what follows a token that may be another says nothing
        ([3, 4], Verdict.PASS),
        ([3, 4, 5, 6], Verdict.DRIFT),  # no lead is stored of what was not there
    ],
)
def test_a_greedy_token_that_hardly_led_may_be_another_and_one_that_led_clearly_may_not(
    now: list[Any], verdict: Verdict
) -> None:
    stored: dict[str, Any] = {"greedy_output": [3, 4, 5], "greedy_leads": [1.0, 1.1, 0.9]}
    invariants: dict[str, Any] = {"greedy_output": now, "greedy_leads": [1.2, 1.0, 0.1]}
    drift = compare(StoredInvariants(stored, Provenance()), invariants)
    assert drift.verdict is verdict
    assert [each.name for each in drift.differences] == ["greedy_output"]
    assert apart(a_run(invariants=invariants), a_run(OLD, invariants=stored)) == {
        "greedy_output": "rounding" if verdict is Verdict.PASS else ""
    }


def test_leads_alone_are_no_difference_and_without_them_nothing_is_excused() -> None:
    leads = StoredInvariants({"greedy_output": [3], "greedy_leads": [0.2]}, Provenance())
    assert compare(leads, {"greedy_output": [3], "greedy_leads": [0.3]}).differences == ()
    older = StoredInvariants({"greedy_output": [3]}, Provenance())
    assert compare(older, {"greedy_output": [4], "greedy_leads": [0.3]}).verdict is Verdict.DRIFT


def test_other_output_by_rounding_is_told() -> None:
    drift = Drift((Difference("greedy_output", [1], [2], "rounding"),))
    assert sentence(drift) == "other output (rounding); same configuration"


# ── the words ────────────────────────────────────────────────────────────────────────────────────

DIFFERENCES: dict[str, tuple[Difference, ...]] = {
    "nothing": (),
    "an option": (Difference("flash_attn", "off", "on"),),
    "output": (Difference("greedy_output", [1], [2]),),
    "tokens and output": (Difference("token_ids", [1], [2]), Difference("greedy_output", [1], [2])),
    "output, as asked for": (
        Difference("greedy_output", [1], [2], "asked for"),
        Difference("flash_attn", "off", "on", "asked for"),
        Difference("n_batch", 512, 256),
    ),
    "a buffer less": (Difference("CPU_REPACK model buffer", 60.19, None),),
    "a buffer more": (Difference("CPU_REPACK model buffer", None, 60.19),),
    "a larger buffer": (Difference("CPU KV buffer", 45.0, 50.63),),
    "a long value": (Difference("devices", "x" * 40, "y" * 40),),
    "features less": (Difference("compiled_with", ["AVX2", "FMA"], [], "other build settings"),),
    "features more": (Difference("compiled_with", [], ["AVX512"], "other build settings"),),
    "other features": (
        Difference("compiled_with", ["ARCHS = 500"], ["ARCHS = 520"], "other build settings"),
    ),
}


def test_the_words_are_those_of_the_golden_file() -> None:
    told = [f"{name}: {sentence(Drift(each))}" for name, each in DIFFERENCES.items()]
    told += [f"nothing to compare with: {sentence(Drift(reason='never recorded'))}", ""]
    told += ["drift alone, by a reference:", alone(Drift(DIFFERENCES["an option"])), ""]
    told += ["drift alone, by stored facts:", alone(Drift(DIFFERENCES["an option"], stored=STORED))]
    assert_golden(GOLDEN, "\n".join(told) + "\n")


def alone(drift: Drift) -> str:
    rule = rule_for("normal", 1)
    pair = PairedRun(a_run(), a_run(OLD))
    comparisons = () if drift.stored else (compare_alone(pair, GATE, rule),)
    benchmark = Benchmark("t.py::a", TestKey("t", "a"), SUBJECT, Workload())
    finding = Finding(benchmark, pair.candidate, comparisons=comparisons, drift=drift)
    assert failing(finding, {Verdict.DRIFT})
    assert not failing(finding, {Verdict.REGRESSED})
    assert worst(verdicts(finding)) is Verdict.DRIFT
    return explain(finding, {Verdict.DRIFT})


def test_facts_that_only_one_side_has_say_nothing_and_those_of_both_do() -> None:
    drift = compare(
        STORED, {"effective_options": {"flash_attn": "on", "vocabulary_type": "bpe"}, "weights_bytes": 1}
    )
    assert drift == Drift((Difference("flash_attn", "off", "on"),), stored=STORED, output=False)


def test_where_nothing_could_be_compared_there_is_no_verdict() -> None:
    assert Drift(reason="never recorded").verdict is None


@pytest.mark.parametrize(
    ("options", "difference", "stated"),
    [
        ({"flash_attn": "auto"}, Difference("flash_attn", "off", "on"), "flash_attn='off'"),
        ({"flash_attn": "on"}, Difference("flash_attn", "off", "on"), ""),
        ({}, Difference("freq_base", 1e4, 1e5), "rope_freq_base=10000.0"),
        ({"rope_freq_base": 1e4}, Difference("freq_base", 1e4, 1e5), ""),
        ({"load_mode": "auto"}, Difference("load_mode", "mmap", "none"), "load_mode='mmap'"),
        ({}, Difference("chat_template", "a", "b"), ""),
        ({"flash_attn": "auto"}, Difference("flash_attn", "off", "on", "asked for"), ""),
    ],
)
def test_only_an_option_that_was_left_open_can_be_stated(
    options: dict[str, Any], difference: Difference, stated: str
) -> None:
    step = next_step(Drift((difference,)), a_run(options=options), "t.py::a")
    said = f"state {stated} in llm_model, so that every build gets it; " if stated else ""
    assert step == f"next: {said}--llm-drift=warn judges the speed all the same"
