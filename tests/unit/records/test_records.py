"""Records travel as plain JSON and come back equal; what is not known is refused."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llm import records
from pytest_llm.checks import findings
from pytest_llm.records import metrics
from pytest_llm.records.generation import Greedy
from pytest_llm.records.serialization import DecodeError, decode, encode
from tests.bare import RUN

texts = st.text(max_size=12)
counts = st.integers(0, 2**53)
seconds = st.floats(0, 1e9)

models = st.builds(records.Model, *[texts] * 3, counts, *[texts] * 2, *[counts] * 7)
builds = st.builds(records.Build, *[texts] * 5, st.dictionaries(texts, texts, max_size=3))
build_settings = st.lists(texts, max_size=2).map(tuple)
references = st.one_of(
    st.builds(records.Installed, texts),
    st.builds(records.Release, texts, texts, build_settings),
    st.builds(records.Venv, texts, texts),
    st.builds(records.Library, texts, texts),
    st.builds(records.Commit, texts, texts, texts, build_settings),
    st.builds(records.Program, texts, texts),
)
load_options = st.builds(
    records.LoadOptions,
    n_ctx=counts,
    flash_attn=st.sampled_from(["auto", "on", "off"]),
    type_k=st.sampled_from(["f16", "q8_0"]),
    offload_kqv=st.booleans(),
    rope_freq_base=seconds,
)
subjects = st.builds(records.Subject, texts, references, load_options)
workloads = st.builds(records.Workload, *[counts] * 4)
known_metrics = st.sampled_from([*metrics.METRICS.values(), metrics.at_percentile("first_token_latency", 95)])
limits = st.builds(records.Limit, known_metrics, seconds)
series = st.builds(records.Series, st.lists(seconds, max_size=4).map(tuple), counts)
sessions = st.builds(records.Session, st.dictionaries(texts, series, max_size=3))
measurements = st.builds(
    records.Measurement, known_metrics, seconds, st.lists(seconds, max_size=3).map(tuple)
)
runs = st.builds(
    records.Run,
    subjects,
    workloads,
    models,
    builds,
    st.dictionaries(texts, st.one_of(counts, texts, st.booleans(), st.lists(counts, max_size=2)), max_size=3),
    st.lists(sessions, max_size=2).map(tuple),  # from which measurements follow
)
judgements = st.builds(
    findings.Judgement,
    st.sampled_from(records.Verdict),
    limits,
    st.one_of(st.none(), measurements),
    texts,
)
gates = st.builds(records.Gate, known_metrics, st.floats(0.01, 0.5))
stored_runs = st.builds(
    records.StoredRun, seconds, st.builds(records.Provenance, texts, texts, texts, texts), texts
)
baseline_checks = st.builds(
    findings.BaselineCheck,
    st.sampled_from(records.Verdict),
    gates,
    st.one_of(st.none(), measurements),
    st.lists(stored_runs, max_size=2).map(tuple),
    st.none() | seconds,
    st.none() | seconds,
    st.none() | st.tuples(seconds, seconds),
    texts,
)
claims = st.builds(records.Claim, known_metrics, st.floats(0.01, 0.5), subjects)
places = st.lists(counts, max_size=2).map(tuple)
struck = st.builds(records.Struck, places, places)
turns = st.builds(records.Turns, st.text("01", max_size=3), st.dictionaries(texts, struck, max_size=1))
paired_runs = st.builds(
    records.PairedRun,
    runs,
    runs,
    st.lists(st.dictionaries(texts, turns, max_size=1), max_size=2).map(tuple),
    st.booleans(),
    texts,
)
comparisons = st.builds(
    findings.Comparison,
    st.sampled_from(records.Verdict),
    gates | claims,
    paired_runs,
    st.none() | measurements,
    st.none() | measurements,
    st.lists(seconds, max_size=2).map(tuple),
    st.none() | st.lists(seconds, max_size=2).map(tuple),
    counts,
    st.sampled_from(["typical", "whole"]),
    st.none() | seconds,
    st.none() | st.tuples(seconds, seconds),
    st.none() | seconds,
    st.none() | seconds,
    st.none() | seconds,
    st.none() | seconds,
    st.none() | seconds,
    texts,
)
plain = st.one_of(st.none(), texts, counts, st.lists(counts, max_size=2))
drifts = st.builds(
    findings.Drift,
    st.lists(st.builds(findings.Difference, texts, plain, plain), max_size=2).map(tuple),
    texts,
)
divergences = st.builds(
    records.Divergence,
    counts,
    seconds,
    seconds,
    seconds,
    counts,
    seconds,
    seconds,
    st.builds(records.Furthest, counts, counts, seconds, seconds),
    st.none() | seconds,
)
variants = st.lists(st.builds(records.Variant, texts, seconds, seconds, seconds), max_size=2).map(tuple)
contrasts = st.builds(records.Contrast, texts, divergences, variants, seconds)
provenances = st.builds(records.Provenance, texts, texts, texts, texts)
snapshots = st.builds(
    records.OutputSnapshot,
    texts,
    texts,
    counts,
    counts,
    texts,
    st.dictionaries(texts, texts, max_size=2),
    texts,
    st.builds(Greedy, st.lists(counts, max_size=2).map(tuple), st.lists(seconds, max_size=2).map(tuple)),
    st.booleans(),
    st.lists(
        st.builds(records.LogprobSample, texts, st.lists(texts, max_size=2).map(tuple), variants), max_size=2
    ).map(tuple),
)
output_gates = st.builds(
    records.OutputGate, st.lists(texts, max_size=2).map(tuple), counts, st.none() | seconds
)
outputs = st.builds(
    findings.OutputJudgement,
    st.sampled_from(records.Verdict),
    output_gates,
    st.none()
    | st.builds(
        records.OutputComparison,
        counts,
        st.none() | builds,
        st.none() | provenances,
        texts,
        st.booleans(),
        texts,
        st.booleans(),
        counts,
        counts,
        st.lists(contrasts, max_size=2).map(tuple),
        texts,
        st.lists(texts, max_size=2).map(tuple),
        st.booleans(),
        st.lists(texts, max_size=2).map(tuple),
        st.none()
        | st.builds(
            records.GreedyDifference, counts, st.none() | counts, st.none() | counts, st.none() | seconds
        ),
        st.booleans(),
    ),
    st.lists(texts, max_size=2).map(tuple),
    st.none() | snapshots,
    st.none() | st.builds(records.StoredSnapshot, snapshots, provenances),
)
keys = st.builds(records.TestKey, texts, texts, texts)
benchmarks = st.builds(
    records.Benchmark,
    texts,
    keys,
    subjects,
    workloads,
    st.lists(limits, max_size=2).map(tuple),
    st.lists(gates, max_size=2).map(tuple),
    st.lists(claims, max_size=2).map(tuple),
    st.none() | output_gates,
)
whole_findings = st.builds(
    findings.Finding,
    benchmarks,
    st.one_of(st.none(), runs),
    st.lists(judgements, max_size=2).map(tuple),
    st.lists(baseline_checks, max_size=2).map(tuple),
    st.lists(comparisons, max_size=1).map(tuple),
    st.none() | drifts,
    texts,
    texts,
    st.booleans(),
    st.none() | outputs,
)


@settings(deadline=None)  # the first conversion of a class compiles its converter
@given(
    st.one_of(
        whole_findings, runs, stored_runs, measurements, benchmarks, judgements, sessions, models, builds
    )
)
def test_a_record_survives_json(record: Any) -> None:
    assert decode(type(record), json.loads(json.dumps(encode(record)))) == record


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tokens": "many"}, "tokens"),
        ({"values": None}, "values"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_value_that_is_not_the_record_is_refused(change: dict[str, Any], reason: str) -> None:
    value = {**encode(records.Series((1.0,), 4)), **change}
    with pytest.raises(DecodeError, match=reason):
        decode(records.Series, value)


def test_a_missing_field_is_refused() -> None:
    with pytest.raises(DecodeError, match="values"):
        decode(records.Series, {"tokens": 4})


def test_an_unknown_metric_is_refused_by_name() -> None:
    with pytest.raises(DecodeError, match="tokens_per_fortnight"):
        decode(records.Limit, {"metric": "tokens_per_fortnight", "bound": 1.0})


def a_run() -> records.Run:
    speed = metrics.METRICS["generation_tokens_per_second"]
    return replace(RUN, measurements={speed.name: records.Measurement(speed, 118.2, (118.2,))})


def test_a_metric_is_an_attribute_of_its_run() -> None:
    assert a_run().generation_tokens_per_second.value == 118.2


def test_runs_are_short_where_pytest_shows_them() -> None:
    run, name = a_run(), "generation_tokens_per_second"
    assert repr(run.generation_tokens_per_second) == f"<{name}: 118.2 tok/s>"
    shown = f"<Run of m on {run.build.release}: {run.workload}; 0 sessions; {name} 118.2 tok/s>"
    assert repr(run) == shown
    assert repr(records.PairedRun(run, run)) == f"<PairedRun of {shown} and {shown}>"


def test_a_mistyped_metric_names_the_nearest() -> None:
    with pytest.raises(AttributeError, match="generation_tokens_per_second"):
        _ = a_run().generation_token_per_second


def test_a_run_can_be_copied_and_pickled() -> None:
    run = a_run()
    assert copy.deepcopy(run) == run
    assert pickle.loads(pickle.dumps(run)) == run


def test_records_are_frozen() -> None:
    with pytest.raises(AttributeError):
        a_run().workload = records.Workload(1)  # type: ignore[misc]
    assert replace(records.Workload(), depth=5).depth == 5
