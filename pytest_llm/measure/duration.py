"""How long a campaign takes, from what is known before anything is loaded.

A token of a prompt takes two floating-point operations for each parameter, and a step of generation reads
every weight once. How fast this machine does either, its control says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llm.measure.leaks import READINGS, STEPS
from pytest_llm.measure.rounds import PAIR, SOLO
from pytest_llm.records import PlannedTime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.records import Control, Workload

# Of the control's rates, what llama.cpp reaches: weights are only read, and lie partly in caches.
_READING = 1.5
_COMPUTING = 0.9
# If there is no control: a small computer, and what a GPU is faster by.
_BANDWIDTH, _ARITHMETIC, _GPU = 10e9, 60e9, 20.0
# If a model cannot be looked at yet: one of 135 million parameters in 4 bits.
_SMALL_BYTES, _SMALL_PARAMETERS = 100_000_000, 135_000_000
# Starting a process and asking what it loaded, and the bytes that are loaded in a second.
START_SECONDS = 0.8
_LOADED_BYTES = 1e9


@dataclass(frozen=True)
class Size:
    """The size of a model: bytes of its files, and elements of all tensors."""

    file_bytes: int = _SMALL_BYTES
    parameters: int = _SMALL_PARAMETERS


@dataclass(frozen=True)
class Speed:
    """How fast a subject is thought to be: seconds.

    Attributes:
        start: To start a process and load the model.
        token: To decode one token of a prompt.
        step: To read all weights, which a step of generation does once.
    """

    start: float
    token: float
    step: float

    @classmethod
    def of(cls, size: Size, control: Control | None, *, on_gpu: bool = False) -> Speed:
        """Return the speed of a model of a size on a machine; without a control, that of a small computer."""
        bandwidth, arithmetic = (
            (control.bandwidth, control.arithmetic) if control else (_BANDWIDTH, _ARITHMETIC)
        )
        faster = _GPU if on_gpu else 1.0
        return cls(
            START_SECONDS + size.file_bytes / _LOADED_BYTES,
            2 * size.parameters / (arithmetic * _COMPUTING * faster),
            size.file_bytes / (bandwidth * _READING * faster),
        )

    def request(self, workload: Workload) -> float:
        """Return the seconds of one whole request on top of the workload's depth."""
        prompt = workload.prompt_tokens * workload.parallel * self.token
        if workload.embed:
            return prompt
        steps = max(0, workload.generate_tokens - 1)
        return prompt + steps * max(self.step, workload.parallel * self.token)

    def rehearsal(self, workload: Workload) -> float:
        """Return the seconds of filling the context to the workload's depth, and one request."""
        return workload.depth * workload.parallel * self.token + self.request(workload)

    def watching(self, workload: Workload) -> float:
        """Return the seconds of watching for leaks."""
        steps = READINGS * min(STEPS, max(1, workload.generate_tokens))
        return self.start + self.rehearsal(workload) + steps * max(self.step, workload.parallel * self.token)


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
