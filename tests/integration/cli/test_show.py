"""What ``pytest-llm baselines show`` says of a store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .things import FINGERPRINT, MODULE, PARTS, SPEED, Test, results_of

if TYPE_CHECKING:
    from .things import Command


def test_each_metric_has_its_runs_mean_spread_dates_and_builds(baselines: Command) -> None:
    for hours, (speed, version) in enumerate([(80.0, "0.3.35"), (125.0, "0.3.36")]):
        document = results_of(Test("test_chat[x]", speed=speed), hours=24 * hours, version=version)
        baselines("accept", baselines.file(document))
    status, out = baselines("show")
    assert status == 0
    assert out.splitlines() == [
        f"baselines in {baselines.baselines}",
        "",
        f"machine {FINGERPRINT}: a CPU, 2 cores, 24 GiB, Linux x86_64",
        f"  {MODULE}::test_chat[x]",
        "    generation_tokens_per_second  2 runs  100.0 tok/s  ± 31.6 %  "
        "2026-01-02 … 2026-01-03  llama-cpp-python 0.3.35, llama-cpp-python 0.3.36",
        "    load_time                     2 runs     500.0 ms   ± 0.0 %  "
        "2026-01-02 … 2026-01-03  llama-cpp-python 0.3.35, llama-cpp-python 0.3.36",
        "",
        "invariants, the same on every machine",
        f"  {MODULE}::test_chat[x]: 2 values of greedy_output, weights 86.78 MiB "
        "(llama-cpp-python 0.3.35, 2026-01-02)",
    ]


def test_runs_that_were_read_otherwise_have_a_row_of_their_own(baselines: Command) -> None:
    baselines.accept(102.0, 103.0, vram=6 * 2**30, vram_read="change of the device")
    baselines.accept(100.0, vram=9 * 2**30)
    rows = [line.split("  ") for line in baselines("show")[1].splitlines() if "peak_vram" in line]
    found = [[word.strip() for word in row if word.strip()][:3] for row in rows]
    assert found == [
        ["peak_vram (change of the device)", "2 runs", "6.000 GiB"],
        ["peak_vram (per process)", "1 run", "9.000 GiB"],
    ]
    series = baselines.json("show")[1]["machines"][0]["tests"][0]["metrics"]["peak_vram"]
    assert [each["note"] for each in series["runs"]] == ["change of the device"] * 2 + ["per process"]
    assert (series["value"], series["spread"]) == (pytest.approx(9 * 2**30), None)


def test_one_run_has_no_spread_and_one_date(baselines: Command) -> None:
    baselines.accept(100.0)
    line = next(line for line in baselines("show")[1].splitlines() if SPEED in line)
    assert line.split() == [SPEED, "1", "run", "100.0", "tok/s", "2026-01-02", "llama-cpp-python", "0.3.36"]


def test_json_gives_every_run_and_fact(baselines: Command) -> None:
    baselines.accept(80.0, 125.0)
    status, document = baselines.json("show")
    assert status == 0
    (machine,) = document["machines"]
    assert (machine["fingerprint"], machine["parts"]) == (FINGERPRINT, PARTS)
    (test,) = machine["tests"]
    assert test["key"] == {"module": MODULE, "name": "test_chat", "parameters": ""}
    assert test["conditions"]["load_options"]["n_ctx"] == 4096
    speed = test["metrics"][SPEED]
    assert [run["value"] for run in speed["runs"]] == pytest.approx([80.0, 125.0])
    assert speed["runs"][1]["provenance"]["recorded"] == "2026-01-02T04:04:05+00:00"
    assert (speed["unit"], speed["value"]) == ("tok/s", pytest.approx(100.0))
    (invariants,) = document["invariants"]
    assert invariants["invariants"] == {"weights_bytes": 91_000_000, "greedy_output": [1, 2]}


def test_facts_are_told_in_short(baselines: Command) -> None:
    invariants = {"greedy_output": "x" * 100, "effective_options": {"a": 1, "b": 2}, "token_ids": [1]}
    baselines.accept(100.0, invariants=invariants)
    assert baselines("show")[1].splitlines()[-1] == (
        f"  {MODULE}::test_chat: effective_options of 2 values, greedy_output {'x' * 39}…, "
        "1 value of token_ids (llama-cpp-python 0.3.36, 2026-01-02)"
    )


@pytest.mark.parametrize("part", ["test_b[x=1]", f"{MODULE}::test_b", "x=1"])
def test_a_filter_is_part_of_a_full_name(baselines: Command, part: str) -> None:
    baselines("accept", baselines.file(results_of(Test("test_a"), Test("test_b[x=1]"))))
    _, document = baselines.json("show", part)
    assert [test["key"]["name"] for test in document["machines"][0]["tests"]] == ["test_b"]
    assert [invariants["key"]["name"] for invariants in document["invariants"]] == ["test_b"]


def test_all_machines_are_shown_unless_one_is_named(baselines: Command) -> None:
    for fingerprint in ("aaa", "bbb"):
        baselines("accept", baselines.file(results_of(Test(), fingerprint=fingerprint)))
    assert [each["fingerprint"] for each in baselines.json("show")[1]["machines"]] == ["aaa", "bbb"]
    named = baselines.json("show", "--machine", "bbb")[1]["machines"]
    assert [each["fingerprint"] for each in named] == ["bbb"]


def test_an_unknown_machine_is_told_with_those_that_are_there(baselines: Command) -> None:
    baselines.accept(100.0)
    assert baselines.refused("show", "--machine", "zzz") == f"unknown machine 'zzz': known: {FINGERPRINT}"


@pytest.mark.parametrize("words", [(), ("--machine", "abc"), ("test_x",)])
def test_an_empty_store_says_so(baselines: Command, words: tuple[str, ...]) -> None:
    status, out = baselines("show", *words)
    assert (status, out.count("\n")) == (1, 1)
    assert out.startswith("nothing is stored")
    assert str(baselines.baselines) in out
    assert baselines.json("show", *words) == (
        1,
        {"folder": str(baselines.baselines), "machines": [], "anchored": [], "invariants": []},
    )


def test_a_filter_that_matches_nothing_says_so(baselines: Command) -> None:
    baselines.accept(100.0)
    assert baselines("show", "test_x") == (1, f"nothing is stored of test_x in {baselines.baselines}\n")


def test_a_value_of_zero_has_no_mean_and_is_shown(baselines: Command) -> None:
    document = results_of(Test())
    (run,) = document["runs"].values()
    (test,) = document["tests"]
    run["sessions"][0]["series"]["peak_ram"] = {
        "values": [0.0],
        "tokens": 1,
        "note": "",
        "token_counts": [],
    }
    test["metrics"]["peak_ram"] = {
        **test["metrics"]["load_time"],
        "value": 0.0,
        "samples": [0.0],
        "low": 0.0,
        "high": 0.0,
        "unit": "B",
        "series": "peak_ram",
    }
    baselines("accept", baselines.file(document))
    assert "peak_ram" in baselines("show")[1]
    (machine,) = baselines.json("show")[1]["machines"]
    assert machine["tests"][0]["metrics"]["peak_ram"]["value"] is None


def test_a_damaged_file_is_one_line(baselines: Command) -> None:
    baselines.accept(100.0)
    (path,) = baselines.baselines.glob("machines/*/**/*.json")
    path.write_bytes(path.read_bytes()[:100])
    line = baselines.refused("show")
    assert line.startswith(f"{path} is not JSON")
    assert "restore it from version control" in line


def test_a_file_where_the_folder_should_be_is_one_line(baselines: Command) -> None:
    baselines.file("x", "mine")
    line = baselines.refused("show", "--baselines", "mine")
    assert line == f"--baselines: {baselines.folder / 'mine'} is not a folder; name another"


def test_a_run_without_a_date_and_a_build_is_shown(baselines: Command) -> None:
    baselines.accept(100.0)
    (path,) = baselines.baselines.glob("machines/*/**/*.json")
    old = json.loads(path.read_bytes())
    for run in old["tests"]["test_chat"]["metrics"][SPEED]["runs"]:
        run["provenance"] |= {"recorded": "", "build": ""}
    baselines.rewrite(path, old)
    line = next(line for line in baselines("show")[1].splitlines() if SPEED in line)
    assert line.split() == [SPEED, "1", "run", "100.0", "tok/s", "undated"]
