"""Tells at the end of a whole run what is stored of tests that are not there any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.baselines import full_name
from pytest_llm.errors import LLMBenchError
from pytest_llm.plugin.inventory import Watcher

if TYPE_CHECKING:
    import pytest

    from pytest_llm.baselines import BaselineStore

_NAME = "llm_bench_collected"
# More would push what was measured off the screen; the command shows all.
_MOST = 5


def watch(config: pytest.Config) -> None:
    """Have the collection noted."""
    config.pluginmanager.register(Watcher(config), _NAME)


def lines(config: pytest.Config, store: BaselineStore) -> list[str]:
    """Return a line where baselines are of no test any more; none where this run cannot know."""
    watcher = config.pluginmanager.get_plugin(_NAME)
    if not isinstance(watcher, Watcher) or watcher.deselected:
        return []
    collected = watcher.collected()
    if collected.partial or not collected.keys:
        return []
    try:
        unknown = collected.unknown(store.unknown(collected.keys))
    except LLMBenchError as error:
        return [f"whether baselines are of no test any more cannot be said: {error}"]
    if not unknown:
        return []
    told = [full_name(key) for key in unknown[:_MOST]]
    more = [f"{len(unknown) - _MOST} more"] if len(unknown) > _MOST else []
    of = "1 test that is" if len(unknown) == 1 else f"{len(unknown)} tests that are"
    return [
        f"there are baselines of {of} not there any more: {', '.join([*told, *more])}; "
        "list and remove them with pytest-llm baselines prune"
    ]
