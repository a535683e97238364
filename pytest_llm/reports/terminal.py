"""The summary at the end of pytest's output: a table of what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llm.checks.format import counted
from pytest_llm.records import Verdict, metrics
from pytest_llm.records.units import BYTES
from pytest_llm.reports.heading import heading
from pytest_llm.reports.table import aligned, titles_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.reports.document import Results, TestEntry
    from pytest_llm.reports.verdict_entries import DriftEntry

# What a reader wants at a glance; the results file has the rest.
_COLUMNS = {
    "prompt_tokens_per_second": "prompt tok/s",
    "generation_tokens_per_second": "generation tok/s",
    "embedding_tokens_per_second": "embedding tok/s",
    "first_token_latency": "first token",
    "inter_token_latency_p50": "inter-token p50",
    "load_time": "load",
    "peak_vram": "peak VRAM",
    "peak_ram": "peak RAM",
}
# Columns that most machines have nothing for.
_IF_MEASURED = {"embedding_tokens_per_second", "peak_vram"}


_FOOTPRINTS = {"weights": "weights", "kv": "KV cache", "recurrent": "recurrent state"}
_PLACES = {"host": "", "device": " on the device"}


def render(files: Sequence[Results]) -> str:
    """Return the summaries of results files as one text."""
    return "\n\n".join("\n".join(summary(each)) for each in files)


def summary(results: Results) -> list[str]:
    """Return the lines of the summary: the candidate, the machine, one row a test, what was not covered."""
    tests = [test for test in results.tests if test.metrics or test.output]
    names = [name for name in _COLUMNS if name not in _IF_MEASURED or _has(tests, name)]
    titles = titles_of([test.nodeid for test in tests])
    heads = ["", *(_COLUMNS[name] for name in names), ""]
    rows = [heads, *([titles[test.nodeid], *_cells(test, names), _verdict(test)] for test in tests)]
    return [
        *heading(results),
        *(aligned(rows) if tests else []),
        *(f"{titles[test.nodeid]}: {note}" for test in tests for note in test.notes),
        *dict.fromkeys(line for test in tests for line in _footprint(test)),
        *(f"not covered: {each.nodeid}: {each.reason}" for each in results.not_covered),
    ]


def _has(tests: Sequence[TestEntry], name: str) -> bool:
    return any(name in test.metrics for test in tests)


def _cells(test: TestEntry, names: Sequence[str]) -> list[str]:
    return [_cell(test, name) for name in names]


def _cell(test: TestEntry, name: str) -> str:
    if name not in test.metrics:
        return "-"
    text = metrics.METRICS[name].unit.format(test.metrics[name].value, 4)
    return text.removesuffix(" tok/s")


def _verdict(test: TestEntry) -> str:
    verdicts = [*_output(test), *_limits(test), *_gates(test), *_unmet(test)] or ["measured"]
    return ", ".join(verdicts if test.outcome else [*verdicts, "the test did not end"])


def _output(test: TestEntry) -> list[str]:
    if test.output is None:
        return []
    verdict, compared = test.output.verdict, test.output.comparison
    if verdict is Verdict.PASS:
        return ["same output" if compared is not None and compared.same else "output within tolerance"]
    return [verdict.value if verdict is Verdict.WRONG_OUTPUT else f"output: {verdict.value}"]


def _limits(test: TestEntry) -> list[str]:
    verdicts = [metric.limit.verdict for metric in test.metrics.values() if metric.limit]
    over = sum(each is not Verdict.PASS for each in verdicts)
    if over:
        return [f"{over} of {len(verdicts)} limits exceeded"]
    return [f"{counted(len(verdicts), 'limit')} kept"] if verdicts else []


def _gates(test: TestEntry) -> list[str]:
    verdicts = [
        part.verdict
        for metric in test.metrics.values()
        for part in (metric.standing_baseline, metric.comparison, metric.claim)
        if part is not None
    ]
    if not verdicts:
        return []
    verdicts += [drift.verdict for drift in _drifts(test) if drift.verdict is not None]
    worst = next(each for each in Verdict if each in verdicts)
    return ["no regression" if worst is Verdict.PASS else worst.value]


def _unmet(test: TestEntry) -> list[str]:
    count = sum(not each.expected for each in test.unmet)
    return [f"{counted(count, 'load option')} not in effect"] if count else []


def _drifts(test: TestEntry) -> list[DriftEntry]:
    claims = [metric.claim for metric in test.metrics.values() if metric.claim]
    return [*([test.drift] if test.drift else []), *(claim.drift for claim in claims)]


def _footprint(test: TestEntry) -> list[str]:
    """Return a line with the bytes that were predicted beside those that llama.cpp logged."""
    memory: Mapping[str, Any] = test.memory or {}
    parts = [
        f"{title}{where} {BYTES.format(each['logged'][place])} "
        f"(predicted {BYTES.format(each['predicted'][place])})"
        for name, title in _FOOTPRINTS.items()
        for each in (memory.get(name),)
        if each and each["logged"] and each["predicted"]
        for place, where in _PLACES.items()
        if each["logged"][place] or each["predicted"][place]
    ]
    if not parts or test.model is None:
        return []
    return [f"memory of {test.model.name}, n_ctx={test.load_options.n_ctx}: {', '.join(parts)}"]
