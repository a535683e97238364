"""Outcomes of campaigns, so that each runs once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from pytest_llm.errors import BrokenOffError, LLMBenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from pytest_llm.records import Workload

Made = TypeVar("Made")


class CampaignCache(Generic[Made]):
    """What campaigns made, errors included, by workload."""

    def __init__(self) -> None:
        self._made: dict[Hashable, Mapping[Workload, Made | LLMBenchError] | LLMBenchError] = {}

    def get(
        self, key: Hashable, workload: Workload, run: Callable[[], Mapping[Workload, Made | LLMBenchError]]
    ) -> Made:
        """Return what a campaign made of a workload, run the first time; raises the error it ended with."""
        made = self._made.get(key, {})
        if not isinstance(made, LLMBenchError) and workload not in made:
            try:
                made = {**made, **run()}
            except LLMBenchError as error:
                made = error
            except BaseException as error:  # such as a time limit of the test that asked
                self._made[key] = BrokenOffError(error)
                raise
            self._made[key] = made
        outcome = made if isinstance(made, LLMBenchError) else made[workload]
        if isinstance(outcome, LLMBenchError):
            raise outcome
        return outcome
