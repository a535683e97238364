"""A run of which nothing is known: what a test says something about is replaced."""

from __future__ import annotations

from pytest_llm.records import Build, Installed, LoadOptions, Model, Run, Subject, Workload

MODEL = Model("m", "m.gguf", "0" * 64, 1, "llama", "Q4_1", 1, 1, 1, 1, 1, 1, 1)
SUBJECT = Subject("m", Installed("llama-cpp-python"), LoadOptions())
BUILD = Build("llama-cpp-python", "0.3.36", "0c1e570", "python")
RUN = Run(
    subject=SUBJECT,
    workload=Workload(),
    model=MODEL,
    build=BUILD,
    effective_options={},
    sessions=(),
    measurements={},
)
