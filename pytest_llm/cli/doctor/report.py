"""What is seen of a machine without measuring on it, and what is to be changed."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.builds.provider import Provider
from pytest_llm.checks.format import ratio
from pytest_llm.cli import command
from pytest_llm.cli.baselines.common import described
from pytest_llm.errors import EngineError, LLMBenchError, MachineBusyError
from pytest_llm.machine import fingerprint as machine
from pytest_llm.machine import qualification
from pytest_llm.machine.advice import Advice, advice
from pytest_llm.machine.conditions import read_conditions
from pytest_llm.machine.noise import find_noise
from pytest_llm.records.metrics import METRICS
from pytest_llm.records.serialization import encode
from pytest_llm.system.lock import MeasuringLock, lock_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pytest_llm.machine.conditions import Conditions
    from pytest_llm.records import JSON, Build, BuildReference

ANSWER_SECONDS = 600.0


class Seen(NamedTuple):
    """What was seen of the machine.

    Attributes:
        fingerprint: Of the machine.
        parts: What that is made of.
        conditions: How it stands.
        covered: The sources of noise that it tells of.
        not_covered: The others, with the reason.
        build: The candidate, as it describes itself; None where it does not start.
        holder: Who measures now; "" if nobody does.
        standing: Whether it is qualified.
        advice: What is to be changed.
    """

    fingerprint: str
    parts: Mapping[str, JSON]
    conditions: Conditions
    covered: tuple[str, ...]
    not_covered: Mapping[str, str]
    build: Build | None
    holder: str
    standing: qualification.Standing
    advice: Sequence[Advice]


def look(reference: BuildReference, cache: Path) -> Seen:
    """Look at this machine; takes about a second."""
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


def on_progress(seen: Seen) -> command.Answer:
    """Say what was seen, and what to change."""
    return command.Answer(int(bool(seen.advice)), _lines(seen), _document(seen))


def describe_build(reference: BuildReference, cache: Path) -> tuple[Build | None, list[Advice]]:
    """Start a build's worker; return how it describes itself, or what is to be changed."""
    try:
        with closing(Provider(cache, ANSWER_SECONDS)) as provider:
            return provider.describe(reference, lambda line: print(line, file=sys.stderr, flush=True)), []
    except EngineError as error:
        return None, [
            Advice(str(error), "nothing can be measured with it", "repair it, or name another build")
        ]


def _holder() -> str:
    """Return who measures now, in a line; "" if nobody does."""
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
            "nothing shows that its verdicts on speed may be believed",
            "pytest-llm doctor --qualify",
        )
    ]


def _lines(seen: Seen) -> list[str]:
    lines = [f"machine {seen.fingerprint}: {described(seen.parts)}"]
    if seen.build is not None:
        lines += [f"candidate {seen.build}", f"  {seen.build.compiled_with}"]
    lines += [f"{name}: {value}" for name, value in _told(seen.conditions).items()]
    lines.append(f"noise that drops a round: {', '.join(seen.covered) or 'none'}")
    lines += [f"noise not covered: {name}: {why}" for name, why in seen.not_covered.items()]
    lines += _standing_lines(seen.standing)
    lines += [f"{each.what}: {each.why}\n  → {each.change}" for each in seen.advice]
    return lines if seen.advice else [*lines, "nothing is to be changed"]


def _told(conditions: Conditions) -> dict[str, str]:
    found = {
        "CPU governor": _listed(conditions.governors),
        "turbo": _said(conditions.turbo, "on", "off"),
        "on battery": _said(conditions.on_battery, "yes", "no"),
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
        "GPUs": "; ".join(", ".join((str(gpu.index), *gpu.limits)) for gpu in conditions.gpus),
    }
    return {
        **{name: "not told" if text is None else text for name, text in found.items()},
        **{name: text for name, text in some.items() if text},
    }


def _listed(things: Sequence[object] | None) -> str | None:
    return None if things is None else ", ".join(map(str, things))


def _said(state: bool | None, when_true: str, when_false: str) -> str | None:
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
