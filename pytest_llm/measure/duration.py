"""How long a campaign takes, from what is known before anything is loaded.

A token of a prompt takes two floating-point operations for each parameter, and a step of generation reads
every weight once. How fast this machine does either, its control says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.measure.budgets import PAIR, SOLO
from pytest_llm.measure.leaks import READINGS, STEPS
from pytest_llm.records import PlannedTime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.records import Control, Workload

# Of the control's rates, what llama.cpp reaches: reading weights; computing with a batch, and with one token;
# and attending to the cache with one token. Fitted to SmolLM2 (Q4_1) on one and two cores with AVX2.
_READING, _COMPUTING, _STEPPING, _ATTENDING = 1.3, 0.4, 0.14, 0.055
# If there is no control: a small computer, and what a GPU is faster by.
_BANDWIDTH, _ARITHMETIC, _GPU = 10e9, 150e9, 20.0
# Starting a process and asking what it loaded, and the bytes that are loaded in a second.
START_SECONDS = 0.8
_LOADED_BYTES = 1e9


class Size(NamedTuple):
    """The size of a model.

    Attributes:
        file_bytes: Of its files.
        parameters: Elements of all tensors.
        attended: Floating-point operations that a token takes for each earlier one: 4 · layers · width.
    """

    file_bytes: int = 98_000_000
    parameters: int = 135_000_000
    attended: int = 69_000


class Measured(NamedTuple):
    """Seconds of a token of a prompt, and of a step of generation, that a workload took before."""

    token: float
    step: float


@dataclass(frozen=True)
class Speed:
    """How fast a subject is thought to be: seconds.

    Attributes:
        start: To start a process and load the model.
        token: To decode one token of a prompt at depth 0.
        step: To decode one token at depth 0, which reads all weights once.
        token_attends: More for a token of a prompt, for each token before it.
        step_attends: More for a generated token, for each token before it.
        measured: What workloads took before, by their text.
    """

    start: float
    token: float
    step: float
    token_attends: float = 0.0
    step_attends: float = 0.0
    measured: Mapping[str, Measured] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        size: Size,
        control: Control | None,
        *,
        on_gpu: bool = False,
        measured: Mapping[str, Measured] | None = None,
    ) -> Speed:
        """Return the speed of a model of a size on a machine; without a control, that of a small computer."""
        bandwidth = control.bandwidth if control else _BANDWIDTH
        arithmetic = control.arithmetic if control else _ARITHMETIC
        faster = _GPU if on_gpu else 1.0
        computing = arithmetic * _COMPUTING * faster
        return cls(
            START_SECONDS + size.file_bytes / _LOADED_BYTES,
            2 * size.parameters / computing,
            max(
                size.file_bytes / (bandwidth * _READING * faster),
                2 * size.parameters / (arithmetic * _STEPPING * faster),
            ),
            size.attended / computing,
            size.attended / (arithmetic * _ATTENDING * faster),
            measured or {},
        )

    def prompt(self, workload: Workload, tokens: int, position: int) -> float:
        """Return the seconds of so many tokens of prompt of each sequence, from a position on."""
        known = self.measured.get(str(workload))
        attended = (position + tokens / 2) * self.token_attends
        return tokens * workload.parallel * (known.token if known else self.token + attended)

    def steps(self, workload: Workload, steps: int) -> float:
        """Return the seconds of so many steps of generation, after the prompt."""
        known = self.measured.get(str(workload))
        if known:
            return steps * known.step
        attended = workload.depth + workload.prompt_tokens + steps / 2
        return steps * (
            max(self.step, workload.parallel * self.token) + workload.parallel * attended * self.step_attends
        )

    def request(self, workload: Workload) -> float:
        """Return the seconds of one whole request on top of the workload's depth."""
        prompt = self.prompt(workload, workload.prompt_tokens, workload.depth)
        return (
            prompt if workload.embed else prompt + self.steps(workload, max(0, workload.generate_tokens - 1))
        )

    def rehearsal(self, workload: Workload) -> float:
        """Return the seconds of filling the context to the workload's depth, and one request."""
        return self.prompt(workload, workload.depth, 0) + self.request(workload)

    def watching(self, workload: Workload) -> float:
        """Return the seconds of watching for leaks."""
        steps = READINGS * min(STEPS, max(1, workload.generate_tokens))
        return self.start + self.rehearsal(workload) + self.steps(workload, steps)


def planned_time(
    speeds: Sequence[Speed],
    workloads: Sequence[Workload],
    requests: Mapping[Workload, int],
    leaks: Sequence[Workload] = (),
) -> PlannedTime:
    """Return how long the sessions of a campaign take.

    Args:
        speeds: Of the only subject, or of both.
        workloads: Of the campaign.
        requests: Whole requests in a session, by workload.
        leaks: The workloads that the first subject is watched on for leaks.
    """
    budgets = SOLO if len(speeds) == 1 else PAIR

    def work(workload: Workload, among: int) -> float:
        shared = budgets.shared_by(among)
        budget = shared.texts if workload.embed else shared.rounds
        once = sum(each.request(workload) for each in speeds)
        # The budget is over in the midst of the last round.
        rounds = max(budget.least * once, min(budget.most * once, budget.seconds + once / 2))
        return sum(each.rehearsal(workload) for each in speeds) + rounds + requests.get(workload, 0) * once

    start = sum(each.start for each in speeds)
    looked_at = start + sum(each.rehearsal(workload) for each in speeds for workload in workloads)
    return PlannedTime(
        before=looked_at if len(speeds) > 1 else 0.0,
        start=start,
        work={each: work(each, len(workloads)) for each in workloads},
        work_alone={each: work(each, 1) for each in workloads},
        after=sum(speeds[0].watching(each) for each in leaks),
    )
