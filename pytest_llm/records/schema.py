"""JSON Schemas generated from frozen records; what types cannot say stands in their annotations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints


@dataclasses.dataclass(frozen=True, eq=False)  # annotations must be hashable, keywords are not
class Constraint:
    """Keywords of JSON Schema for an annotated value; a record's class may have one as ``constraint``.

    A record's type in place of a keyword's schema stands for the record's own schema.
    """

    keywords: tuple[tuple[str, Any], ...]


def constraint(**keywords: Any) -> Constraint:
    """Return a constraint, for ``Annotated[...]``."""
    return Constraint(tuple(keywords.items()))


NonEmpty: TypeAlias = Annotated[str, constraint(minLength=1)]
Sha256: TypeAlias = Annotated[str, constraint(pattern="^[0-9a-f]{64}$")]
# ISO 8601 to the second with the offset from UTC, or "".
Recorded: TypeAlias = Annotated[
    str, constraint(pattern=r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([+-]\d\d:\d\d|Z))?$")
]
Count: TypeAlias = Annotated[int, constraint(minimum=0)]
Positive: TypeAlias = Annotated[int, constraint(minimum=1)]
NonNegative: TypeAlias = Annotated[float, constraint(minimum=0)]
AboveZero: TypeAlias = Annotated[float, constraint(exclusiveMinimum=0)]
Share: TypeAlias = Annotated[float, constraint(exclusiveMinimum=0, exclusiveMaximum=1)]
Probability: TypeAlias = Annotated[float, constraint(minimum=0, maximum=1)]
Interval: TypeAlias = tuple[float, float]

# Fields with this metadata follow from the others, or are of this process alone: they are neither written nor
# read.
DERIVED = {"derived": True}

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", NoneType: "null"}


def json_schema(title: str, *kinds: type) -> dict[str, Any]:
    """Return the JSON Schema of what :func:`.serialization.encode` makes of records of these kinds.

    Raises:
        TypeError: A field has a type that has no schema.
    """
    definitions: dict[str, Any] = {}
    roots = [_schema(kind, definitions) for kind in kinds]
    root = roots[0] if len(roots) == 1 else {"anyOf": roots}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def has_derived(kind: Any) -> bool:
    """Whether some of a type's fields follow from the others."""
    return bool(derived_fields(kind))


def derived_fields(kind: Any) -> tuple[str, ...]:
    """Return the names of the fields of a record that follow from the others."""
    fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    return tuple(each.name for each in fields if each.metadata == DERIVED)


def _schema(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if get_origin(hint) is Annotated:
        base, *constraints = get_args(hint)
        found = _schema(base, definitions)
        for each in constraints:
            found = {**found, **_keywords(each, definitions)}
        return found
    if hint is Any:
        return {}
    if hint in _TYPES:
        return {"type": _TYPES[hint]}
    if isinstance(hint, type) and (dataclasses.is_dataclass(hint) or issubclass(hint, Enum)):
        return _reference(hint, definitions)
    return _composed(hint, definitions)


def _composed(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, UnionType):
        return {"anyOf": [_schema(each, definitions) for each in arguments]}
    if origin is Mapping:
        inner = _schema(arguments[1], definitions)
        return {"type": "object", **({"additionalProperties": inner} if inner else {})}
    if origin is tuple and arguments[-1] is Ellipsis:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin is tuple and len(set(arguments)) == 1:
        length = {"minItems": len(arguments), "maxItems": len(arguments)}
        return {"type": "array", "items": _schema(arguments[0], definitions), **length}
    raise TypeError(f"{hint} has no JSON Schema")


def _reference(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}  # a record may hold others of its kind
        definitions[kind.__name__] = _object(kind, definitions) if not issubclass(kind, Enum) else _enum(kind)
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _enum(kind: type[Enum]) -> dict[str, Any]:
    return {"enum": [each.value for each in kind]}


def _object(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    derived = derived_fields(kind)
    names = [each.name for each in dataclasses.fields(kind) if each.name not in derived]
    return {
        "type": "object",
        "properties": {name: _schema(hints[name], definitions) for name in names},
        "required": sorted(names),
        "additionalProperties": False,
        **_keywords(getattr(kind, "constraint", None), definitions),
    }


def _keywords(found: object, definitions: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(found, Constraint):
        return {}
    return {name: _inserted(value, definitions) for name, value in found.keywords}


def _inserted(value: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(value, type):
        return _schema(value, definitions)
    if isinstance(value, dict):
        return {name: _inserted(each, definitions) for name, each in value.items()}
    return value
