"""What was measured: each campaign runs once."""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from pytest_llm.builds.provider import Provider
from pytest_llm.checks.family import Decisions
from pytest_llm.checks.operators import ProfilingContext, Work
from pytest_llm.checks.output.f32_copies import F32Copies
from pytest_llm.checks.variants import MeasuredVariants
from pytest_llm.engines import ENGINES
from pytest_llm.errors import LLMBenchError, MachineBusyError, UsageError
from pytest_llm.machine import fingerprint, qualification
from pytest_llm.machine.environment import measurement_context
from pytest_llm.machine.probes import all_devices
from pytest_llm.measure import OutputRun, TimeLimits, compare_outputs, measure
from pytest_llm.measure.duration import Size, Speed
from pytest_llm.measure.inside import measure_pair
from pytest_llm.measure.limits import RunBudget
from pytest_llm.measure.plan import make_plan
from pytest_llm.measure.variant_outputs import compare_outputs_of
from pytest_llm.measure.variants import measure_variants
from pytest_llm.plugin.campaign_cache import CampaignCache
from pytest_llm.plugin.controls import Controls
from pytest_llm.records import PairedRun, Run, StoredSnapshot, Subject, Workload
from pytest_llm.records.side import Side
from pytest_llm.stats.sequential import TAU, rule_for
from pytest_llm.system.lock import PATIENCE, MeasuringLock, lock_path

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    from pytest_llm.checks.family import Questions
    from pytest_llm.measure import MeasurementContext
    from pytest_llm.plugin.homes import Models
    from pytest_llm.plugin.settings import Settings
    from pytest_llm.plugin.speeds import Speeds
    from pytest_llm.records import (
        Benchmark,
        Campaign,
        Claim,
        Gate,
        OperatorRun,
        OutputGate,
        Phase,
        Plan,
    )
    from pytest_llm.records.protocols import Clock, Engine, Progress
    from pytest_llm.stats.sequential import Rule

    OnSession = Callable[[Subject, Subject | None, Mapping[Workload, Run | PairedRun]], None]


class Measuring:
    """What was measured so far. One campaign runs at a time, and none while another run measures."""

    def __init__(
        self,
        settings: Settings,
        models: Models,
        clock: Clock,
        make_room: Callable[[], None],
        on_session: OnSession,
        speeds: Speeds,
    ) -> None:
        """Begin with nothing measured.

        Args:
            settings: The options.
            models: Resolves names.
            clock: For budgets.
            make_room: Is called before each campaign.
            on_session: Receives the runs of a campaign so far after each session.
            speeds: What earlier runs measured.
        """
        self._settings = settings
        self._models = models
        self._clock = clock
        self._make_room = make_room
        self._on_session = on_session
        self._speeds = speeds
        self._process = os.getpid()
        self._lock = MeasuringLock(lock_path(os.environ))
        self._refused: MachineBusyError | None = None
        self._solo: CampaignCache[Run] = CampaignCache()
        self._paired: CampaignCache[PairedRun] = CampaignCache()
        self._variants: CampaignCache[MeasuredVariants] = CampaignCache()
        self._outputs: CampaignCache[OutputRun] = CampaignCache()
        self._budget = RunBudget(settings.budget, clock)
        self._pairs: dict[Hashable, tuple[PairedRun, list[Gate | Claim]]] = {}
        self._operators: dict[Hashable, OperatorRun] = {}
        self._controls = Controls(self._lock)
        self._inside: dict[Hashable, PairedRun | None] = {}

    @cached_property
    def _provider(self) -> Provider:
        settings = self._settings
        how = settings.timeout, settings.sandbox
        return Provider(settings.cache, *how, home=settings.home, counts=settings.instructions)

    @cached_property
    def _copies(self) -> F32Copies:
        return F32Copies(self._settings.cache / "f32", trusts_cache=self._settings.trusts_cache)

    def run(
        self, plan: Plan, subject: Subject, reference: Subject | None, workload: Workload, progress: Progress
    ) -> Run | PairedRun:
        """Return the run of a subject on a workload; with a reference, that of the pair.

        Raises:
            LLMBenchError: It could not be measured.
        """
        if reference is None:
            return self.solo(plan, subject, workload, progress)
        return self.paired(plan, subject, reference, workload, progress)

    def solo(self, plan: Plan, subject: Subject, workload: Workload, progress: Progress) -> Run:
        """Return the run of a subject on a workload.

        Raises:
            LLMBenchError: It could not be measured.
        """

        def run() -> Mapping[Workload, Run | LLMBenchError]:
            side = self._side(subject, progress)
            self._take_machine(progress)
            campaign = plan.campaign_of(subject)
            context = self._context(plan, campaign, progress)
            with self._unchanged(subject), self._budget.spending():
                return measure(campaign, (side,), self.rule(plan), context)

        return self._solo.get(subject, workload, run)

    def paired(
        self, plan: Plan, subject: Subject, reference: Subject, workload: Workload, progress: Progress
    ) -> PairedRun:
        """Return the runs of a subject and its reference on a workload.

        Raises:
            LLMBenchError: They could not be measured.
        """

        def run() -> Mapping[Workload, PairedRun | LLMBenchError]:
            sides = self._side(subject, progress, reference), self._side(reference, progress, subject)
            self._take_machine(progress)
            campaign = plan.campaign_of(subject, reference)
            context, (rule, earlier) = self._context(plan, campaign, progress), self.family(plan)
            with self._unchanged(subject, reference), self._budget.spending():
                wraps = ENGINES[subject.build.engine].wraps == reference.build.engine
                engine_of = partial(self._provider.engine, on_progress=progress.preparing) if wraps else None
                found = measure_pair(campaign, sides, rule, context, earlier, engine_of)
            self._inside |= {(subject, reference, each): split.inside for each, split in found.items()}
            outcomes = {each: split.pair for each, split in found.items()}
            self._note(campaign, outcomes)
            return outcomes

        return self._paired.get((subject, reference), workload, run)

    def inside(self, pair: PairedRun) -> PairedRun | None:
        """Return a server with a tool's flags, and the tool's reference; None if there is no such tool."""
        return self._inside.get((pair.candidate.subject, pair.reference.subject, pair.candidate.workload))

    def variants(
        self, plan: Plan, campaign: Campaign, workload: Workload, progress: Progress
    ) -> MeasuredVariants:
        """Return the runs of variants on a workload, and how far their outputs are apart.

        Raises:
            LLMBenchError: They could not be measured.
        """

        def run() -> Mapping[Workload, MeasuredVariants | LLMBenchError]:
            first, *others = (self._side(each, progress) for each in campaign.variants)
            self._take_machine(progress)
            context, (rule, earlier) = self._context(plan, campaign, progress), self.family(plan)
            with self._unchanged(*campaign.variants), self._budget.spending():
                on_progress = partial(progress.untimed, first.subject)
                outputs = compare_outputs_of((first, *others), on_progress) if campaign.output else ((), "")
                found = measure_variants(campaign, (*others, first), rule, context, earlier)
            self._note(campaign, found)
            return {
                each: pairs if isinstance(pairs, LLMBenchError) else MeasuredVariants(pairs, *outputs)
                for each, pairs in found.items()
            }

        return self._variants.get(campaign.variants, workload, run)

    def family(self, plan: Plan) -> tuple[Rule, Questions]:
        """Return the rule of a plan, and every gate and claim that it decides by a pair measured so far."""
        found = [(pair, asked) for pair, questions in self._pairs.values() for asked in questions]
        return self.rule(plan), found

    def decisions(self, plan: Plan) -> Decisions:
        """Return the decisions on what pairs were measured for so far."""
        return Decisions(*self.family(plan))

    def _note(self, campaign: Campaign, outcomes: Mapping[Workload, object]) -> None:
        # Sessions before an error count: verdicts on other workloads may rest on them.
        for workload, found in outcomes.items():
            asked = [q.asked for q in campaign.questions if q.workload == workload]
            decided = [one for one in asked if not one.metric.exact]
            for each in found if isinstance(found, tuple) else (found,):
                if isinstance(each, PairedRun) and not campaign.anchored:
                    self._pairs[each.candidate.subject, campaign.reference, workload] = each, decided

    def unplanned(self, benchmark: Benchmark, progress: Progress) -> Run:
        """Return the run of a benchmark that no plan has, alone; ``LLMBenchError`` if it fails."""
        plan = make_plan([benchmark], self._settings.effort)
        return self.solo(plan, benchmark.subject, benchmark.workload, progress)

    def output(
        self,
        subject: Subject,
        reference: Subject | StoredSnapshot | None,
        gate: OutputGate,
        workload: Workload,
        progress: Progress,
    ) -> OutputRun:
        """Compare the output of a subject with a reference's; without one, record a snapshot.

        Raises:
            LLMBenchError: It could not be captured.
        """
        shape = Workload(parallel=workload.parallel, embed=workload.embed)

        def run() -> Mapping[Workload, OutputRun | LLMBenchError]:
            against: Side | StoredSnapshot | None
            if isinstance(reference, Subject):
                side = self._side(subject, progress, reference)
                against = self._side(reference, progress, subject)
            else:
                side, against = self._side(subject, progress), reference
            self._take_machine(progress)
            on_progress = partial(progress.untimed, subject)
            with self._unchanged(subject), self._budget.spending():
                return {shape: compare_outputs(side, against, gate, shape, self._copies, on_progress)}

        return self._outputs.get((subject, repr(reference), gate, shape), shape, run)

    @contextmanager
    def _unchanged(self, *subjects: Subject) -> Iterator[None]:
        """Raise ``ModelHashError`` in the end if the file of a model changed meanwhile."""
        yield
        self._models.check_unchanged(subjects)

    def unmeasured(self, subject: Subject, workload: Workload, progress: Progress) -> Run:
        """Return a run without sessions: subject, workload, model and build.

        Raises:
            LLMBenchError: There is no such build or model.
        """
        side = self._side(subject, progress)
        with closing(side.engine.start_generation(subject, side.model)) as started:
            return Run(subject, workload, side.model, started.build, {}, (), {})

    def operators(
        self, pair: PairedRun, phases: Sequence[Phase], progress: Progress
    ) -> tuple[OperatorRun, ...]:
        """Return the times of operators in both builds of a pair, or why there are none."""
        ours, theirs, workload = pair.candidate.subject, pair.reference.subject, pair.candidate.workload
        keys = [(ours, theirs, workload, phase) for phase in phases]
        for key, phase in zip(keys, phases, strict=True):
            if key not in self._operators:
                context = ProfilingContext(progress.preparing, self._clock)
                builds, work = (ours.build, theirs.build), Work.of(pair.candidate, phase)
                self._operators[key] = self._provider.compare_operators(builds, work, context)
        return tuple(self._operators[key] for key in keys)

    def engine(self, subject: Subject, progress: Progress) -> Engine:
        """Return the engine of a subject; its build is made first if necessary.

        Raises:
            EngineError: It could not be made.
        """
        return self._provider.engine(subject.build, progress.preparing)

    def close(self) -> None:
        """Release the lock, and the builds of this run."""
        self._lock.release()
        if "_provider" in vars(self):
            self._provider.close()

    def _side(self, subject: Subject, progress: Progress, beside: Subject | None = None) -> Side:
        other = None if beside is None else beside.build
        engine = self._provider.engine(subject.build, progress.preparing, other)
        return Side(subject, self._models.resolve_subject(subject), engine)

    def _context(self, plan: Plan, campaign: Campaign, progress: Progress) -> MeasurementContext:
        left = self._budget.share(plan, campaign, self.rule(plan))
        limits = TimeLimits(self._settings.time_limit, left)
        context = measurement_context(progress, limits, self._clock, self._controls.of(campaign.subject))

        def on_session(runs: Mapping[Workload, Run | PairedRun]) -> None:
            self._note(campaign, runs)
            self._on_session(campaign.subject, campaign.reference, runs)

        return replace(context, on_session=on_session)

    def speed(self, subject: Subject) -> Speed:
        """Return how fast a subject is thought to be; nothing is fetched or loaded."""
        found, size = self._models.header(subject.model), Size()
        if found is not None:
            length, header = found
            size = Size(length, header.parameters, 4 * header.layers * header.embedding_length)
        on_gpu = subject.load_options.n_gpu_layers != 0 and bool(all_devices().devices)
        control = self._controls.now(subject)
        return Speed.of(size, control, on_gpu=on_gpu, measured=self._speeds.of(subject))

    @cached_property
    def tau(self) -> float:
        """The spread of label-bound bias on this machine, in logarithms."""
        cache = self._settings.known_cache
        return TAU if cache is None else qualification.read(cache, fingerprint.fingerprint()).tau

    def rule(self, plan: Plan) -> Rule:
        """Return the sequential rule of a plan's pairs."""
        # Without one, no device has to be asked.
        gated = any(each.gates or each.variants for each in plan.benchmarks)
        return rule_for(self._settings.effort, plan.family, self.tau if gated else TAU)

    def _take_machine(self, progress: Progress) -> None:
        if os.getpid() != self._process:
            raise UsageError(
                "a model cannot be measured in a process that another plugin has forked, where results are "
                "lost: leave out the option that runs each test in a process of its own"
            )
        self._make_room()
        if self._refused is not None:
            raise self._refused
        try:
            self._lock.acquire(PATIENCE, progress.waiting)
        except MachineBusyError as error:
            self._refused = error  # wait only once
            raise
