"""Other variables for the processes of an engine: they reach them, or nothing starts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.engines.environment import PASS, passed
from pytest_llm.errors import EngineError
from pytest_llm.machine.qualification.injected import WithVariables
from tests.bare import MODEL, SUBJECT

if TYPE_CHECKING:
    from pytest_llm.records import Model, Subject

UNKNOWN = "GGML_FAULT_NOBODY_KNOWS"


class Engine:
    """Starts nothing, and returns what would reach a process."""

    def start(self, subject: Subject, model: Model) -> Any:
        return {name: os.environ[name] for name in passed(os.environ)}

    start_generation = start


@pytest.mark.parametrize("names", [None, "MINE_*"])
def test_a_variable_that_no_list_has_reaches_the_process(
    monkeypatch: pytest.MonkeyPatch, names: str | None
) -> None:
    monkeypatch.setenv("MINE_TOO", "2")
    monkeypatch.setenv(PASS, names) if names else monkeypatch.delenv(PASS, raising=False)
    before = dict(os.environ)

    reached: Any = WithVariables(Engine(), {UNKNOWN: "1", "LANG": None}).start(SUBJECT, MODEL)

    assert reached[UNKNOWN] == "1"
    assert "LANG" not in reached
    assert ("MINE_TOO" in reached) == (names is not None)
    assert dict(os.environ) == before


def test_a_variable_that_would_not_reach_it_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("API_TOKEN", raising=False)
    engine = WithVariables(Engine(), {"API_TOKEN": "hf_abcdefghijklmnopqrstuvwxyz0123456789"})
    with pytest.raises(EngineError, match="API_TOKEN would not reach the engine's process"):
        engine.start(SUBJECT, MODEL)
    assert "API_TOKEN" not in os.environ
