"""The published table of error rates: bounds of counts, and verdicts recomputed from the stored campaigns."""

from __future__ import annotations

import json
import random
from statistics import median
from typing import Any

import pytest

from benchmarks.error_rate_report import tables, upper_bound
from benchmarks.error_rates import DATA
from benchmarks.runs import kept
from tests import REPOSITORY


@pytest.mark.parametrize(
    ("count", "of", "bound"),
    # 0 of n: 1 - 0.05 ** (1 / n). The others by R's binom.test(alternative="less").
    [(0, 20, 0.1391), (0, 80, 0.0368), (1, 20, 0.2161), (1, 80, 0.0579), (5, 5, 1.0)],
)
def test_a_count_allows_probabilities_up_to_clopper_and_pearson_s_bound(
    count: int, of: int, bound: float
) -> None:
    assert upper_bound(count, of) == pytest.approx(bound, abs=0.0001)


def campaign(kind: str, loss: float, number: int = 0, sessions: int = 10) -> dict[str, Any]:
    """Return a line whose candidate takes ``loss`` more time, in sessions of little noise."""
    source = random.Random(f"{kind}{number}")

    def series(base: float) -> dict[str, Any]:
        values = [base * (1 + source.gauss(0, 0.002)) for _ in range(8)]
        return {"values": values, "tokens": 16}

    def session(share: float) -> dict[str, Any]:
        return {"prompt": series(0.05 * (1 + share)), "generation": series(0.1 * (1 + share))}

    return {
        "kind": kind,
        "seconds": 60.0 + number,
        "altered": "reference" if number % 2 else "candidate",
        "turns": [],
        "candidate": [session(0.0 if number % 2 else loss) for _ in range(sessions)],
        "reference": [session(loss if number % 2 else 0.0) for _ in range(sessions)],
    }


TITLES = {"aa": "A/A", "sham_path": "sham: path", "loss_10": "10 % injected", "llama-bench": "llama-bench"}


def test_rows_tell_verdicts_bounds_times_and_both_spreads() -> None:
    lines = tables(TITLES, [*(campaign("aa", 0.0, 2 * n) for n in range(3)), campaign("loss_10", 0.1)])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    aa = next(row for row in rows if row[0] == "A/A")
    assert aa[1:6] == ["3", "pass 3", "regressed ≤ 63.2 %", "10: 3", "62, 64"]
    slow = next(row for row in rows if row[0] == "10 % injected")
    assert slow[2:4] == ["regressed 1", "regressed ≥ 5.0 %"]
    assert slow[6].startswith("+10.")
    rivals = [row for row in rows if row[0] == "10 % injected"][1]
    assert rivals[1:] == ["1 of 1", "1 of 1", "1 of 1"]


def test_what_both_ways_round_of_a_sham_pair_add_up_to_is_zero_with_an_interval() -> None:
    lines = tables(TITLES, [campaign("sham_path", 0.01, number) for number in range(8)])
    (text,) = (line for line in lines if line.startswith("sham: path, sum of both ways round"))
    assert "prompt speed +0.0" in text or "prompt speed −0.0" in text


def test_llama_bench_run_twice_is_read_by_its_own_figures() -> None:
    line = {"kind": "llama-bench", "seconds": 30.0, "runs": [[300.0, 100.0], [299.0, 90.0]]}
    lines = tables(TITLES, [campaign("aa", 0.0), line])
    assert "llama-bench run twice: more than 5 % slower in 1 of 1" in "\n".join(lines)


def test_the_page_has_the_median_seconds_of_both_hosts() -> None:
    hosts: dict[str, list[float]] = {}
    for line in kept(DATA):
        if line["kind"] == "aa" or line["kind"].startswith("sham"):
            hosts.setdefault(json.dumps(line["machine"]), []).append(line["seconds"])
    earlier, later = (f"{median(seconds):.0f} s" for seconds in hosts.values())
    page = " ".join((REPOSITORY / "docs/comparing.md").read_text(encoding="utf-8").split())
    assert f"the median of A/A and sham campaigns took {later}, on the earlier one {earlier}." in page
