"""``pytest-llm doctor``: check if this machine is fit to measure, and name what to change."""

from __future__ import annotations

import math
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.builds.provider import ANSWER_SECONDS, Provider
from pytest_llm.checks.format import ratio
from pytest_llm.cli import command, project
from pytest_llm.cli.baselines.common import described
from pytest_llm.cli.qualify import qualify
from pytest_llm.engines import DEFAULT
from pytest_llm.errors import EngineError, LLMBenchError, MachineBusyError
from pytest_llm.machine import fingerprint as machine
from pytest_llm.machine import qualification
from pytest_llm.machine.advice import Advice, advice
from pytest_llm.machine.conditions import read_conditions
from pytest_llm.machine.noise import find_noise
from pytest_llm.records.metrics import METRICS
from pytest_llm.records.serialization import encode
from pytest_llm.records.units import BYTES
from pytest_llm.system.lock import MeasuringLock, lock_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from pytest_llm.machine.conditions import Conditions
    from pytest_llm.records import JSON, Build, BuildReference

_TEXT = command.Text(
    summary="check if this machine is fit to measure, and name what to change",
    more="Looks at the machine for a second. With --qualify, tests for some minutes if verdicts on speed are "
    "right on this machine, and stores the result.",
    statuses="0; 1 if there is something to change or, with --qualify, if the machine is not qualified",
    example="pytest-llm doctor --qualify",
)


def add_to(parser: argparse.ArgumentParser) -> None:
    command.describe(parser, _TEXT, run)
    parser.add_argument("--qualify", action="store_true", help="test if verdicts on speed are right here")
    parser.add_argument(
        "--candidate",
        metavar="BUILD",
        default=DEFAULT,
        help="build to measure: llama-cpp-python (of this environment), a release such as 0.3.36, venv:PATH, "
        "lib:PATH or git:REF:CHECKOUT",
    )
    parser.add_argument(
        "--model",
        metavar="NAME_OR_FILE",
        default="smollm2-135m",
        help="model that --qualify measures (default: %(default)s)",
    )
    command.add_cache_to(parser, "for models and the result")


def run(arguments: argparse.Namespace) -> command.Answer:
    start = Path.cwd()
    build = project.build(arguments.candidate, start)
    cache = project.cache(arguments.cache, start)
    if arguments.qualify:
        return qualify(build, arguments.model, cache, start)
    return answer(examine(build, cache))


class Seen(NamedTuple):
    """The machine, seen without measuring on it."""

    fingerprint: str
    parts: Mapping[str, JSON]
    conditions: Conditions
    covered: tuple[str, ...]  # sources of noise that this machine reports
    not_covered: Mapping[str, str]  # reasons by source
    build: Build | None  # None if it does not start
    holder: str  # the run that measures now; "" if there is none
    standing: qualification.Standing
    advice: Sequence[Advice]


def examine(reference: BuildReference, cache: Path) -> Seen:
    """Return what can be seen of this machine in about a second."""
    noise, conditions = find_noise(machine.own_processes), read_conditions()
    standing = qualification.read(cache, machine.fingerprint())
    build, no_build = describe_build(reference, cache)
    holder = _holder()
    return Seen(
        fingerprint=machine.fingerprint(),
        parts=dict(machine.parts()),
        conditions=conditions,
        covered=noise.covered,
        not_covered=noise.not_covered,
        build=build,
        holder=holder,
        standing=standing,
        advice=[*no_build, *advice(conditions), *_advice_on_lock(holder), *_advice_on(standing)],
    )


def answer(seen: Seen) -> command.Answer:
    return command.Answer(int(bool(seen.advice)), _lines(seen), _document(seen))


def describe_build(reference: BuildReference, cache: Path) -> tuple[Build | None, list[Advice]]:
    """Start a build's worker; return how it describes itself, or what to change."""
    try:
        with closing(Provider(cache, ANSWER_SECONDS, home=project.home(Path.cwd()))) as provider:
            return provider.describe(reference, command.on_progress), []
    except EngineError as error:
        return None, [
            Advice(str(error), "nothing can be measured with it", "repair it, or name another build")
        ]


def _holder() -> str:
    lock = MeasuringLock(lock_path(os.environ))
    try:
        lock.acquire(0, lambda _: None)
    except MachineBusyError:
        return str(lock.holder() or "an unnamed process")
    except LLMBenchError as error:
        return str(error)
    lock.release()
    return ""


def _advice_on_lock(holder: str) -> list[Advice]:
    if not holder:
        return []
    return [Advice(f"another run measures: {holder}", "two at once would slow each other", "wait for it")]


def _advice_on(standing: qualification.Standing) -> list[Advice]:
    if standing.since is not None:
        return []
    return [
        Advice(
            f"the machine is not qualified: {standing.reason}",
            "nothing shows that its verdicts on speed are right",
            "pytest-llm doctor --qualify",
        )
    ]


def _lines(seen: Seen) -> list[str]:
    lines = [f"machine {seen.fingerprint}: {described(seen.parts)}"]
    if seen.build is not None:
        lines += [f"candidate {seen.build}", f"  {seen.build.compiled_with}"]
    lines += [f"{name}: {value}" for name, value in _conditions(seen.conditions).items()]
    lines.append(f"noise that drops a round: {', '.join(seen.covered) or 'none'}")
    lines += [f"noise not covered: {name}: {why}" for name, why in seen.not_covered.items()]
    lines += _standing_lines(seen.standing)
    lines += [f"{each.what}: {each.why}\n  → {each.change}" for each in seen.advice]
    return lines if seen.advice else [*lines, "nothing to change"]


def _conditions(conditions: Conditions) -> dict[str, str]:
    found = {
        "CPU governor": _listed(conditions.governors),
        "turbo": _either(conditions.turbo, "on", "off"),
        "on battery": _either(conditions.on_battery, "yes", "no"),
        "others' load": _written(conditions.other_load, "{:.1%}"),
        "stolen since boot": _written(conditions.stolen_since_boot, "{:.1%}"),
        "load average": _written(conditions.load_average, "{:.2f}"),
        "huge pages": conditions.huge_pages,
        "processors": _listed(conditions.affinity),
        "NUMA nodes": _listed(conditions.numa_nodes),
    }
    # Most machines have none of these.
    some = {
        "CPU quota": _written(conditions.quota, "{:g} processors"),
        "memory limit": None if conditions.memory_limit is None else BYTES.format(conditions.memory_limit),
        "GPUs": "; ".join(", ".join((str(gpu.index), *gpu.limits)) for gpu in conditions.gpus),
    }
    return {
        **{name: "unknown" if text is None else text for name, text in found.items()},
        **{name: text for name, text in some.items() if text},
    }


def _listed(things: Sequence[object] | None) -> str | None:
    return None if things is None else ", ".join(map(str, things))


def _either(state: bool | None, when_true: str, when_false: str) -> str | None:
    return None if state is None else (when_true if state else when_false)


def _written(number: float | None, form: str) -> str | None:
    return None if number is None else form.format(number)


def _standing_lines(standing: qualification.Standing) -> list[str]:
    found = standing.found
    if standing.since is None or found is None:
        return []
    return [
        f"qualified since {standing.since}, by pytest-llm-bench {found.plugin} with {found.build}",
        *(
            f"  {METRICS[each.metric].title}: a loss of {ratio(each.mde)} would have been called"
            for each in found.results[0].figures
            if each.mde is not None
        ),
        f"  equal builds differ by {ratio(math.expm1(standing.tau))} (standard deviation)",
    ]


def _document(seen: Seen) -> dict[str, Any]:
    found = seen.standing.found
    return {
        "machine": {"fingerprint": seen.fingerprint, **seen.parts},
        "candidate": encode(seen.build) if seen.build is not None else None,
        "conditions": encode(seen.conditions),
        "noise": {"covered": list(seen.covered), "not_covered": dict(seen.not_covered)},
        "measuring": seen.holder or None,
        "qualified": seen.standing.since,
        "qualification": encode(found) if found is not None else None,
        "advice": [each._asdict() for each in seen.advice],
    }
