"""Energy is that of warm requests, as the real pynvml tells it on a library that answers by a script."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.measure import MeasurementContext, TimeLimits
from pytest_llm.measure.rehearsal import rehearse
from pytest_llm.records import Build, Series, Workload
from pytest_llm.records.protocols import Coverage
from tests.unit.measure.pretended_pair import Calm, Machine, Told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.nvml_library import Library, Script

COLD, WARM, FIRST = 100_000, 4_000, 7_000_000  # millijoules
SECONDS = 0.3
NOT_SUPPORTED = 3
CHAT = Workload(prompt_tokens=100, generate_tokens=20)


class OnADevice:
    """A subject whose first request takes far more energy than the others."""

    def __init__(self, script: Script, coverage: Coverage, *, tells: bool = True) -> None:
        self.pid = os.getpid()
        self.machine = Machine()
        self.warm = 0
        self.awake = True
        self.build = Build("fake", "1.0", "", "here")
        self._script = script
        self._coverage = coverage
        self._energy = FIRST
        self._tells = tells
        self._spend(0)

    def _spend(self, millijoules: int) -> None:
        self._energy += millijoules
        self._script.write(
            "devices 1",
            f"process 0 {self.pid} 700",
            f"tell nvmlDeviceGetTotalEnergyConsumption {self._energy}"
            if self._tells
            else f"error nvmlDeviceGetTotalEnergyConsumption {NOT_SUPPORTED}",
        )

    on_gpu = continues = True
    prompt_batch = 512

    def coverage(self, workload: Workload) -> Coverage:
        return self._coverage

    def counts(self) -> Mapping[str, Series]:
        assert self.awake
        return {}

    def rehearse(self, workload: Workload) -> float:
        assert self.awake
        self._spend(COLD)
        return 0.01

    def request(self) -> tuple[float, Sequence[float]]:
        self.warm += 1
        self._spend(WARM)
        self.machine.spend(SECONDS)
        return SECONDS, ()

    def embedding_slice(self) -> tuple[int, float]:
        self.request()
        return 100, SECONDS

    def resume(self) -> None:
        self.awake = True

    def suspend(self) -> None:
        self.awake = False


def rehearsed(
    library: Library, subject: OnADevice, workload: Workload = CHAT, *, beside: bool = False
) -> Mapping[str, Series]:
    context = MeasurementContext(
        probe=library.memory(),
        noise=Calm(),
        clock=subject.machine.clock,
        progress=Told(),
        coin=lambda: True,
        room=lambda: 1e9,
        limits=TimeLimits(1e9),
    )
    loaded: Any = subject
    return rehearse(loaded, workload, context, beside=beside).seen


@pytest.fixture
def library(nvml_library: Callable[..., Library]) -> Library:
    return nvml_library()


@pytest.mark.parametrize("workload", [CHAT, replace(CHAT, depth=1000), replace(CHAT, embed=True)])
def test_the_cold_request_is_no_part_of_the_energy_of_a_request(
    library: Library, nvml_script: Script, workload: Workload
) -> None:
    subject = OnADevice(nvml_script, Coverage(requests=not workload.embed))
    found = rehearsed(library, subject, workload)
    assert found["energy"] == Series((WARM / 1000,))
    assert found["peak_vram"].values == (700.0,)
    assert subject.warm == 4  # as many as take a second


def test_no_energy_is_read_where_another_subject_is_loaded_or_no_request_can_be_made(
    library: Library, nvml_script: Script
) -> None:
    for coverage, beside in ((Coverage(), True), (Coverage(requests=False), False)):
        subject = OnADevice(nvml_script, coverage)
        subject.awake = not beside
        found = rehearsed(library, subject, beside=beside)
        assert "energy" not in found
        assert found["peak_vram"].values == (700.0,)
        assert (subject.warm, subject.awake) == (0, not beside)


def test_a_device_that_tells_no_energy_costs_no_further_request(
    library: Library, nvml_script: Script
) -> None:
    subject = OnADevice(nvml_script, Coverage(), tells=False)
    found = rehearsed(library, subject)
    assert found["peak_vram"].values == (700.0,)
    assert "energy" not in found
    assert subject.warm == 0
