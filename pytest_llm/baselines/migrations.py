"""From older versions of the files to this one, step by step; what is read so is stored as the newest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llm.records import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = 1

_NO_PROVENANCE = {"build": "", "llama_cpp_commit": "", "recorded": "", "plugin": ""}


def _from_0(document: dict[str, Any]) -> dict[str, Any]:
    """Version 0 had no units and no provenance: a metric's runs were bare numbers."""
    for test in document["tests"].values():
        if "invariants" in test:
            test["provenance"] = dict(_NO_PROVENANCE)
        for name, metric in test.get("metrics", {}).items():
            metric["unit"] = metrics.find(name).unit.base
            metric["runs"] = [{"value": value, **_NO_PROVENANCE} for value in metric["runs"]]
    return document


# From which version: the function that makes it the next one. They may change the document that they get.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {0: _from_0}


def migrate(document: dict[str, Any], version: int) -> dict[str, Any]:
    """Return the document as this version would have written it.

    Raises:
        LookupError, AttributeError, TypeError, ValueError, LLMBenchError: The document is not of its
            version's shape.
    """
    for step in range(version, VERSION):
        document = MIGRATIONS[step](document)
    return {**document, "schema_version": VERSION}
