"""Checks of a machine: what it has to show before its verdicts on speed gate anything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_llm.errors import EngineError, UsageError
from pytest_llm.machine.qualification.injected import InjectedSlowdown, WithVariables
from pytest_llm.machine.qualification.interference import interference_log_ratios
from pytest_llm.machine.qualification.record import CheckFigures, Result
from pytest_llm.measure import measure as measure_campaign
from pytest_llm.records import Campaign, Gate, Question, Verdict
from pytest_llm.records.metrics import METRICS
from pytest_llm.stats.estimates import estimate
from pytest_llm.stats.log_ratios import Observations, log_ratios
from pytest_llm.stats.sequential import conclude, decide, rule_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_llm.measure import MeasurementContext
    from pytest_llm.records import Workload
    from pytest_llm.records.protocols import Engine
    from pytest_llm.records.side import Side
    from pytest_llm.stats.sequential import Rule

    Ratios = Mapping[str, Sequence[float]]
    Measure = Callable[[Side, Workload, int, MeasurementContext], Ratios]

TOLERANCE = 0.05
# Twice the tolerance: what a machine must not fail to call in a single look.
SLOWDOWN = 0.10
GATES = tuple(
    Gate(METRICS[name], TOLERANCE) for name in ("prompt_tokens_per_second", "generation_tokens_per_second")
)
_RULE = rule_for("quick", len(GATES))
SESSIONS = _RULE.looks[-1]
CONFIDENCE = 1 - _RULE.alpha  # of the intervals

# Threads that go on spinning while they have nothing to do, as some builds' threads always do.
_SPINNING: Mapping[str, str | None] = {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": None}
_BY_DEFAULT: Mapping[str, str | None] = dict.fromkeys(_SPINNING)


@dataclass(frozen=True)
class Check:
    """One thing that a machine has to show.

    Attributes:
        name: In the record.
        title: What it has to show, as a clause.
        expected: The verdict on every metric.
        otherwise: What other verdicts mean, each a clause.
        measure: Returns the log ratios of so many sessions, by the name of the metric.
    """

    name: str
    title: str
    expected: Verdict
    otherwise: Mapping[Verdict, str]
    measure: Measure


def measure_pair(
    sides: tuple[Side, Side], workload: Workload, sessions: int, context: MeasurementContext
) -> dict[str, list[float]]:
    """Return the log ratios of so many sessions of a pair, by the name of the metric.

    Raises:
        EngineError: The engine does not start, or its worker refused, died or hung.
        UsageError: The machine has no room for two processes.
    """
    subject = sides[0].subject
    questions = tuple(Question(workload, each) for each in GATES)
    campaign = Campaign(subject, (workload,), sessions, subject, questions)
    outcome = measure_campaign(campaign, sides, _rule(sessions), context)[workload]
    if isinstance(outcome, EngineError):
        raise outcome
    if outcome.not_interleaved:
        raise UsageError(
            f"two processes with {subject.model} do not fit into memory together, so there is no "
            "interference to measure: qualify the machine with a smaller model"
        )
    return {each.metric.name: log_ratios(each.metric, outcome) for each in GATES}


def _rule(sessions: int) -> Rule:
    return replace(_RULE, looks=(sessions,))  # one look, in the end


def _pair(candidate_of: Callable[[Engine], Engine], reference_of: Callable[[Engine], Engine]) -> Measure:
    def measure(side: Side, workload: Workload, sessions: int, context: MeasurementContext) -> Ratios:
        candidate = side._replace(engine=candidate_of(side.engine))
        reference = side._replace(engine=reference_of(side.engine))
        return measure_pair((candidate, reference), workload, sessions, context)

    return measure


def _interference(side: Side, workload: Workload, sessions: int, context: MeasurementContext) -> Ratios:
    return interference_log_ratios(side, workload, [each.metric for each in GATES], sessions, context)


def _as_it_is(engine: Engine) -> Engine:
    return engine


def _spinning(engine: Engine) -> Engine:
    return WithVariables(engine, _SPINNING)


def _by_default(engine: Engine) -> Engine:
    return WithVariables(engine, _BY_DEFAULT)


def _slowed_down(engine: Engine) -> Engine:
    return InjectedSlowdown(engine, SLOWDOWN)


CHECKS = (
    Check(
        "A/A",
        "a build compared with itself passes",
        Verdict.PASS,
        {
            Verdict.REGRESSED: "called slower than itself",
            Verdict.IMPROVED: "called faster than itself",
            Verdict.INCONCLUSIVE: "too noisy to see a loss of 5 %",
        },
        _pair(_as_it_is, _as_it_is),
    ),
    Check(
        "interference",
        "a subject runs as fast beside another one as alone",
        Verdict.PASS,
        {
            Verdict.REGRESSED: "slower beside a waiting process than alone: the neighbour disturbs it",
            Verdict.IMPROVED: "slower alone than beside a waiting process: steady work slows it down",
            Verdict.INCONCLUSIVE: "too noisy to see if a neighbour disturbs",
        },
        _interference,
    ),
    Check(
        "wait policy",
        "a build whose threads spin while they wait passes against one whose threads sleep",
        Verdict.PASS,
        {
            Verdict.REGRESSED: "threads that spin while they wait make the build slower",
            Verdict.IMPROVED: "threads that spin while they wait slow the other side down",
            Verdict.INCONCLUSIVE: "too noisy to see if waiting threads disturb",
        },
        _pair(_spinning, _by_default),
    ),
    Check(
        "slowdown",
        f"an injected slowdown of {SLOWDOWN:.0%} is called",
        Verdict.REGRESSED,
        {
            Verdict.PASS: f"{SLOWDOWN:.0%} more time passed unseen",
            Verdict.IMPROVED: f"{SLOWDOWN:.0%} more time was called an improvement",
            Verdict.INCONCLUSIVE: f"too noisy to call {SLOWDOWN:.0%} more time",
        },
        _pair(_slowed_down, _as_it_is),
    ),
)


def qualify(
    side: Side,
    workload: Workload,
    context: MeasurementContext,
    begins: Callable[[Check], None],
    ended: Callable[[Result], None],
    checks: Sequence[Check] = CHECKS,
) -> list[Result]:
    """Run the checks in order, up to the first that does not pass: no other one can make up for it.

    A check that is inconclusive is repeated with twice the sessions before it fails.

    Args:
        side: The subject, its model and engine.
        workload: What it is asked to do.
        context: What is read beside, and drawn.
        begins: Receives each check before it runs.
        ended: Receives its result.
        checks: Which.

    Raises:
        EngineError: The engine does not start, or its worker refused, died or hung.
        UsageError: The machine has no room for two processes.
    """
    results: list[Result] = []
    for check in checks:
        begins(check)
        result = judge(check, check.measure(side, workload, SESSIONS, context))
        if result.is_open:
            result = judge(check, check.measure(side, workload, 2 * SESSIONS, context))
        results.append(result)
        ended(result)
        if not results[-1].passed:
            break
    return results


def judge(check: Check, ratios: Ratios) -> Result:
    """Return what log ratios of times, by the metric's name, say of a check."""
    figures = tuple(_figures(each, ratios[each.metric.name]) for each in GATES)
    return Result(
        check.name,
        tuple(
            f"{METRICS[each.metric].title}: {check.otherwise[each.verdict]}"
            for each in figures
            if each.verdict is not check.expected
        ),
        figures,
    )


def _figures(gate: Gate, ratios: Sequence[float]) -> CheckFigures:
    rule = _rule(SESSIONS if len(ratios) <= SESSIONS else 2 * SESSIONS)
    so_far = decide(rule, gate, Observations(list(ratios)))
    found, decision = estimate(rule, gate, so_far), conclude(so_far)
    assert decision.verdict is not None
    return CheckFigures(
        gate.metric.name, decision.verdict, tuple(ratios), found.change, found.interval, found.mde
    )
