"""Text for an upstream issue, in Markdown."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from pytest_llm.bisect import interpret, report
from pytest_llm.checks.drift import sentence
from pytest_llm.checks.operators.explain import lines
from pytest_llm.records import LoadOptions, Workload
from pytest_llm.system.text import markdown, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.bisect.bisection import Bisected
    from pytest_llm.bisect.search import Stretch
    from pytest_llm.records import OperatorRun

_MACHINE_OWN = {"fingerprint", "qualified"}


def text(
    found: Bisected,
    step: Stretch,
    options: Sequence[str],
    command: Sequence[str],
    commits: Sequence[str] = (),
    operators: Sequence[OperatorRun] = (),
) -> list[str]:
    """Return the lines about one culprit; ``options`` are pytest's, ``command`` is the bisect's own."""
    compared = found.between(step.first, step.last)
    results = compared.results
    first, last = found.described[step.first], found.described[step.last]
    inside = report.passed_over(found, step)
    facts = [
        *commits,
        sentence(interpret.drift(results)),
        *([f"in between, not tested: {'; '.join(inside)}"] if inside else []),
        *(line for each in operators for line in lines(each)),
        *_work(results),
        f"machine: {_machine(results['machine'])}",
        *_compiled(found, step),
        f"measured with pytest-llm-bench {results['plugin_version']} on {results['started']}, both builds "
        f"interleaved in the same sessions; {report.error_rate(found)}",
    ]
    return [
        f"**{markdown(f'{_capital(report.summary(compared, found.target))}, from {first} to {last}.')}**",
        "",
        *(f"- {markdown(_capital(each))}." for each in facts),
        "",
        "To reproduce:",
        "",
        "```console",
        *_reproduce(found, step, options, command),
        "```",
        "",
        *_all(found),
    ]


def _work(results: Mapping[str, Any]) -> list[str]:
    test = results["tests"][0]
    model, work = test["model"], test["workload"]
    asked, usual = test["load_options"], vars(LoadOptions())
    options = [
        f"{name}={value}"
        for name, value in asked.items()
        if name in ("n_ctx", "n_threads") or value != usual[name]
    ]
    return [
        f"model {model['name']}: {model['architecture']}, {model['quantization']}, "
        f"{model['parameters'] / 1e6:.1f} M parameters, {model['file_bytes']} bytes, "
        f"SHA-256 {model['sha256']}",
        f"workload: {Workload(**work)}",
        f"load options: {', '.join(options)}; all others are llama.cpp's defaults",
    ]


def _machine(machine: Mapping[str, Any]) -> str:
    words = {"cores": "{} cores", "memory_gib": "{} GiB"}
    known = {name: part for name, part in machine.items() if part and name not in _MACHINE_OWN}
    parts = [words.get(name, "{}").format(part) for name, part in known.items()]
    since = machine["qualified"]
    shown = f"qualified on {since}" if since else "it is not qualified"
    return f"{', '.join(parts)}; {shown}"


def _compiled(found: Bisected, step: Stretch) -> list[str]:
    first, last = found.described[step.first], found.described[step.last]
    if first.compiled_with != last.compiled_with:
        details = [
            f"compiled with: {found.described[place].compiled_with.strip(' |')} ({found.builds[place]})"
            for place in (step.first, step.last)
        ]
    else:
        details = [f"compiled with: {last.compiled_with.strip(' |')}"] if last.compiled_with else []
    for place in (step.first, step.last) if first.environment != last.environment else (step.last,):
        variables = sorted(found.described[place].environment.items())
        set_there = ", ".join(f"{name}={value}" for name, value in variables)
        details += [f"environment of {found.builds[place]}: {set_there}"] if set_there else []
    return details


def _reproduce(found: Bisected, step: Stretch, options: Sequence[str], command: Sequence[str]) -> list[str]:
    plugin = found.between(step.first, step.last).results["plugin_version"]
    sides = (f"--llm-candidate={found.builds[step.last]}", f"--llm-against={found.builds[step.first]}")
    pair = ["pytest", found.planned.nodeid, "--llm-bench", *options, *sides]
    return [
        *(
            f"# {found.builds[place]}: {one_line(found.described[place])}"
            for place in (step.first, step.last)
        ),
        f"$ pip install pytest-llm-bench=={plugin}",
        f"$ {shlex.join(pair)}",
        f"$ pytest-llm {shlex.join(command)}",
    ]


def _all(found: Bisected) -> list[str]:
    rows = [
        f"| {markdown(found.builds[each.first])} | {markdown(found.builds[each.last])} "
        f"| {interpret.answer(each.results, found.target).relation.value} "
        f"| {markdown(report.change(each, found.target))} |"
        for each in found.compared
    ]
    names = [f"{report.name(found, place)}" for place in sorted(found.described)]
    return [
        markdown("Builds: " + "; ".join(names) + "."),
        "",
        "| reference | candidate | | |",
        "| --- | --- | --- | --- |",
        *rows,
    ]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
