"""A file of baselines as text: strict JSON that is sorted, versioned, checked and sealed.

Stored values decide whether a build is called slower, and a flipped digit is JSON as good as any. So a file
carries the digest of everything else in it, and one whose digest is wrong is refused, be it damaged or edited
by hand: a number nobody measured is no baseline. A pull request still shows what changed, line by line; to
change a baseline is to accept a run again, also where two branches did and git cannot join them. The digest
guards against accidents, not against someone who computes it anew.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

import jsonschema

from pytest_llm.baselines.migrations import VERSION, migrate
from pytest_llm.errors import BaselineError, LLMBenchError

if TYPE_CHECKING:
    from pathlib import Path

# A thousand tests with four metrics of twenty runs each take half of it; what is larger was not written here.
MAX_BYTES = 32 * 2**20

Kind = Literal["machine", "portable"]

_CUT_OFF = "was it cut off? restore it from version control"
_AGAIN = "restore it from version control, or delete it and accept the results again"


def parse(data: bytes, kind: Kind, path: Path) -> dict[str, Any]:
    """Return what a file holds, as this version would have written it, digest left out.

    Args:
        data: The file, whole.
        kind: Which of the two shapes it should have.
        path: What to call the file in messages.

    Raises:
        BaselineError: It is too large, not JSON, of a later version, out of shape, or its digest is wrong.
    """
    try:
        return _parse(data, kind, path)
    except RecursionError:
        raise BaselineError(f"{path} is nested too deep; {_AGAIN}") from None


def _parse(data: bytes, kind: Kind, path: Path) -> dict[str, Any]:
    document = _load(data, path)
    version = document.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise BaselineError(f"{path}: $.schema_version is not a version; {_AGAIN}")
    if version > VERSION:
        raise BaselineError(
            f"{path} is of version {version}, this plugin reads up to {VERSION}: upgrade pytest-llm-bench"
        )
    if version < VERSION:
        _check_digest(document, path)
        document = _migrated(document, version, path)
    _check_shape(document, kind, path)
    _check_digest(document, path)
    return {name: value for name, value in document.items() if name != "digest"}


def compose(document: dict[str, Any], kind: Kind, path: Path) -> bytes:
    """Return the file that holds a document: equal documents, equal bytes.

    Args:
        document: Everything but the version and the digest.
        kind: Which of the two shapes it has.
        path: What to call the file in messages.

    Raises:
        BaselineError: The document is not of the shape, no text, or too large to be read again.
    """
    try:
        sealed = _sealed(document)
        _check_shape(sealed, kind, path)
        data = (
            json.dumps(sealed, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
        ).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BaselineError(f"{path} cannot hold this: {_short(str(error))}") from None
    if len(data) > MAX_BYTES:
        raise BaselineError(
            f"{path} would have {len(data)} bytes, more than {MAX_BYTES}: split the test module"
        )
    return data


def _load(data: bytes, path: Path) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise BaselineError(f"{path} has more than {MAX_BYTES} bytes: these are no baselines; {_AGAIN}")
    try:
        document = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_finite,
            parse_float=_finite,
        )
    except _RefusedError as error:
        raise BaselineError(f"{path}: {_short(str(error))}; {_AGAIN}") from None
    except ValueError as error:
        raise BaselineError(f"{path} is not JSON ({_short(str(error))}): {_CUT_OFF}") from None
    if not isinstance(document, dict):
        raise BaselineError(f"{path}: $ is not an object; {_AGAIN}")
    return document


class _RefusedError(Exception):
    """JSON that Python would take, and that means nothing here."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _RefusedError(f"{twice!r} is there twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _RefusedError(f"{text} is not a finite number")
    return value


def _migrated(document: dict[str, Any], version: int, path: Path) -> dict[str, Any]:
    try:
        return _sealed(migrate(document, version))
    except (LLMBenchError, LookupError, AttributeError, TypeError, ValueError) as error:
        raise BaselineError(f"{path} is not of version {version} ({_short(str(error))}); {_AGAIN}") from None


def _check_shape(document: dict[str, Any], kind: Kind, path: Path) -> None:
    errors = sorted(_validator(kind).iter_errors(document), key=lambda error: len(error.absolute_path))
    if errors:
        raise BaselineError(f"{path}: {errors[0].json_path}: {_short(errors[0].message)}; {_AGAIN}")


def _check_digest(document: dict[str, Any], path: Path) -> None:
    if document.get("digest") != _digest(document):
        raise BaselineError(f"{path} was edited by hand or damaged: {_AGAIN}")


def _sealed(document: dict[str, Any]) -> dict[str, Any]:
    document = {**document, "schema_version": VERSION}
    return {**document, "digest": _digest(document)}


def _digest(document: dict[str, Any]) -> str:
    content = {name: value for name, value in document.items() if name != "digest"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


@functools.lru_cache(maxsize=2)
def _validator(kind: Kind) -> jsonschema.Draft202012Validator:
    schema = json.loads(files("pytest_llm.baselines").joinpath("baselines-v1.schema.json").read_bytes())
    return jsonschema.Draft202012Validator({**schema, "$ref": f"#/$defs/{kind}"})


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else f"{line[:157]}…"
