"""Qualification: checks by measuring that a machine's verdicts on speed are right, and the stored result."""

from pytest_llm.machine.qualification.checks import (
    CHECKS,
    CONFIDENCE,
    GATES,
    SESSIONS,
    TOLERANCE,
    Check,
    qualify,
)
from pytest_llm.machine.qualification.record import (
    CheckFigures,
    LabelBias,
    Qualification,
    Result,
    ShamPair,
    Standing,
    read,
    write,
)

__all__ = [
    "CHECKS",
    "CONFIDENCE",
    "GATES",
    "SESSIONS",
    "TOLERANCE",
    "Check",
    "CheckFigures",
    "LabelBias",
    "Qualification",
    "Result",
    "ShamPair",
    "Standing",
    "qualify",
    "read",
    "write",
]
