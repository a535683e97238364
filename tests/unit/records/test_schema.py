"""JSON Schemas of records: what each type and constraint becomes, and what has no schema."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - read at runtime
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal

import pytest

from pytest_llm.records.schema import DERIVED, Constraint, Count, Interval, NonEmpty, constraint, json_schema
from pytest_llm.records.serialization import DecodeError, Document


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    constraint: ClassVar[Constraint] = constraint(minProperties=1)

    colour: Colour


@dataclass(frozen=True)
class Outer:
    name: NonEmpty
    kind: Literal["a", 1]
    count: Count | None
    inner: Inner
    inners: tuple[Inner, ...]
    interval: Interval
    by_name: Mapping[str, Count]
    known: Annotated[Mapping[str, Any], constraint(properties={"inner": Inner})]
    anything: Any
    length: int = field(default=0, metadata=DERIVED)


@dataclass(frozen=True)
class Bad:
    value: set[int]


GOOD: dict[str, Any] = {
    "name": "x",
    "kind": "a",
    "count": None,
    "inner": {"colour": "red"},
    "inners": [{"colour": "blue"}],
    "interval": [0.0, 1.0],
    "by_name": {"a": 1},
    "known": {"inner": {"colour": "red"}, "other": [1]},
    "anything": {"a": [None]},
}
DOCUMENT = Document(Outer, "Outer")


def test_every_type_has_a_schema() -> None:
    schema = json_schema("Outer", Outer)
    outer, inner = schema["$defs"]["Outer"], schema["$defs"]["Inner"]
    assert schema["$ref"] == "#/$defs/Outer"
    assert outer["required"] == sorted(GOOD)  # what is derived is not there
    assert outer["additionalProperties"] is False
    assert outer["properties"] == {
        "name": {"type": "string", "minLength": 1},
        "kind": {"enum": ["a", 1]},
        "count": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
        "inner": {"$ref": "#/$defs/Inner"},
        "inners": {"type": "array", "items": {"$ref": "#/$defs/Inner"}},
        "interval": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        "by_name": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}},
        "known": {"type": "object", "properties": {"inner": {"$ref": "#/$defs/Inner"}}},
        "anything": {},
    }
    assert inner["minProperties"] == 1
    assert schema["$defs"]["Colour"] == {"enum": ["red", "blue"]}


def test_a_type_without_a_schema_is_refused() -> None:
    with pytest.raises(TypeError, match=r"set\[int\] has no JSON Schema"):
        json_schema("Bad", Bad)


def test_a_record_survives_its_document() -> None:
    record = DOCUMENT.decode(GOOD)
    assert record.inner == Inner(Colour.RED)
    assert record.interval == (0.0, 1.0)
    assert DOCUMENT.encode(record) == GOOD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "$.name: '' "),
        ({"kind": "b"}, "$.kind: 'b' is not one of ['a', 1]"),
        ({"count": -1}, "$.count: -1 is not valid"),
        ({"inner": {}}, "$.inner: "),
        ({"inner": {"colour": "green"}}, "$.inner.colour: 'green' is not one of ['red', 'blue']"),
        ({"inners": [{"colour": 1}]}, "$.inners[0].colour: 1 "),
        ({"interval": [1.0]}, "$.interval: [1.0] "),
        ({"by_name": {"a": True}}, "$.by_name.a: True is not of type 'integer'"),
        ({"known": {"inner": 1}}, "$.known.inner: 1 is not of type 'object'"),
        ({"length": 1}, "$: Additional properties are not allowed ('length' was unexpected)"),
        ({"name": ["x" * 500]}, "$.name: ['xxx"),
    ],
)
def test_another_shape_is_refused_at_its_place_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DecodeError) as caught:
        DOCUMENT.decode({**GOOD, **change})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
