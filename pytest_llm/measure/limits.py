"""Limits of time: of each workload, and of the whole run."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llm.errors import UsageError
from pytest_llm.measure.plan import captured_seconds
from pytest_llm.records.units import duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_llm.records import Campaign, Plan, Subject, Workload
    from pytest_llm.records.protocols import Clock
    from pytest_llm.stats.sequential import Rule

# The default limit of a workload, by its planned time to the last look.
_TIMES_PLANNED = 2
# By how much a session may differ from its plan before the plan is corrected.
_OFF = 1.3
# A run that is refused measures nothing: it would be refused for ever by what a busy machine showed once.
_FORGET = "; pytest --cache-clear forgets the speeds of earlier runs"


@dataclass(frozen=True)
class TimeLimits:
    """How long a campaign may take.

    Attributes:
        workload: Seconds for the sessions of each workload; None for twice the planned time.
        campaign: What is left for it of the budget of the run, in seconds.
    """

    workload: float | None = None
    campaign: float = math.inf


class Stopwatch:
    """The seconds that a campaign took so far, apart for each of its workloads."""

    def __init__(self, campaign: Campaign, limits: TimeLimits, clock: Clock) -> None:
        """Start now."""
        self._campaign = campaign
        self._limits = limits
        self._clock = clock
        self._began = clock()
        self._before = 0.0
        self._starts: list[float] = []
        self._work: list[dict[Workload, float]] = []

    @contextmanager
    def session(self) -> Iterator[None]:
        """Time a session."""
        began = self._clock()
        if not self._starts:
            self._before = began - self._began
        self._work.append({})
        yield
        self._starts.append(self._clock() - began - sum(self._work[-1].values()))

    @contextmanager
    def working(self, workload: Workload) -> Iterator[None]:
        """Time the work on a workload; only that in sessions counts."""
        began = self._clock()
        try:
            yield
        finally:
            if len(self._work) > len(self._starts):
                work = self._work[-1]
                work[workload] = work.get(workload, 0.0) + self._clock() - began

    @property
    def last(self) -> float:
        """Seconds of the latest session."""
        return self._starts[-1] + sum(self._work[-1].values())

    def is_off(self) -> bool:
        """Whether the first session took much more or less than planned."""
        planned = self._campaign.planned.session
        return planned > 0 and not planned / _OFF <= self.last <= planned * _OFF

    def until(self, sessions: int) -> float:
        """Return the seconds from now until the end of so many sessions, if each takes as long as so far."""
        done = len(self._starts)
        spent = self._clock() - self._began - self._before
        return max(0, sessions - done) * spent / done

    def ended(self, workloads: Iterable[Workload]) -> dict[Workload, str]:
        """Return why workloads have no time for another session, for those that have none."""
        if not self._starts:
            return {}
        spent = self._clock() - self._began
        if spent + self.last > self._limits.campaign:
            left = f"{duration(self._limits.campaign)} of --llm-budget were left"
            return dict.fromkeys(workloads, f"{left}, and {self._told(len(self._starts), spent)}")
        found = {each: self._ended(each) for each in workloads}
        return {each: why for each, why in found.items() if why}

    def _ended(self, workload: Workload) -> str:
        each = [
            start + work[workload]
            for start, work in zip(self._starts, self._work, strict=True)
            if workload in work
        ]
        spent, limit = sum(each), self._limits.workload
        if not each or spent + spent / len(each) <= (
            self._default(workload, each[0]) if limit is None else limit
        ):
            return ""
        told = self._told(len(each), spent)
        if limit is None:
            return f"it took over twice the planned time, {told}: set --llm-time-limit"
        return f"--llm-time-limit is {duration(limit)}, and {told}"

    def _default(self, workload: Workload, first: float) -> float:
        if self._campaign.fixed:
            return math.inf
        planned = self._campaign.planned
        session = planned.start + planned.work_alone.get(workload, 0.0)
        return _TIMES_PLANNED * self._campaign.sessions * max(session, first)

    @staticmethod
    def _told(sessions: int, seconds: float) -> str:
        return f"{sessions} session{'s took' if sessions != 1 else ' took'} {duration(seconds)}"


class RunBudget:
    """The seconds that all campaigns and captures of a run share; preparing builds and models is free."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        """Begin with nothing spent; ``seconds`` may be infinite."""
        self._seconds = seconds
        self._clock = clock
        self._spent = 0.0
        self._begun: set[tuple[Subject, Subject | None]] = set()

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Count what is measured."""
        began = self._clock()
        try:
            yield
        finally:
            self._spent += self._clock() - began

    def share(self, plan: Plan, campaign: Campaign, rule: Rule) -> float:
        """Return what a campaign, which is about to begin, may take of what is left.

        It is its part by the planned times of all that have not begun.
        """
        if self._seconds == math.inf:
            return math.inf
        self._begun.add((campaign.subject, campaign.reference))
        ours = _least(campaign, rule)
        others = sum(
            _least(each, rule) for each in plan.campaigns if (each.subject, each.reference) not in self._begun
        )
        left = max(0.0, self._seconds - self._spent)
        return left * ours / (ours + others) if ours + others else left


def _least(campaign: Campaign, rule: Rule) -> float:
    """Return the planned seconds until a single loss can be called; alone, of all sessions."""
    return campaign.planned.until(_sessions(campaign, rule)) + campaign.planned.after


def _sessions(campaign: Campaign, rule: Rule) -> int:
    return campaign.sessions if campaign.fixed else rule.least_sessions


def check_limits(plan: Plan, rule: Rule, time_limit: float | None, budget: float) -> None:
    """Refuse a plan that cannot reach its verdicts in time.

    Args:
        plan: What is to be measured.
        rule: Of its comparisons.
        time_limit: Seconds for each workload; None for a multiple of what is planned.
        budget: Seconds for the run.

    Raises:
        UsageError: A workload takes longer than its limit, or the plan longer than its budget.
    """
    slowest = max(
        (
            (each.planned.of(workload, _sessions(each, rule)), each, workload)
            for each in plan.campaigns
            for workload in each.workloads
        ),
        key=lambda found: found[0],
        default=None,
    )
    if slowest is not None and time_limit is not None and slowest[0] > time_limit:
        needed, campaign, workload = slowest
        raise UsageError(
            f"--llm-time-limit {duration(time_limit)}: {_named(plan, campaign, workload)} takes "
            f"about {duration(needed)}, {_sessions(campaign, rule)} sessions{_why(campaign)}: "
            f"{_fix('limit', needed)}, or give it fewer tokens{_FORGET}"
        )
    needed = sum(_least(each, rule) for each in plan.campaigns) + captured_seconds(plan)
    if needed > budget:
        longest = max(plan.campaigns, key=lambda each: _least(each, rule))
        test = _named(plan, longest, max(longest.workloads, key=lambda each: longest.planned.work[each]))
        raise UsageError(
            f"--llm-budget {duration(budget)}: the plan takes about {duration(needed)}{_why(longest)}: "
            f"{_fix('budget', needed)}, or drop tests, the longest of which is {test}{_FORGET}"
        )


def _named(plan: Plan, campaign: Campaign, workload: Workload) -> str:
    """Return the first test of a campaign and workload."""
    tests = [
        each.nodeid
        for each in plan.benchmarks
        if (each.subject, each.workload) == (campaign.subject, workload)
    ]
    return tests[0]


def _why(campaign: Campaign) -> str:
    return "" if campaign.fixed else " until a single loss can be called"


def _fix(what: str, seconds: float) -> str:
    return f"raise the {what} to {duration(1.2 * seconds)}, take --llm-effort=quick"
