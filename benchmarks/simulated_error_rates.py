"""Error rates of the paired rule, by simulation.

    uv run python -m benchmarks.simulated_error_rates

Prints, for sessions with a spread of 1 to 4 %, the verdicts of a run with two gated metrics on equal
subjects, on a candidate that is 5 % slower, and on one that is slower by slightly less than is negligible.
"""

from __future__ import annotations

import argparse

from tests.system.error_rates.simulation import table


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--family", type=int, default=2, help="how many metrics are gated")
    arguments = parser.parse_args()
    print("spread | A/A: all pass   sessions | 5 % slower: any called   each   sessions | false alarm at δ₀")
    for row in table(arguments.runs, arguments.family):
        print(
            f"{row.sd:6.0%} | {row.passes:13.2%} {row.sessions_to_pass:10.1f} | {row.called:22.2%} "
            f"{row.called_each:6.1%} {row.sessions_to_call:10.1f} | {row.false_alarms:17.2%}"
        )


if __name__ == "__main__":
    main()
