"""Is every load option accepted, or refused by name?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.suite.contract import options
from pytest_llm.suite.contract.candidate import Refused, broken, not_covered

if TYPE_CHECKING:
    from pytest_llm.suite.contract.candidate import Candidate
    from pytest_llm.suite.contract.options import Asked

# llama.cpp cannot read a quantised V cache without flash attention.
_NONSENSE = {"flash_attn": "off", "type_v": "q8_0"}


@pytest.mark.parametrize("asked", options.everything(), ids=str)
def test_is_accepted(asked: Asked, candidate: Candidate) -> None:
    """The model loads with it, and the context has it where that can be seen."""
    outcome = candidate.load(**asked.options)
    if isinstance(outcome, Refused):
        _told_by_name(asked, outcome)
        return
    wrong = options.unseen(asked, outcome)
    if wrong:
        broken(f"{asked} was accepted, but {wrong}")
    if str(asked) == "flash_attn=auto" and not _chooses_flash_attention(candidate):
        not_covered("flash_attn=auto: the build knows on and off alone, auto is off there")


def test_nonsense_is_refused_in_llama_cpps_own_words(candidate: Candidate) -> None:
    """What llama.cpp does not do it refuses, and says why, or it does it after all."""
    outcome = candidate.load(**_NONSENSE)
    if isinstance(outcome, Refused) and not any("V cache" in line for line in outcome.log):
        broken(
            "\n  | ".join(
                ["a quantised V cache without flash attention was refused without a reason", *outcome.log]
            )
        )


def _told_by_name(asked: Asked, refused: Refused) -> None:
    """End the test: what a build lacks is not covered, what llama.cpp refuses breaks the contract."""
    if not refused.log:
        if not options.names_an_option(refused):
            broken(f"{asked} was refused without naming it: {refused.message}")
        not_covered(f"{asked}: {refused.message}")
    if options.up_to_the_machine(asked):
        not_covered(f"{asked}: llama.cpp refuses it here: {refused.log[-1]}")
    broken("\n  | ".join([f"{asked}: {refused.message}", *refused.log]))


def _chooses_flash_attention(candidate: Candidate) -> bool:
    fields = candidate.structs["structs"]["llama_context_params"]["fields"]
    return any(name == "flash_attn_type" for name, *_ in fields)
