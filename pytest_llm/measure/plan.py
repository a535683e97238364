"""From what markers declare to a plan: subjects, workloads, sessions, all known before anything loads."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, fields, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from pytest_llm.errors import ContextTooSmallError, UnknownNameError, UsageError
from pytest_llm.records import (
    MAX_FILLED_TOKENS,
    Campaign,
    Captures,
    LoadOptions,
    Plan,
    Question,
    Subject,
    Workload,
)
from pytest_llm.stats.sequential import rule_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_llm.records import Benchmark, Claim, Gate

SESSIONS: Mapping[str, int] = {"quick": 3, "normal": 5, "thorough": 10}

# llama.cpp keeps the KV cache in multiples of this.
_CONTEXT_STEP = 256
# What starting and loading take, and what the budgets of `campaign` add up to with the rehearsal.
_SESSION_SECONDS = 1.5
_WORKLOAD_SECONDS = 6.0
# Of the prompt that outputs are compared on, with what else there is of it.
_CAPTURE_TOKENS = 1536
_TOKEN_SECONDS = 0.01
# A process, a rehearsal, and the tokens of `campaign.leaks`.
_LEAK_SECONDS = 9.0
# With a reference: both, its variants, and both once more with each copy that rounds less, and its variants.
# Alone: the same of the subject and of one copy, where they are recorded.
_CAPTURES_PAIRED, _CAPTURES_RECORDING, _CAPTURES_STORED = 15, 8, 2
# The least value of load options that are numbers, where it is not 1.
_LEAST = {"n_gpu_layers": -1, "main_gpu": 0}
_LEAST_WORK = {"prompt_tokens": 1, "generate_tokens": 1, "depth": 0, "parallel": 1}


@dataclass(frozen=True)
class Choice:
    """One combination of what lists in markers offer.

    Attributes:
        label: What tells it from the others, for the test's id; "" where there is only one.
        model: Name or path.
        load_options: As declared.
        workload: As declared.
    """

    label: str
    model: str
    load_options: Mapping[str, object]
    workload: Mapping[str, object]


def choices(
    models: Sequence[str], load_options: Mapping[str, object], workload: Mapping[str, object]
) -> list[Choice]:
    """Combine every list among the values; a value that is no list is in every combination."""
    axes = [[_Value("model", "", model, label) for model, label in zip(models, _short(models), strict=True)]]
    for kind, values in (("load", load_options), ("work", workload)):
        for name, value in values.items():
            axes.append([_Value(kind, name, each, f"{name}={each}") for each in _listed(value)])
    return [_choice(axes, combination) for combination in itertools.product(*axes)]


class _Value(NamedTuple):
    kind: str
    name: str
    value: object
    label: str


def _choice(axes: Sequence[Sequence[_Value]], combination: Sequence[_Value]) -> Choice:
    named: dict[str, dict[str, object]] = {"model": {}, "load": {}, "work": {}}
    for each in combination:
        named[each.kind][each.name] = each.value
    labels = [each.label for axis, each in zip(axes, combination, strict=True) if len(axis) > 1]
    return Choice("-".join(labels), str(named["model"][""]), named["load"], named["work"])


def _short(models: Sequence[str]) -> Sequence[str]:
    """Return the names of files without folder and suffix, or the whole names where those clash."""
    stems = [PurePath(model).stem if model.endswith(".gguf") else model for model in models]
    return stems if len(set(stems)) == len(stems) else models


def _listed(value: object) -> Sequence[object]:
    if not isinstance(value, (list, tuple)):
        return [value]
    if not value:
        raise UsageError("a list of parameters is empty; give at least one value")
    return value


def read_workload(values: Mapping[str, object]) -> Workload:
    """Check the values of ``llm_workload``.

    Raises:
        UnknownNameError: A value has a name that no workload has.
        UsageError: A value is not a whole number, or too small.
    """
    known = [each.name for each in fields(Workload)]
    for name, value in values.items():
        if name not in known:
            raise UnknownNameError("argument of llm_workload", name, known)
        _check_number(f"llm_workload: {name}", value, int, _LEAST_WORK[name])
    return Workload(**values)  # type: ignore[arg-type]


def read_load_options(
    values: Mapping[str, object], defaults: LoadOptions, marker: str = "llm_model"
) -> LoadOptions:
    """Check load options and lay them over the defaults.

    Args:
        values: As declared.
        defaults: What holds where nothing is declared.
        marker: Where they were declared.

    Raises:
        UnknownNameError: llama.cpp has no load option of that name, or we do not know it.
        UsageError: A value is of the wrong kind, or out of range.
    """
    kinds = _kinds()
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in kinds:
            raise UnknownNameError("load option", name, kinds)
        checked[name] = _load_option(f"{marker}: {name}", value, kinds[name])
    if "n_threads" in checked:
        checked.setdefault("n_threads_batch", checked["n_threads"])
    return replace(defaults, **checked)


@functools.lru_cache(maxsize=1)
def _kinds() -> dict[str, Any]:
    return get_type_hints(LoadOptions)


def _load_option(what: str, value: object, kind: Any) -> object:
    name = what.rpartition(" ")[2]
    if get_origin(kind) is Literal:
        if name == "flash_attn" and isinstance(value, bool):
            return "on" if value else "off"
        if value not in get_args(kind):
            raise UsageError(f"{what}={value!r} is not one of {', '.join(get_args(kind))}")
    elif kind is bool:
        if not isinstance(value, bool):
            raise UsageError(f"{what}={value!r} is neither True nor False")
    else:
        _check_number(what, value, kind, 0 if kind is float else _LEAST.get(name, 1))
    return value


def _check_number(what: str, value: object, kind: type, least: int) -> None:
    if isinstance(value, (list, tuple)):
        raise UsageError(f"{what}={value!r}: lists make parameters only where a test is defined")
    allowed = (int, float) if kind is float else int
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise UsageError(f"{what}={value!r} is not a {'whole ' if kind is int else ''}number")
    if not value >= least:  # nan is not, either
        raise UsageError(f"{what}={value!r} is less than {least}")


def fitted(load_options: LoadOptions, workload: Workload) -> LoadOptions:
    """Make room for parallel sequences, and check that the context holds the workload.

    Raises:
        ContextTooSmallError: It does not.
    """
    options = replace(load_options, n_seq_max=max(load_options.n_seq_max, workload.parallel))
    sequences = workload.parallel if options.kv_unified else options.n_seq_max
    needed = workload.tokens_per_sequence() * sequences
    if needed <= options.n_ctx:
        return options
    enough = -(-needed // _CONTEXT_STEP) * _CONTEXT_STEP
    times = f" times {sequences} sequences" if sequences > 1 else ""
    raise ContextTooSmallError(
        f"the context is too small: depth {workload.depth} + {workload.prompt_tokens} prompt tokens + "
        f"{workload.generate_tokens} generated{times} = {needed} tokens, n_ctx={options.n_ctx}: "
        f"raise n_ctx to {enough} in llm_model"
    )


def alone(_: Subject) -> None:
    """Return the reference of a subject where nothing is compared: none."""


def make_plan(
    benchmarks: Sequence[Benchmark],
    effort: str,
    reference_of: Callable[[Subject], Subject | None] = alone,
    *,
    records_output: bool = False,
) -> Plan:
    """Group benchmarks by subject, in the order in which the subjects first appear.

    Args:
        benchmarks: In the order of the tests.
        effort: "quick", "normal" or "thorough".
        reference_of: What a subject is compared with now; None where it is measured alone.
        records_output: Whether output is captured even if none is stored.
    """
    family = _family(benchmarks)
    sessions = {True: rule_for(effort, family).looks[-1], False: SESSIONS[effort]}
    workloads: dict[tuple[Subject, Subject | None], dict[Workload, list[Gate | Claim]]] = {}
    for benchmark in benchmarks:
        reference = reference_of(benchmark.subject)
        asked = workloads.setdefault((benchmark.subject, reference), {}).setdefault(benchmark.workload, [])
        asked += [gate for gate in benchmark.gates if reference is not None]
        for claim in benchmark.claims:
            pair = workloads.setdefault((benchmark.subject, claim.than), {})
            pair.setdefault(benchmark.workload, []).append(claim)
    order: dict[Subject, int] = {}
    for subject, _ in workloads:
        order.setdefault(subject, len(order))
    return Plan(
        tuple(sorted(benchmarks, key=lambda benchmark: order[benchmark.subject])),
        tuple(
            Campaign(
                subject,
                tuple(found),
                sessions[reference is not None],
                reference,
                _questions(found),
                _leaks(benchmarks, subject, reference, reference_of),
            )
            for (subject, reference), found in workloads.items()
        ),
        family,
        _captures(benchmarks, reference_of, records_output),
    )


def _captures(
    benchmarks: Sequence[Benchmark], reference_of: Callable[[Subject], Subject | None], records: bool
) -> tuple[Captures, ...]:
    """Return the captures of outputs; tests with the same gate share them."""
    found: dict[object, Captures] = {}
    for each in benchmarks:
        if each.output is None:
            continue
        reference, options = reference_of(each.subject), each.subject.load_options
        room = options.n_ctx if options.kv_unified else options.n_ctx // options.n_seq_max
        least = 1 if reference is None else 2
        most = (
            _CAPTURES_PAIRED
            if reference is not None
            else _CAPTURES_RECORDING
            if records
            else _CAPTURES_STORED
        )
        key = (each.subject, each.output, each.workload.parallel)
        found[key] = Captures(
            each.subject,
            reference,
            least,
            least if each.output.max_kl is not None else most,
            min(room, _CAPTURE_TOKENS) + min(room, MAX_FILLED_TOKENS),
        )
    return tuple(found.values())


def _leaks(
    benchmarks: Sequence[Benchmark],
    subject: Subject,
    reference: Subject | None,
    reference_of: Callable[[Subject], Subject | None],
) -> tuple[Workload, ...]:
    """Return the workloads of a campaign on which a limit is set to what leaks."""
    found = [
        each.workload
        for each in benchmarks
        if each.subject == subject
        and reference_of(subject) == reference
        and any(limit.metric.slope for limit in each.limits)
    ]
    return tuple(dict.fromkeys(found))


def _questions(found: Mapping[Workload, Sequence[Gate | Claim]]) -> tuple[Question, ...]:
    questions: list[Question] = []
    for workload, asked in found.items():
        new = [Question(workload, each) for each in asked]
        questions += [each for index, each in enumerate(new) if each not in new[:index]]
    return tuple(questions)


def _family(benchmarks: Sequence[Benchmark]) -> int:
    """Return how many verdicts share the error rate: the distinct metrics gated or claimed, at least 1."""
    asked: set[tuple[object, ...]] = set()
    for each in benchmarks:
        asked |= {(each.subject, None, each.workload, gate.metric.name) for gate in each.gates}
        asked |= {(each.subject, claim.than, each.workload, claim.metric.name) for claim in each.claims}
    return max(1, len(asked))


def estimate(plan: Plan) -> float:
    """Return about how many seconds measuring takes where a token costs no more than 10 ms."""
    measuring = sum(
        # Most pairs need half their sessions, and each has two subjects.
        campaign.sessions * (_SESSION_SECONDS + _WORKLOAD_SECONDS * len(campaign.workloads))
        for campaign in plan.campaigns
    )
    measuring += sum(_LEAK_SECONDS * len(campaign.leaks) for campaign in plan.campaigns)
    # Alone it takes as many as it may; a pair is mostly the same.
    captures = ((each.most if each.reference is None else each.least, each.tokens) for each in plan.captures)
    return measuring + sum(count * (_SESSION_SECONDS + _TOKEN_SECONDS * tokens) for count, tokens in captures)
