"""Sessions: from a plan and engines to runs. Knows no pytest and no engine by name.

Each session is a fresh process a subject: memory layout and placement differ from one process to the next, so
a session is the unit that may be called independent.
"""

from pytest_llm.campaign.alone import Outcome, run_alone
from pytest_llm.campaign.outputs import OutputRun, compare_outputs
from pytest_llm.campaign.paired import PairedOutcome, Side, run_paired
from pytest_llm.campaign.rounds import Surroundings
from pytest_llm.campaign.saying import SaidRun, say

__all__ = [
    "Outcome",
    "OutputRun",
    "PairedOutcome",
    "SaidRun",
    "Side",
    "Surroundings",
    "compare_outputs",
    "run_alone",
    "run_paired",
    "say",
]
