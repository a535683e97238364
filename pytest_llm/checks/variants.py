"""Variants of a test, each beside the first one."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.checks import comparison
from pytest_llm.checks.comparison import compare_runs
from pytest_llm.checks.findings import Finding, VariantFinding
from pytest_llm.checks.limits import judge_limits
from pytest_llm.checks.unmet import unmet_of
from pytest_llm.records import LoadOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.checks.family import Decisions
    from pytest_llm.records import Benchmark, PairedRun, Subject, VariantOutput

ONLY = "it is the only variant that runs: nothing to compare it with"


class MeasuredVariants(NamedTuple):
    """What was measured of all variants on one workload.

    Attributes:
        pairs: Each variant but the first, with the first.
        outputs: Of each but the first; none if they were not compared.
        note: Why outputs were not compared; "" if they were, or nothing asked.
    """

    pairs: tuple[PairedRun, ...]
    outputs: tuple[VariantOutput, ...] = ()
    note: str = ""


def judge_variant(
    benchmark: Benchmark, subjects: Sequence[Subject], found: MeasuredVariants, decisions: Decisions
) -> Finding:
    """Judge a variant by its limits, and compare it with the first one.

    Args:
        benchmark: What was asked; its subject is one of the variants.
        subjects: All variants, the first one first.
        found: What was measured of them.
        decisions: Those on all gates and claims that pairs answer, made together.
    """
    assert benchmark.variants is not None
    first, *labels = labels_of(subjects)
    place = subjects.index(benchmark.subject) - 1
    if place < 0:
        run, variant = found.pairs[0].reference, VariantFinding(first, note=found.note)
    else:
        pair = found.pairs[place]
        run = pair.candidate
        variant = VariantFinding(
            labels[place],
            first,
            tuple(compare_runs(pair, gate, decisions) for gate in benchmark.variants.gates),
            found.outputs[place] if found.outputs else None,
            found.note,
        )
    return Finding(
        benchmark,
        run,
        judgements=judge_limits(run, benchmark.limits),
        unmet=unmet_of(run, (), wants_device=benchmark.wants_device) if run.sessions else (),
        variant=variant,
    )


def labels_of(subjects: Sequence[Subject]) -> list[str]:
    """Return what tells each subject from the others: "model.gguf", "0.3.36 flash_attn=off"."""
    options = [
        each.name
        for each in fields(LoadOptions)
        if len({getattr(subject.load_options, each.name) for subject in subjects}) > 1
    ]
    models = len({each.model for each in subjects}) > 1
    builds = len({each.build for each in subjects}) > 1
    return [
        " ".join(
            [
                *([each.model] if models else []),
                *([str(each.build)] if builds else []),
                *(f"{name}={_written(getattr(each.load_options, name))}" for name in options),
            ]
        )
        for each in subjects
    ]


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def notes(variant: VariantFinding) -> list[str]:
    """Return what disturbed the comparison, or why there is none."""
    found = [variant.note] if variant.note else []
    for each in variant.comparisons:
        found += comparison.context(each)[1:]  # without the build
        found += [each.run.cut_off] if each.run.cut_off else []
    return list(dict.fromkeys(found))
