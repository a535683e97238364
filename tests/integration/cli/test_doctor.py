"""``pytest-llm doctor``: what it says of a machine, and with which exit status."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.cli import GROUPS, doctor, main
from pytest_llm.cli.doctor import Seen
from pytest_llm.machine import fingerprint as machine
from pytest_llm.machine import qualification
from pytest_llm.machine.advice import Advice
from pytest_llm.machine.conditions import Conditions, Gpu
from pytest_llm.machine.qualification import CHECKS, GATES, SESSIONS, LabelBias, Qualification
from pytest_llm.machine.qualification.checks import judge
from pytest_llm.records import Build, Installed, LoadOptions, Subject, Verdict
from pytest_llm.reports.progress import ProgressDisplay
from pytest_llm.system.lock import MeasuringLock

if TYPE_CHECKING:
    from pathlib import Path

WHEN = "2026-01-02T03:04:05+00:00"
SUBJECT = Subject("m", Installed("llama-cpp-python"), LoadOptions())
QUIET = Conditions(
    governors=("performance",),
    turbo=False,
    on_battery=None,
    other_load=0.0123,
    load_average=0.5,
    stolen_since_boot=None,
    huge_pages="madvise",
    affinity=(0, 1),
    numa_nodes=(0,),
    quota=None,
    gpus=(),
)


def qualified(fingerprint: str = "abc") -> Qualification:
    even = {each.metric.name: [0.01 * (-1) ** n for n in range(SESSIONS)] for each in GATES}
    slow = {each.metric.name: [0.1 + 0.001 * n for n in range(SESSIONS)] for each in GATES}
    return Qualification(
        fingerprint,
        WHEN,
        "0.1",
        "llama-cpp-python 0.3.36 (llama.cpp 0c1e570)",
        "m",
        "0" * 64,
        tuple(judge(each, slow if each.expected is Verdict.REGRESSED else even) for each in CHECKS),
        tuple(each.name for each in CHECKS),
        LabelBias(0.0042, (), ()),
    )


def seen(**changed: Any) -> Seen:
    found = Seen(
        fingerprint="abc",
        parts={"cpu": "a CPU", "cores": 2, "memory_gib": 24, "system": "Linux x86_64"},
        conditions=QUIET,
        covered=("CPU steal", "CPU quota"),
        not_covered={"NVIDIA GPU": "no driver"},
        build=Build("llama-cpp-python", "0.3.36", "0c1e570", "python", "CPU : AVX2 = 1"),
        holder="",
        standing=qualification.Standing(WHEN, "", qualified()),
        advice=[],
    )
    return found._replace(**changed)


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a cache and a lock of its own, in which a build that does not start lies."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTEST_LLM_LOCK", str(tmp_path / "lock"))
    monkeypatch.setenv("PYTEST_LLM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "empty").mkdir()
    return tmp_path


BROKEN = "--candidate=llama-cpp-python@venv:empty"


def called(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    status = main(["doctor", *words, "--json"])
    out, err = capsys.readouterr()
    assert err == ""
    found: dict[str, Any] = json.loads(out)
    return status, found


def whats(document: dict[str, Any]) -> list[str]:
    return [each["what"] for each in document["advice"]]


def test_a_machine_with_nothing_to_change_is_told_as_a_whole() -> None:
    answer = doctor.answer(seen())
    assert answer.status == 0
    assert answer.lines == [
        "machine abc: a CPU, 2 cores, 24 GiB, Linux x86_64",
        "candidate llama-cpp-python 0.3.36 (llama.cpp 0c1e570)",
        "  CPU : AVX2 = 1",
        "CPU governor: performance",
        "turbo: off",
        "on battery: unknown",
        "others' load: 1.2%",
        "stolen since boot: unknown",
        "load average: 0.50",
        "huge pages: madvise",
        "processors: 0, 1",
        "NUMA nodes: 0",
        "noise that drops a round: CPU steal, CPU quota",
        "noise not covered: NVIDIA GPU: no driver",
        f"qualified since {WHEN}, by pytest-llm-bench 0.1 with llama-cpp-python 0.3.36 (llama.cpp 0c1e570)",
        "  prompt speed: a loss of 4.7 % would have been called",
        "  generation speed: a loss of 4.7 % would have been called",
        "  equal builds differ by 0.42 % (standard deviation)",
        "nothing to change",
    ]


def test_what_is_to_be_changed_is_told_with_its_reason_and_makes_the_status_1() -> None:
    answer = doctor.answer(seen(advice=[Advice("turbo is on", "clocks wander", "turn it off")]))
    assert answer.status == 1
    assert answer.lines[-1] == "turbo is on: clocks wander\n  → turn it off"


def test_none_is_told_as_zero_and_not_as_unknown() -> None:
    lines = doctor.answer(seen(conditions=replace(QUIET, other_load=0.0, load_average=0.0))).lines
    assert "others' load: 0.0%" in lines
    assert "load average: 0.00" in lines


def test_gpus_and_quotas_are_told_where_there_are_any() -> None:
    lines = doctor.answer(seen(conditions=replace(QUIET, gpus=(Gpu(0, ("heat",), ()),), quota=1.5))).lines
    assert "GPUs: 0, heat" in lines
    assert "CPU quota: 1.5 processors" in lines


@pytest.mark.skipif(find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed")
def test_looking_takes_about_a_second_and_tells_the_real_build(
    alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = time.monotonic()
    _, document = called(capsys)
    assert time.monotonic() - before < 20
    assert document["machine"] == {"fingerprint": machine.fingerprint(), **machine.parts()}
    assert document["candidate"]["engine"] == "llama-cpp-python"
    assert document["candidate"]["compiled_with"]
    assert set(document["noise"]["covered"]) | set(document["noise"]["not_covered"]) == {
        "CPU steal",
        "CPU thermal throttling",
        "CPU quota",
        "NVIDIA GPU",
    }


def test_an_unqualified_machine_and_a_build_that_does_not_start_are_to_be_changed(
    alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, document = called(capsys, BROKEN)
    assert status == 1
    assert (document["candidate"], document["qualified"], document["measuring"]) == (None, None, None)
    assert "cannot be started" in whats(document)[0]
    assert whats(document)[-1] == "the machine is not qualified: never tried"
    assert document["advice"][-1]["change"] == "pytest-llm doctor --qualify"


def test_a_qualified_machine_is_told_as_such(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    qualification.write(alone / "mine", qualified(machine.fingerprint()))
    _, document = called(capsys, BROKEN, "--cache=mine")
    assert document["qualified"] == WHEN
    assert document["qualification"]["results"][0]["check"] == "A/A"
    assert not [each for each in whats(document) if each.startswith("the machine is not qualified")]


def test_the_cache_is_the_one_that_pytest_uses(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (alone / "pytest.ini").write_text("[pytest]\nllm_cache = kept/here\n", encoding="utf-8")
    qualification.write(alone / "kept" / "here", qualified(machine.fingerprint()))
    assert called(capsys, BROKEN)[1]["qualified"] == WHEN


def test_a_damaged_record_is_told_and_ends_nothing(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = qualification.write(alone / "cache", qualified(machine.fingerprint()))
    path.write_text("{", encoding="utf-8")
    assert whats(called(capsys, BROKEN)[1])[-1] == f"the machine is not qualified: {path} is damaged"


def test_whoever_measures_is_named(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = MeasuringLock(alone / "lock")
    lock.acquire(0, print)
    try:
        status, document = called(capsys, BROKEN)
    finally:
        lock.release()
    assert status == 1
    assert document["measuring"].startswith("process ")
    assert f"another run measures: {document['measuring']}" in whats(document)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--candidate=vllm",), "unknown engine 'vllm'"),
        (("--candidate=llama-cpp-python@venv:nowhere",), "there is no folder"),
        (("--qualify", "--model=no-such-model"), "unknown model 'no-such-model'"),
        (("--qualify", "--model=./none.gguf"), "none.gguf"),
    ],
)
def test_bad_input_is_one_line(
    alone: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    assert main(["doctor", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert told in err


def test_help_tells_the_exit_status_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    out = capsys.readouterr().out
    assert "exit status: 0" in out
    assert "example:\n  pytest-llm doctor --qualify" in out


def test_the_summary_in_the_list_of_groups_is_the_commands_own() -> None:
    assert GROUPS["doctor"] == doctor._TEXT.summary


# ── progress ─────────────────────────────────────────────────────────────────────────────────────


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def watch(stream: io.StringIO) -> str:
    progress = ProgressDisplay.on(stream, 4)
    progress.write("A/A: equal")
    for number in (1, 2):
        progress.session_started(SUBJECT, number, 2)
        progress.session_ended(SUBJECT, number, 2, 10.0 * number)
    progress.campaign_ended()
    return stream.getvalue()


def test_progress_is_one_line_a_session_where_there_is_no_terminal() -> None:
    assert watch(io.StringIO()).splitlines() == [
        "A/A: equal",
        "  m: session 1 of 2 took 10.0 s, about 30 s left in all",
        "  m: session 2 of 2 took 20.0 s, about 30 s left in all",
    ]


def test_progress_renews_its_line_on_a_terminal_and_takes_it_away() -> None:
    assert watch(Terminal()) == (
        "A/A: equal\n\r\x1b[K  m: session 1 of 2\r\x1b[K  m: session 2 of 2, about 30 s left in all\r\x1b[K"
    )
