"""Variants side by side: what each measures, how it differs from the first, and that in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.checks.comparison import compare_runs
from pytest_llm.checks.coverage import measured
from pytest_llm.checks.format import percent
from pytest_llm.records import Gate, Verdict
from pytest_llm.records.metrics import METRICS
from pytest_llm.records.units import BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_llm.checks.family import Decisions
    from pytest_llm.checks.findings import Comparison
    from pytest_llm.records import Measurement, PairedRun, Run, Workload

SPEEDS = {"prompt": "prompt_tokens_per_second", "generation": "generation_tokens_per_second"}
MEMORY = {"RAM": "peak_ram", "VRAM": "peak_vram"}
_SAME_MEMORY = 0.01  # a share: one build differs from itself by less
_MIB = 2**20


class Speed(NamedTuple):
    """A speed of a variant on a workload; the comparison is None of the first one."""

    name: str
    measurement: Measurement | None
    comparison: Comparison | None


class Row(NamedTuple):
    """A variant on a workload.

    Attributes:
        label: What tells it from the others.
        workload: The work.
        speeds: Of the prompt and of generation.
        memory: Peaks, by "RAM" and "VRAM", in bytes.
        problem: Why there is nothing; "" if there is something.
    """

    label: str
    workload: Workload
    speeds: tuple[Speed, ...] = ()
    memory: Mapping[str, float] = {}
    problem: str = ""


def rows_of(
    labels: Sequence[str],
    workload: Workload,
    pairs: Sequence[PairedRun],
    gates: Sequence[Gate],
    decided: Decisions,
) -> list[Row]:
    """Return the rows of a workload, the first variant's first.

    Args:
        labels: Of all variants, the first one's first.
        workload: The work.
        pairs: The other ones, each with the first.
        gates: What was asked of each pair.
        decided: The decisions on them.
    """
    first, *others = labels
    found = [_row(first, workload, pairs[0].reference, {})]
    for label, pair in zip(others, pairs, strict=True):
        compared = {gate.metric.name: compare_runs(pair, gate, decided) for gate in gates}
        found.append(_row(label, workload, pair.candidate, compared))
    return found


def _row(label: str, workload: Workload, run: Run, compared: Mapping[str, Comparison]) -> Row:
    speeds = tuple(
        Speed(name, measured(run, METRICS[metric]), compared.get(metric)) for name, metric in SPEEDS.items()
    )
    memory = {
        name: found.value
        for name, metric in MEMORY.items()
        if (found := measured(run, METRICS[metric])) is not None
    }
    return Row(label, workload, speeds, memory, run.uncovered)


def sentences(rows: Sequence[Row], outputs: Mapping[str, str]) -> list[str]:
    """Return what a person wanted to know of each variant but the first.

    Args:
        rows: Of all workloads, the first variant's first.
        outputs: What is told of the output of a variant, by its label.
    """
    first = rows[0].label
    labels = list(dict.fromkeys(row.label for row in rows if row.label != first))
    return [_sentence(label, rows, first, outputs.get(label, "")) for label in labels]


def _sentence(label: str, rows: Sequence[Row], first: str, output: str) -> str:
    own = [row for row in rows if row.label == label]
    problems = [row.problem for row in own if row.problem]
    if problems:
        return f"{label} against {first}: not measured: {problems[0]}"
    several = len({row.workload.depth for row in rows}) > 1
    parts = [part for name in SPEEDS for part in _speed(name, own, several=several)]
    base = {row.workload: row for row in rows if row.label == first}
    parts += _memory(own[0], base[own[0].workload])
    return f"{label} against {first}: {'; '.join([*parts, *([output] if output else [])])}"


def _speed(name: str, own: Sequence[Row], *, several: bool) -> Iterator[str]:
    told: dict[str, list[str]] = {}
    for row in own:
        (speed,) = (each for each in row.speeds if each.name == name)
        if speed.comparison is not None:
            depth = f"{row.workload.depth:,}"
            told.setdefault(word(speed.comparison), []).append(depth)
    if told:
        each = [f"{what} at depth {' and '.join(at)}" if several else what for what, at in told.items()]
        yield f"{name} {', '.join(each)}"


def word(comparison: Comparison) -> str:
    """Return how a speed compares: "12 % faster", "equal", "undecided"."""
    change, interval = comparison.change, comparison.interval
    if change is None or comparison.verdict in (Verdict.NOT_COVERED, Verdict.NOT_JUDGED):
        return "not covered"
    size = f"{percent(abs(change)).lstrip('+')} {'faster' if change > 0 else 'slower'}"
    if comparison.verdict in (Verdict.REGRESSED, Verdict.IMPROVED):
        return size
    tolerance = comparison.asked.tolerance if isinstance(comparison.asked, Gate) else 0.0
    if interval is None:
        return "undecided"
    low, high = interval
    if -tolerance <= low and high <= tolerance:
        return "equal"
    if low > 0 or high < 0:
        return size
    return "undecided"


def _memory(own: Row, base: Row) -> Iterator[str]:
    for name, value in own.memory.items():
        before = base.memory.get(name)
        if before is None or abs(value - before) <= _SAME_MEMORY * before:
            continue
        which = "more" if value > before else "less"
        yield f"{BYTES.format(abs(value - before), 3)} {which} {name}"
