"""Drift: invariants of a subject against stored ones or those of a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.baselines.records import THREADS_AT_WORK, environment_of
from pytest_llm.checks.expected_differences import BUFFERS, expected, features_apart
from pytest_llm.checks.findings import Difference, Drift
from pytest_llm.records.effective_options import normalize
from pytest_llm.stats.repetition import first_difference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_llm.records import JSON, PairedRun, Run, StoredInvariants

# The invariant that holds the effective options, listed one by one; and those that are output.
_OPTIONS = "effective_options"
_GREEDY, _LEADS = "greedy_output", "greedy_leads"
OUTPUT = {"token_ids": "other token ids", "greedy_output": "other output"}
COMPILED_WITH = "compiled_with"
# Told, and never judged: nothing says by how little one word was likelier than another.
_TOLD = {"greedy_text": "not judged"}

# Every release builds another graph: its size is in the results, and says nothing of the configuration. The
# same holds for the buffers that it is computed in. What was predicted of memory follows from all the rest.
_NOT_COMPARED = {"graph_nodes", "memory", "locked_bytes"}
_BUFFERS = "buffers_mib"
_COMPARED_BUFFERS = ("model", "KV", "RS", "output")

_MIB = 2**20
# Sizes are written to 0.01 MiB, and each tensor of hundreds is rounded up to what its device aligns to, 128
# bytes at most: less than a tenth of a MiB, or, of a large model, than half a percent. The smallest change of
# a cache that anybody asks for is 256 tokens of it.
_SLACK_MIB = 0.1
_SLACK = 0.005

# By so many nats the lead of a likeliest token changed at most, over 1,516 positions of a small model in 4
# bits, under options that must not matter (docs/comparing.md). A token that led by less may be another one on
# another CPU, without anything being wrong; and so may what follows it.
NEAR_TIE = 1.0
ROUNDING = "rounding"

# Option -> the load option that states it, and the values with which it is left to llama.cpp.
_STATED: dict[str, tuple[str, tuple[JSON, ...]]] = {
    "flash_attn": ("flash_attn", ("auto",)),
    "load_mode": ("load_mode", ("auto",)),
    "freq_base": ("rope_freq_base", (0.0,)),
    "freq_scale": ("rope_freq_scale", (0.0,)),
}


def compare(
    stored: StoredInvariants, now: Mapping[str, JSON], environment: Mapping[str, JSON] | None = None
) -> Drift:
    """Compare the invariants that both sides have, and the environment if both have one."""
    reasons = {**_TOLD, **_rounded(stored.invariants, now)}
    differences = list(_differences(stored.invariants, now, reasons))
    if stored.environment is not None and environment is not None:
        differences += _environments_apart(stored.environment, environment, {})
    return Drift(tuple(differences), stored=stored, output=has_output(stored.invariants, now))


def compare_sides(run: PairedRun) -> Drift:
    """Compare the invariants of both sides of a pair; differences that were asked for are no drift."""
    theirs, ours = _shown(run.reference), _shown(run.candidate)
    reasons = {**_TOLD, **_rounded(theirs, ours), **expected(run)}
    lost, gained = features_apart(run.reference.build, run.candidate.build)
    features = [Difference(COMPILED_WITH, list(lost), list(gained), reasons[COMPILED_WITH])]
    differences = (
        *_differences(theirs, ours, reasons),
        *_environments_apart(environment_of(run.reference), environment_of(run.candidate), reasons),
        *(features if lost or gained else ()),
    )
    return Drift(differences, output=has_output(theirs, ours))


def _environments_apart(
    before: Mapping[str, JSON], now: Mapping[str, JSON], reasons: Mapping[str, str]
) -> Iterator[Difference]:
    for name in sorted({*before, *now}):
        # Not every engine tells of threads.
        told = name != THREADS_AT_WORK or (name in before and name in now)
        if told and before.get(name) != now.get(name):
            yield Difference(name, before.get(name), now.get(name), reasons.get(name, ""))


def _shown(run: Run) -> dict[str, JSON]:
    options = {**run.effective_options, **_mapping(run.invariants.get(_OPTIONS))}
    options.pop(THREADS_AT_WORK, None)  # part of the environment
    return {
        **run.invariants,
        _OPTIONS: {name: options[name] for name in options.keys() - run.invariants.keys()},
    }


def has_output(*shown: Mapping[str, JSON]) -> bool:
    """Whether what the model says is among what all of these show."""
    return any(all(name in each for each in shown) for name in OUTPUT)


def _differences(
    before: Mapping[str, JSON], now: Mapping[str, JSON], reasons: Mapping[str, str]
) -> Iterator[Difference]:
    for name in sorted((before.keys() & now.keys()) - {_LEADS}):  # which no two CPUs agree on
        for part, first, second in _apart(name, before[name], now[name]):
            if not _same(part, first, second):
                yield Difference(part, first, second, reasons.get(_kind(part), ""))


def _rounded(before: Mapping[str, JSON], now: Mapping[str, JSON]) -> dict[str, str]:
    """Excuse a different greedy output if its first different token was a near tie."""
    first, second, leads = before.get(_GREEDY), now.get(_GREEDY), before.get(_LEADS)
    if not (isinstance(first, list) and isinstance(second, list) and isinstance(leads, list)):
        return {}
    at = first_difference(first, second)
    lead = leads[at] if at is not None and at < len(leads) else None
    return {_GREEDY: ROUNDING} if isinstance(lead, (int, float)) and lead <= NEAR_TIE else {}


def _apart(name: str, before: JSON, now: JSON) -> Iterator[tuple[str, JSON, JSON]]:
    if name != _OPTIONS:
        yield name, before, now
        return
    first, second = normalize(_mapping(before)), normalize(_mapping(now))
    for option in sorted((first.keys() & second.keys()) - _NOT_COMPARED - {_BUFFERS}):
        yield option, first[option], second[option]
    yield from _buffers_apart(_mapping(first.get(_BUFFERS)), _mapping(second.get(_BUFFERS)))


def _buffers_apart(before: Mapping[str, JSON], now: Mapping[str, JSON]) -> Iterator[tuple[str, JSON, JSON]]:
    for kind in _COMPARED_BUFFERS:
        first, second = ({name for name in each if name.endswith(f" {kind}")} for each in (before, now))
        if first and second:  # otherwise a release does not tell of this kind
            for name in sorted(first | second):
                yield f"{name} buffer", before.get(name), now.get(name)


def _mapping(value: JSON) -> dict[str, JSON]:
    return dict(value) if isinstance(value, dict) else {}


def _kind(name: str) -> str:
    return BUFFERS if name.endswith(" buffer") else name


def _same(name: str, before: JSON, now: JSON) -> bool:
    if before == now:
        return True
    unit = _MIB if name == "kv_bytes" else 1 if _kind(name) == BUFFERS else None
    if unit is None or not isinstance(before, (int, float)) or not isinstance(now, (int, float)):
        return False
    return abs(now - before) <= max(_SLACK_MIB * unit, _SLACK * abs(before))


def sentence(drift: Drift) -> str:
    """Return one line on output and configuration."""
    if drift.reason:
        return f"output and configuration not compared: {drift.reason}"
    outputs = [f"{OUTPUT[each.name]}{_why(each)}" for each in drift.differences if each.name in OUTPUT]
    others = [_text(each) for each in drift.differences if each.name not in OUTPUT]
    configuration = f"configuration differs: {', '.join(others)}" if others else "same configuration"
    same = "same output" if drift.output else "output not compared"
    return f"{', '.join(outputs) or same}; {configuration}"


def _text(difference: Difference) -> str:
    name, values = difference.name, (difference.before, difference.now)
    if name == COMPILED_WITH:
        return _features_text(*(each if isinstance(each, list) else [] for each in values))
    before, now = (_size(each) if _kind(name) == BUFFERS else _value(each) for each in values)
    if len(before) + len(now) > 60:  # the results file has them
        return f"{name}{_why(difference)}"
    return f"{name} {before} → {now}{_why(difference)}"


def _features_text(lost: list[JSON], gained: list[JSON]) -> str:
    parts = [f"{', '.join(map(str, lost))} → without"] if lost else []
    parts += [f"without {', '.join(map(str, gained))} → with"] if gained else []
    return f"compiled with {'; '.join(parts)}" if lost else f"compiled {parts[0]}"


def _value(value: JSON) -> str:
    return "unset" if value is None else str(value)


def _size(mebibytes: JSON) -> str:
    return "none" if mebibytes is None else f"{mebibytes} MiB"


def _why(difference: Difference) -> str:
    return f" ({difference.expected})" if difference.expected else ""


def context(drift: Drift) -> list[str]:
    """Say where the invariants come from that a run was compared with."""
    if drift.stored is None or not drift.stored.invariants:
        return []
    source = drift.stored.provenance
    commit = f" (llama.cpp {source.llama_cpp_commit})" if source.llama_cpp_commit else ""
    when = f", recorded {source.recorded[:10]}" if source.recorded else ""
    return [f"invariants of {source.build or 'a build that was not written down'}{commit}{when}"]


def next_step(drift: Drift, run: Run, nodeid: str) -> str:
    """Say how a drift is undone where that is possible, and how it is accepted."""
    asked = run.subject.load_options
    stated = [
        f"{option}={each.before!r}"
        for each in drift.differences
        for option, left_open in (_STATED.get(each.name, ("", ())),)
        if not each.expected and option and getattr(asked, option) in left_open
    ]
    undone = f"state {', '.join(stated)} in llm_model, so that every build gets it; " if stated else ""
    if drift.stored is None:
        meant = "--llm-drift=warn judges the speed all the same"
    else:
        meant = f"if it is meant to be so: pytest {nodeid} --llm-bench --llm-update-baselines=replace"
    return f"next: {undone}{meant}"
