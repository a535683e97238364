"""One session of pytest: benchmarks are planned, measured and judged, and findings are written."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache, cached_property
from typing import TYPE_CHECKING

from pytest_llm.checks import slower_phases
from pytest_llm.checks.findings import Finding, VariantFinding
from pytest_llm.checks.judge import judge
from pytest_llm.checks.output.verdict import wrong_output
from pytest_llm.checks.variants import ONLY, judge_variant
from pytest_llm.errors import BrokenOffError, LLMBenchError, WrongOutputError
from pytest_llm.machine import fingerprint
from pytest_llm.measure.limits import check_limits
from pytest_llm.measure.plan import make_plan, small
from pytest_llm.plugin.confirmed import confirmed
from pytest_llm.plugin.ending import Ending
from pytest_llm.plugin.findings import Findings
from pytest_llm.plugin.loaded import LoadedModels
from pytest_llm.plugin.outputs import Outputs
from pytest_llm.plugin.protocol import Protocol
from pytest_llm.plugin.runner import Measuring
from pytest_llm.plugin.stored import Stored
from pytest_llm.records import LoadOptions, PairedRun, Plan, Run, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.plugin.homes import Homes
    from pytest_llm.plugin.settings import Settings
    from pytest_llm.plugin.speeds import Speeds
    from pytest_llm.records import Benchmark, Campaign, OperatorRun, Subject, Workload
    from pytest_llm.records.protocols import Clock, Engine, Progress


class Bench:
    """Strings the parts together; the configuration of pytest owns it."""

    def __init__(
        self, settings: Settings, homes: Homes, speeds: Speeds, clock: Clock = time.monotonic
    ) -> None:
        """Check what can be checked without loading anything.

        Args:
            settings: The options.
            homes: Where models and baselines are.
            speeds: What earlier runs measured.
            clock: For budgets.

        Raises:
            UsageError: An option or the project's table of models makes no sense, or the system does not tell
                what measuring needs.
        """
        self.settings = settings
        self.candidate = settings.candidate
        self.homes = homes
        homes.check(settings.models)
        if settings.bench:
            fingerprint.check_told()
        self.plan = Plan()
        self.begun = False  # tests run
        self.ending = Ending()
        self.findings = Findings(settings, homes)
        self.protocol = Protocol(self)
        self.loaded = LoadedModels(homes.models, self._engine, drift_fails=Verdict.DRIFT in settings.failing)
        self._speeds = speeds
        self.measuring = Measuring(
            settings, homes.models, clock, self.loaded.release, self._on_session, speeds
        )
        self.stored = Stored(settings, homes)
        self._outputs = Outputs(settings, self.measuring, self.stored)

    @cached_property
    def default_load_options(self) -> LoadOptions:
        """Load options of tests that declare none."""
        cores = fingerprint.usable_cores()
        return LoadOptions(n_threads=cores, n_threads_batch=cores)

    def make_plan(self, benchmarks: list[Benchmark]) -> None:
        """Plan the collected benchmarks."""
        self.plan = make_plan(
            benchmarks,
            self.settings.effort,
            self.settings.reference_of,
            anchor_of=self.settings.anchor_of,
            records_output=self.settings.keeps_output,
            equal=self.settings.equal_sides,
            speed_of=cache(self.measuring.speed) if self.settings.bench else small,
            time_limit=self.settings.time_limit,
        )

    def check_limits(self) -> None:
        """Refuse a plan that cannot reach its verdicts in time; ``UsageError``."""
        check_limits(
            self.plan, self.measuring.rule(self.plan), self.settings.time_limit, self.settings.budget
        )

    def measure(self, benchmark: Benchmark, progress: Progress) -> Finding:
        """Measure and judge a benchmark; a campaign runs when the first test asks for it.

        Raises:
            LLMBenchError: It could not be measured; a finding is added all the same.
        """
        self.findings.write_early(*self.measuring.family(self.plan))
        try:
            finding = self._find(benchmark, progress)
        except LLMBenchError as error:
            self.findings.add(Finding(benchmark, problem=str(error)))
            raise
        except KeyboardInterrupt:  # the test does not end, and its sessions so far are its finding
            raise
        except BaseException as error:
            self.findings.add(Finding(benchmark, problem=str(BrokenOffError(error))))
            raise
        self.findings.add(finding)
        self.findings.write_early(*self.measuring.family(self.plan))
        return finding

    def _find(self, benchmark: Benchmark, progress: Progress) -> Finding:
        plan, subject, workload = self.plan, benchmark.subject, benchmark.workload
        if benchmark.nodeid in plan.variants:
            return self._variant(benchmark, plan.variants[benchmark.nodeid], progress)
        reference = None if benchmark.variants else self.settings.reference_of(subject)
        try:
            output, captured = self._outputs.judged(benchmark, reference, progress)
            if captured is not None and output is not None and output.verdict is Verdict.WRONG_OUTPUT:
                # The speed of a wrong model is worth nothing.
                return Finding(benchmark, captured, output=output)
            if reference is not None:
                self._outputs.compare(self.plan, subject, reference, progress)
            beside = reference or plan.anchor_of(subject, workload)
            measured = self.measuring.run(plan, subject, beside, workload, progress)
            claims = [
                self.measuring.paired(plan, subject, each.than, workload, progress)
                for each in benchmark.claims
            ]
        except WrongOutputError as error:
            run = self.measuring.unmeasured(subject, workload, progress)
            return Finding(benchmark, run, output=wrong_output(benchmark.output, str(error)))
        stored, anchored = self.stored.judging(benchmark), reference is None
        finding = judge(
            benchmark, measured, claims, stored, self.measuring.decisions(self.plan), anchored=anchored
        )
        operators: tuple[OperatorRun, ...] = ()
        if self.settings.operators and isinstance(measured, PairedRun):
            operators = self.measuring.operators(measured, slower_phases(finding.comparisons), progress)
        variant = VariantFinding("", note=ONLY) if benchmark.variants else None
        inside = self.measuring.inside(measured) if isinstance(measured, PairedRun) else None
        found = replace(finding, output=output, operators=operators, variant=variant, inside=inside)
        return confirmed(found, self.measuring, plan, self.settings.effort, progress)

    def _variant(self, benchmark: Benchmark, campaign: Campaign, progress: Progress) -> Finding:
        output, _ = self._outputs.judged(benchmark, None, progress)
        found = self.measuring.variants(self.plan, campaign, benchmark.workload, progress)
        judged = judge_variant(benchmark, campaign.variants, found, self.measuring.decisions(self.plan))
        return replace(judged, output=output)

    def _on_session(
        self, subject: Subject, reference: Subject | None, runs: Mapping[Workload, Run | PairedRun]
    ) -> None:
        """Note and write what the sessions so far show of the tests that share them."""
        for run in runs.values():
            self._speeds.note(subject, run.candidate if isinstance(run, PairedRun) else run)
        decisions = self.measuring.decisions(self.plan)
        self.findings.note_sessions(self.plan, subject, reference, runs, decisions, self.stored.judging)
        self.findings.write_early(*self.measuring.family(self.plan))

    def measure_solo(self, benchmark: Benchmark, progress: Progress) -> Finding:
        """Measure and judge a benchmark that no plan has; ``LLMBenchError`` if it could not be measured."""
        run = self.measuring.unplanned(benchmark, progress)
        return judge(benchmark, run, (), self.stored.judging(benchmark), self.measuring.decisions(self.plan))

    def _engine(self, subject: Subject, progress: Progress) -> Engine:
        return self.measuring.engine(subject, progress)

    def note_outcome(self, benchmark: Benchmark, outcome: str, *, failed_by_verdict: bool) -> None:
        """Note how the test of a benchmark ended."""
        if self.findings.note_outcome(benchmark.nodeid, outcome, failed_by_verdict=failed_by_verdict):
            self.findings.write_early(*self.measuring.family(self.plan))

    def judged_again(self) -> Mapping[str, Finding]:
        """Return all findings by node id, judged anew from what is stored."""
        return self.findings.judged_again(*self.measuring.family(self.plan))

    def finish(self) -> None:
        """Write the results and baselines that the options ask for."""
        self.findings.finish(*self.measuring.family(self.plan))

    def close(self) -> None:
        """End every process that is still there."""
        self.loaded.release()
        self.measuring.close()
