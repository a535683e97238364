"""The shape of a results file: checked before one is written and when one is read."""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jsonschema

from pytest_llm.errors import ResultsError

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1


def check(document: object) -> None:
    """Raise unless a value has the shape of a results file.

    Raises:
        ResultsError: It has not; the message names the place.
    """
    errors = sorted(_validator().iter_errors(document), key=lambda error: len(error.absolute_path))
    if errors:
        raise ResultsError(f"no results: {errors[0].json_path}: {_short(errors[0].message)}")


def read(path: Path) -> dict[str, Any]:
    """Return what a results file holds.

    Raises:
        ResultsError: It cannot be read, is not JSON, of another version, or not of the shape.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} is not JSON: {_short(str(error))}; was it cut off?") from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise ResultsError(
            f"{path} is of version {version}, this plugin reads up to {VERSION}: upgrade pytest-llm-bench"
        )
    try:
        check(document)
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}") from None
    assert isinstance(document, dict)
    return document


@functools.lru_cache(maxsize=1)
def _validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(files("pytest_llm.reports").joinpath("results-v1.schema.json").read_bytes())
    return jsonschema.Draft202012Validator(schema)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else f"{line[:157]}…"
