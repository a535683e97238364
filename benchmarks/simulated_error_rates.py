"""Error rates of the paired rule, by simulation.

    uv run python -m benchmarks.simulated_error_rates            # prints both tables
    uv run python -m benchmarks.simulated_error_rates --write    # and writes them into docs/comparing.md

How often a loss in one metric alone is called, by the spread of sessions; and how often any metric of a run
is called although nothing, or only what is negligible, changed, for several kinds of noise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_llm.stats.sequential import TAU, Rule, rule_for
from tests.system.error_rates.simulation import (
    HONEST_NOISE,
    NEGLIGIBLE,
    REGRESSED,
    at_most,
    called,
    independent,
    simulate,
)

PAGE = Path(__file__).parent.parent / "docs" / "comparing.md"
RULES = {"normal, m = 2": ("normal", 2), "normal, m = 24": ("normal", 24), "quick, m = 2": ("quick", 2)}
SPREADS = (0.01, 0.02, 0.04, 0.08)
LOSSES = (0.02, 0.03, 0.05, 0.08)
FAMILIES = (1, 2, 24)
_SPREAD = 0.02  # of sessions of equal builds
_ROUGH = 0.2  # so that nothing passes early, which would keep alarms from being raised
_NIGHTS = 365


def detection(runs: int) -> list[str]:
    """Return the table of detection, as Markdown."""
    losses = " / ".join(f"{100 * loss:g}" for loss in LOSSES)
    rows = [["session sd", *(f"{name}: {losses} %" for name in RULES)]]
    for sd in SPREADS:
        rules = [rule_for(*each) for each in RULES.values()]
        rows.append([f"{sd:.0%}".replace("%", " %"), *(shares(rule, sd, runs) for rule in rules)])
    return _table(rows)


def shares(rule: Rule, sd: float, runs: int) -> str:
    """Return how often each loss is called, in per cent."""
    runs = max(500, runs // rule.family)
    return " / ".join(f"{100 * called(rule, sd, loss, runs):.0f}" for loss in LOSSES)


def alarms(runs: int) -> list[str]:
    """Return the table of false alarms, as Markdown: of runs, and the upper limit that the count allows."""
    rows = [["noise of a session", *(f"m = {family}" for family in FAMILIES)]]
    for noise in HONEST_NOISE:
        name = noise.__name__.replace("_", " ")
        for sd, effect, title in ((_SPREAD, 0.0, "equal builds"), (_ROUGH, NEGLIGIBLE, "slower by δ₀")):
            found = []
            for family in FAMILIES:
                some = max(2000, runs // family)
                alarmed = simulate(rule_for("normal", family), noise, sd, effect, some).any_of(REGRESSED)
                found.append(_alarms(alarmed, some))
            rows.append([f"{name}, {title}", *found])
    found = []
    for family in FAMILIES:
        some = max(2000, runs // family)
        biased = simulate(rule_for("normal", family), independent, 0.01, 0.0, some, bias=TAU)
        found.append(_alarms(biased.any_of(REGRESSED), some))
    rows.append([f"independent, bias of each build with an sd of {100 * TAU:g} %", *found])
    return _table(rows)


def _alarms(count: int, runs: int) -> str:
    return f"{100 * count / runs:.2f} % (≤ {100 * at_most(count, runs, 0.95):.2f} %)"


def nightly(runs: int) -> str:
    """Return what a nightly run shows in a year of equal builds."""
    rule = rule_for("normal", 24)
    count = simulate(rule, independent, _SPREAD, 0.0, runs).any_of(REGRESSED)
    seen, limit = _NIGHTS * count / runs, _NIGHTS * at_most(count, runs, 0.95)
    return (
        f"α bounds the alarms of a nightly run of 24 gates on equal builds at {_NIGHTS * rule.alpha:.3g} a "
        f"year; simulated are {seen:.1f}, at most {limit:.1f}."
    )


def _table(rows: list[list[str]]) -> list[str]:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return [head, f"|{' --- |' * len(rows[0])}", *body]


def main() -> None:
    """Simulate, print and, if asked, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--write", action="store_true", help="write the tables into docs/comparing.md")
    arguments = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    for name, lines in (
        ("detection", detection(arguments.runs // 4)),
        ("alarms", [*alarms(arguments.runs), "", nightly(arguments.runs)]),
    ):
        print("\n".join(lines), flush=True)
        begin, end = f"<!-- simulated: {name} -->\n", "<!-- end -->"
        before, _, rest = text.partition(begin)
        text = "".join([before, begin, *(f"{line}\n" for line in lines), end, rest.partition(end)[2]])
    if arguments.write:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
