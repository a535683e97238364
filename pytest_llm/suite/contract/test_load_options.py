"""Load options: each is accepted, or refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.suite.candidate import Refused, broken, not_covered
from pytest_llm.suite.contract import options

if TYPE_CHECKING:
    from pytest_llm.suite.candidate import Candidate
    from pytest_llm.suite.contract.options import Trial

# llama.cpp cannot read a quantised V cache without flash attention.
_NONSENSE = {"flash_attn": "off", "type_v": "q8_0"}


@pytest.mark.parametrize("trial", options.all_trials(), ids=str)
def test_is_accepted(trial: Trial, candidate: Candidate) -> None:
    """The model loads with it, and nothing shows that it had no effect."""
    outcome = candidate.load(**trial.options)
    if isinstance(outcome, Refused):
        _judge_refusal(trial, outcome)
        return
    wrong = options.contradiction(trial, outcome)
    if wrong:
        broken(f"{trial} was accepted, but {wrong}")
    if str(trial) == "flash_attn=auto" and not _chooses_flash_attention(candidate):
        not_covered("flash_attn=auto: the build knows on and off alone, auto is off there")


def test_nonsense_is_refused_in_llama_cpps_own_words(candidate: Candidate) -> None:
    """llama.cpp refuses it with a reason, or accepts it."""
    outcome = candidate.load(**_NONSENSE)
    if isinstance(outcome, Refused) and not any("V cache" in line for line in outcome.log):
        broken("a quantised V cache without flash attention was refused without a reason", outcome.log)


def _judge_refusal(trial: Trial, refused: Refused) -> None:
    """End the test: not covered if the build lacks the option, broken if llama.cpp refuses it."""
    if not refused.log:
        if not options.names_an_option(refused):
            broken(f"{trial} was refused without naming it: {refused.message}")
        not_covered(f"{trial}: {refused.message}")
    if (trial.option, trial.value) in options.MACHINE_DEPENDENT:
        not_covered(f"{trial}: llama.cpp refuses it here: {refused.log[-1]}")
    broken(f"{trial}: {refused.message}", refused.log)


def _chooses_flash_attention(candidate: Candidate) -> bool:
    fields = candidate.structs["structs"]["llama_context_params"]["fields"]
    return any(name == "flash_attn_type" for name, *_ in fields)
