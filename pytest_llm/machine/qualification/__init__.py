"""Whether a machine's verdicts on speed may be believed: the checks, and the file that keeps the answer."""

from pytest_llm.machine.qualification.checks import CHECKS, CONFIDENCE, GATES, SESSIONS, Check, qualify
from pytest_llm.machine.qualification.file import Standing, read, write
from pytest_llm.machine.qualification.record import Figures, Qualification, Result

__all__ = [
    "CHECKS",
    "CONFIDENCE",
    "GATES",
    "SESSIONS",
    "Check",
    "Figures",
    "Qualification",
    "Result",
    "Standing",
    "qualify",
    "read",
    "write",
]
