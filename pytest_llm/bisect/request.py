"""What a test asks for, as pytest collected it: known before anything is measured."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llm.records import Gate, LoadOptions, Workload  # noqa: TC001 - codecs read annotations


@dataclass(frozen=True)
class Planned:
    """A benchmark that compares two builds.

    Attributes:
        nodeid: As pytest writes it.
        model: What the test calls it.
        model_sha256: Of its file.
        load_options: As asked.
        workload: As asked.
        gates: What the two builds are compared in.
        sessions: How many a comparison takes at most.
        seconds: About how long a comparison takes where a token costs no more than 10 ms.
    """

    nodeid: str
    model: str
    model_sha256: str
    load_options: LoadOptions
    workload: Workload
    gates: tuple[Gate, ...]
    sessions: int
    seconds: float


@dataclass(frozen=True)
class Selected:
    """What pytest selected.

    Attributes:
        benchmarks: Those that could be measured.
        problems: Why others could not.
    """

    benchmarks: tuple[Planned, ...] = ()
    problems: tuple[str, ...] = ()
