"""Whether a machine's speed verdicts may be believed: checks that show it, and the file that keeps the answer."""

from pytest_llm.qualification.checks import CHECKS, GATES, SESSIONS, Check, qualify
from pytest_llm.qualification.file import Standing, read, write
from pytest_llm.qualification.record import Figures, Qualification, Result

__all__ = [
    "CHECKS",
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
