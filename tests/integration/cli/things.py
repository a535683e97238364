"""Results files as a run of pytest writes them, and the command called in this process."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from pytest_llm.baselines import Missing
from pytest_llm.checks import check_stored_runs, compare
from pytest_llm.checks.findings import Finding
from pytest_llm.cli import main
from pytest_llm.records import (
    Benchmark,
    Gate,
    Installed,
    LoadOptions,
    Provenance,
    Series,
    Session,
    StoredInvariants,
    StoredRun,
    Subject,
    TestKey,
    Workload,
)
from pytest_llm.records.metrics import METRICS
from pytest_llm.records.serialization import encode
from pytest_llm.reports.document import Machine
from pytest_llm.reports.results import results_of as make_results
from pytest_llm.stats.sequential import rule_for
from pytest_llm.stats.summary import summarize_all
from tests.bare import BUILD, RUN

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

FINGERPRINT = "0123456789ab"
PARTS = {
    "cpu": "a CPU",
    "revision": "",
    "caches": "",
    "instruction_sets": "",
    "cores": 2,
    "memory_gib": 24,
    "devices": "",
    "system": "Linux x86_64",
}
MODULE = "tests/test_speed.py"
SPEED = "generation_tokens_per_second"
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Test:
    """One test of a results file: generation at ``speed`` tokens per second."""

    name: str = "test_chat"
    speed: float = 100.0
    load: float = 0.5
    ram: float = 0.0
    vram: float = 0.0
    vram_read: str = "per process"
    gated: bool = True
    tolerance: float = 0.05
    outcome: str = "passed"
    failed_by_verdict: bool = False
    options: LoadOptions = LoadOptions()  # noqa: RUF009 - frozen
    problem: str = ""
    invariants: dict[str, Any] = field(
        default_factory=lambda: {"weights_bytes": 91_000_000, "greedy_output": [1, 2]}
    )
    stored_facts: dict[str, Any] | None = None
    stored: tuple[float, ...] = ()

    __test__ = False

    def finding(self, version: str) -> Finding:
        subject = Subject("m", Installed("llama-cpp-python"), self.options)
        gates = (Gate(METRICS[SPEED], self.tolerance),) if self.gated else ()
        key = TestKey(MODULE, *_split(self.name))
        benchmark = Benchmark(f"{MODULE}::{self.name}", key, subject, Workload(), gates=gates)
        if self.problem:
            return Finding(benchmark, problem=self.problem, outcome="error")
        series = {"generation": Series((1 / self.speed,)), "load": Series((self.load,))}
        if self.ram:
            series["peak_ram_anonymous"] = Series((self.ram,))
        if self.vram:
            series["peak_vram"] = Series((self.vram,), note=self.vram_read)
        session = Session(series)
        run = replace(
            RUN,
            subject=subject,
            build=replace(BUILD, version=version, compiled_with="CPU : AVX2 = 1"),
            effective_options={"n_ctx": 4096},
            sessions=(session,),
            measurements=summarize_all([session]),
            invariants=self.invariants,
        )
        before = [StoredRun(each, Provenance()) for each in self.stored]
        baseline_checks = tuple(
            check_stored_runs(run, gate, before, 1, Missing("never recorded")) for gate in gates
        )
        drift = None
        if self.stored_facts is not None:
            drift = compare(
                StoredInvariants(self.stored_facts, Provenance("llama-cpp-python 0.3.35")), run.invariants
            )
        return Finding(
            benchmark,
            run,
            baseline_checks=baseline_checks,
            drift=drift,
            outcome=self.outcome,
            failed_by_verdict=self.failed_by_verdict,
        )


def _split(name: str) -> tuple[str, str]:
    test, bracket, parameters = name.partition("[")
    return test, parameters[:-1] if bracket else ""


def results_of(
    *tests: Test,
    hours: float = 0,
    version: str = "0.3.36",
    fingerprint: str = FINGERPRINT,
    family: int = 1,
) -> dict[str, Any]:
    """Return what a results file holds that was begun some hours after ``START``."""
    started = START + timedelta(hours=hours)
    parts: dict[str, Any] = PARTS
    machine = Machine(fingerprint, **parts, qualified=None)
    rule = rule_for("normal", family)
    results = make_results([each.finding(version) for each in tests], started, started, machine, rule)
    found: dict[str, Any] = encode(results)
    return found


class Command:
    """The command, called in this process, in a folder of its own."""

    def __init__(self, folder: Path, captured: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.baselines = folder / "baselines"
        self._captured = captured

    def file(self, content: dict[str, Any] | str, name: str = "results.json") -> str:
        """Write a file and return its name."""
        text = content if isinstance(content, str) else json.dumps(content)
        (self.folder / name).write_text(text, encoding="utf-8")
        return name

    def __call__(self, *words: str) -> tuple[int, str]:
        """Return the exit status and what was printed; nothing may go to stderr."""
        status = main(["baselines", *words])
        out, err = self._captured.readouterr()
        assert err == ""
        return status, out

    def json(self, *words: str) -> tuple[int, Any]:
        """Return the exit status and the document."""
        status, out = self(*words, "--json")
        return status, json.loads(out)

    def refused(self, *words: str) -> str:
        """Return the one line with which bad input is refused."""
        status = main(["baselines", *words])
        out, err = self._captured.readouterr()
        assert (status, out) == (2, "")
        (line,) = err.splitlines()
        assert line.startswith("pytest-llm: ")
        return line.removeprefix("pytest-llm: ")

    def accept(self, *speeds: float, **options: Any) -> None:
        """Have one run stored for each speed, an hour after the other."""
        for hours, speed in enumerate(speeds):
            document = results_of(Test(speed=speed, **options), hours=hours)
            status, _ = self("accept", self.file(document, "stored.json"))
            assert status == 0

    def files(self) -> dict[str, bytes]:
        """Return every stored file's content, by its path below the folder of baselines."""
        return {
            str(path.relative_to(self.baselines)): path.read_bytes()
            for path in sorted(self.baselines.rglob("*.json"))
        }

    @staticmethod
    def rewrite(path: Path, document: dict[str, Any]) -> None:
        """Write a stored file with the digest that its content should have."""
        content = {name: value for name, value in document.items() if name != "digest"}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        path.write_text(json.dumps({**content, "digest": digest}), encoding="utf-8")
