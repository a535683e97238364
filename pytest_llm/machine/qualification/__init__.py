"""Qualification: checks by measuring that a machine's verdicts on speed are right, and the stored result."""

from pytest_llm.machine.qualification.checks import CHECKS, CONFIDENCE, GATES, SESSIONS, Check, qualify
from pytest_llm.machine.qualification.record import CheckFigures, Qualification, Result, Standing, read, write

__all__ = [
    "CHECKS",
    "CONFIDENCE",
    "GATES",
    "SESSIONS",
    "Check",
    "CheckFigures",
    "Qualification",
    "Result",
    "Standing",
    "qualify",
    "read",
    "write",
]
