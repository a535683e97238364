"""Import of the candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.errors import EngineError
from pytest_llm.plugin.messages import message
from pytest_llm.suite.candidate import broken
from pytest_llm.suite.summary import BUILD

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.suite.candidate import Candidate

_MEANINGS = {
    "AttributeError": "the binding declares a function that its library lacks: they are of two releases",
    "OSError": "the library, or one that it needs, cannot be loaded",
    "RuntimeError": "the library, or one that it needs, cannot be loaded",
    "FileNotFoundError": "the binding is there without its library",
}


def test_llama_cpp_imports(candidate: Candidate, record_property: Callable[[str, object], None]) -> None:
    """The module imports, and has every function that running a model needs."""
    try:
        record_property(BUILD, str(candidate.describe()))
    except EngineError as error:
        text = message(error)
        meanings = [meaning for kind, meaning in _MEANINGS.items() if f" {kind}: " in text]
        broken("\n".join([text, *meanings]))
