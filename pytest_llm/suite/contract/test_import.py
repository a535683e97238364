"""Does the candidate import at all?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.errors import EngineError
from pytest_llm.plugin.messages import message
from pytest_llm.suite.contract.candidate import broken
from pytest_llm.suite.contract.conftest import BUILD

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.suite.contract.candidate import Candidate

# The kind of error -> what it means.
_MEANINGS = {
    "AttributeError": "the binding declares a function that its library lacks: they are of two releases",
    "OSError": "the library, or one that it needs, cannot be loaded",
    "RuntimeError": "the library, or one that it needs, cannot be loaded",
    "FileNotFoundError": "the binding is there without its library",
}


def test_llama_cpp_imports(candidate: Candidate, record_property: Callable[[str, object], None]) -> None:
    """The module imports, and has every function without which no model can be run."""
    try:
        record_property(BUILD, str(candidate.describe()))
    except EngineError as error:
        text = message(error)
        meanings = [meaning for kind, meaning in _MEANINGS.items() if f" {kind}: " in text]
        broken("\n".join([text, *meanings]))
