"""Frozen records of a qualification: what each check saw, and what follows."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llm.records import Verdict  # noqa: TC001 - the codec reads annotations


@dataclass(frozen=True)
class Figures:
    """What a check saw of one metric.

    Attributes:
        metric: Its name.
        verdict: By the rule of "quick".
        log_ratios: One a session: positive is slower.
        change: Of the metric itself, as a ratio less 1.
        interval: Of the change; None with too few sessions.
        mde: The loss that would have been called with 95 % power; None where nothing would have been.
    """

    metric: str
    verdict: Verdict
    log_ratios: tuple[float, ...]
    change: float | None
    interval: tuple[float, float] | None
    mde: float | None


@dataclass(frozen=True)
class Result:
    """What became of one check.

    Attributes:
        check: Its name.
        reasons: Why it did not pass, a clause for each metric; none if it did.
        figures: One for each metric.
    """

    check: str
    reasons: tuple[str, ...]
    figures: tuple[Figures, ...]

    @property
    def passed(self) -> bool:
        """Whether it showed what it should."""
        return not self.reasons


@dataclass(frozen=True)
class Qualification:
    """What was seen on one machine.

    Attributes:
        fingerprint: Of the machine.
        when: In ISO 8601 with the offset from UTC, to the second.
        plugin: The version of this package.
        build: The build, with its commit.
        model: Its name, as asked for.
        model_sha256: Of its file.
        results: Of each check that ran, in order.
        checks: The names of all that had to pass.
    """

    fingerprint: str
    when: str
    plugin: str
    build: str
    model: str
    model_sha256: str
    results: tuple[Result, ...]
    checks: tuple[str, ...]

    @property
    def qualified(self) -> bool:
        """Whether every check ran and passed."""
        return {each.check for each in self.results if each.passed} >= set(self.checks)

    def reason(self) -> str:
        """Say which check did not pass, and why; "" if all did."""
        if self.qualified:
            return ""
        failed = [f"{each.check}: {'; '.join(each.reasons)}" for each in self.results if not each.passed]
        return failed[0] if failed else "not every check ran"
