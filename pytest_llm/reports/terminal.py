"""The summary at the end of pytest's output: a table of what was measured, from the results alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llm.checks import NOT_QUALIFIED
from pytest_llm.records import Verdict, metrics
from pytest_llm.reports import memory
from pytest_llm.reports.table import aligned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What a reader wants at a glance; the results file has the rest.
_COLUMNS = {
    "prompt_tokens_per_second": "prompt tok/s",
    "generation_tokens_per_second": "generation tok/s",
    "first_token_latency": "first token",
    "inter_token_latency_p50": "inter-token p50",
    "load_time": "load",
    "peak_vram": "peak VRAM",
    "peak_ram": "peak RAM",
}
# Columns that most machines have nothing for.
_IF_MEASURED = {"peak_vram"}


def summary(results: Mapping[str, Any]) -> list[str]:
    """Return the lines of the summary: the candidate, the machine, one row a test, what was not covered."""
    measured = [test for test in results["tests"] if test["metrics"] or test.get("output")]
    names = [name for name in _COLUMNS if name not in _IF_MEASURED or _has(measured, name)]
    rows = [["", *(_COLUMNS[name] for name in names), ""], *(_row(test, names) for test in measured)]
    return [
        *_heading(results),
        *(aligned(rows) if measured else []),
        *(f"{_short(test)}: {note}" for test in measured for note in test["notes"]),
        *memory.lines(measured),
        *(f"not covered: {each['nodeid']}: {each['reason']}" for each in results["not_covered"]),
    ]


def _heading(results: Mapping[str, Any]) -> list[str]:
    build, machine = results["candidate"], results["machine"]
    lines = []
    if build is not None:
        lines.append(f"candidate {_build(build)}")
    if results["reference"] is not None:
        lines.append(f"reference {_build(results['reference'])}")
    lines.append(
        f"machine {machine['fingerprint']}: {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB"
    )
    if results["pairs"]:
        since = machine["qualified"]
        lines.append(f"this machine is qualified since {since}" if since else NOT_QUALIFIED)
    return lines


def _build(build: Mapping[str, Any]) -> str:
    commit = f" ({build['llama_cpp_commit']})" if build["llama_cpp_commit"] else ""
    return f"{build['engine']} {build['version']}{commit}"


def _has(tests: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(name in test["metrics"] for test in tests)


def _row(test: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [_short(test), *(_cell(test["metrics"], name) for name in names), _verdict(test)]


def _short(test: Mapping[str, Any]) -> str:
    name: str = test["nodeid"].rpartition("/")[2]
    return name


def _cell(found: Mapping[str, Any], name: str) -> str:
    if name not in found:
        return "-"
    text = metrics.METRICS[name].unit.format(found[name]["value"], 4)
    return text.removesuffix(" tok/s")


def _verdict(test: Mapping[str, Any]) -> str:
    told = [*_output(test), *_limits(test), *_gates(test)]
    return ", ".join(told) if told else "measured"


def _output(test: Mapping[str, Any]) -> list[str]:
    output = test.get("output")
    if output is None:
        return []
    said = output["verdict"]
    if said == Verdict.PASS.value:
        return ["same output" if output["comparison"]["same"] else "output within tolerance"]
    return [said if said == Verdict.WRONG_OUTPUT.value else f"output: {said}"]


def _limits(test: Mapping[str, Any]) -> list[str]:
    limits = [metric["limit"] for metric in test["metrics"].values() if metric["limit"]]
    over = [limit for limit in limits if limit["verdict"] != "pass"]
    if over:
        return [f"{len(over)} of {len(limits)} limits exceeded"]
    return [f"{len(limits)} limit{'s' if len(limits) != 1 else ''} kept"] if limits else []


def _gates(test: Mapping[str, Any]) -> list[str]:
    verdicts = [
        metric[part]["verdict"]
        for metric in test["metrics"].values()
        for part in ("baseline", "comparison", "claim")
        if metric[part]
    ]
    if not verdicts:
        return []
    verdicts += [drift["verdict"] for drift in _drifts(test)]
    worst = next(each.value for each in Verdict if each.value in verdicts)
    return ["no regression" if worst == Verdict.PASS.value else worst]


def _drifts(test: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    claims = [metric["claim"] for metric in test["metrics"].values()]
    found = [test["drift"], *(claim["drift"] for claim in claims if claim)]
    return [each for each in found if each]
