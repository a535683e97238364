"""Records to plain JSON values and back, strictly: unknown and missing keys are refused."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args, get_origin

from cattrs import Converter, transform_error
from cattrs.errors import BaseValidationError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from pytest_llm.errors import LLMBenchError
from pytest_llm.records import metrics
from pytest_llm.records.metric import Metric
from pytest_llm.records.schema import derived_fields, has_derived, json_schema
from pytest_llm.system.text import one_line

if TYPE_CHECKING:
    import jsonschema

    from pytest_llm.records import JSON

Record = TypeVar("Record")

_LONGEST_MESSAGE = 160  # characters
_ENOUGH_ERRORS = 100  # the message names the shallowest


class DecodeError(LLMBenchError):
    """A value from outside is not the record that it should be."""


@functools.lru_cache(maxsize=1)
def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    # A metric is code; its name stands for it.
    converter.register_unstructure_hook(Metric, lambda metric: metric.name)
    converter.register_structure_hook(Metric, lambda name, _: metrics.find(name))

    # JSON has neither enumerations nor tuples.
    converter.register_unstructure_hook(Enum, lambda member: member.value)
    converter.register_unstructure_hook_func(_is_pair, list)

    @converter.register_unstructure_hook_factory(has_derived)
    def unstructure(kind: Any) -> Any:
        return make_dict_unstructure_fn(kind, converter, **_omitted(kind))

    @converter.register_structure_hook_factory(has_derived)
    def structure(kind: Any) -> Any:
        return make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True, **_omitted(kind))

    return converter


def _is_pair(kind: Any) -> bool:
    return get_origin(kind) is tuple and Ellipsis not in get_args(kind)


def _omitted(kind: type) -> dict[str, Any]:
    return {name: override(omit=True) for name in derived_fields(kind)}


def encode(record: object) -> Any:
    """Return the record as mappings, lists, texts and numbers."""
    return _converter().unstructure(record)


def decode(kind: type[Record], value: JSON) -> Record:
    """Return the record that a value stands for.

    Raises:
        DecodeError: A field is missing, of the wrong kind, or not known.
    """
    try:
        return _converter().structure(value, kind)
    except (BaseValidationError, LLMBenchError, TypeError, ValueError) as error:
        reasons = transform_error(error) if isinstance(error, BaseValidationError) else [str(error)]
        raise DecodeError(f"not a {kind.__name__}: {'; '.join(reasons)}") from error


@dataclass(frozen=True)
class Document(Generic[Record]):
    """A kind of JSON file: the record that it holds, and the JSON Schema that follows from the record.

    Attributes:
        kind: The record.
        title: The schema's.
    """

    kind: type[Record]
    title: str

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema."""
        return json_schema(self.title, self.kind)

    def check(self, value: object) -> None:
        """Raise unless a JSON value has the shape of the record.

        Raises:
            DecodeError: It has not; the message is "PLACE: REASON".
        """
        found = itertools.islice(_validator(self).iter_errors(value), _ENOUGH_ERRORS)
        error = min(found, key=lambda each: len(each.absolute_path), default=None)
        if error is not None:
            raise DecodeError(f"{short(one_line(error.json_path))}: {short(error.message)}")

    def encode(self, record: Record) -> Any:
        """Return the record as a JSON value.

        Raises:
            DecodeError: A value is out of its bounds.
        """
        value = encode(record)
        self.check(value)
        return value

    def decode(self, value: JSON) -> Record:
        """Return the record that a JSON value stands for.

        Raises:
            DecodeError: It has not the shape of the record.
        """
        self.check(value)
        return decode(self.kind, value)


@functools.lru_cache
def _validator(document: Document[Any]) -> jsonschema.Draft202012Validator:
    from jsonschema import Draft202012Validator  # slow to import

    return Draft202012Validator(document.schema())


def short(text: str) -> str:
    """Return a text as one line of bounded length, for a message."""
    line = one_line(text)
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[: _LONGEST_MESSAGE - 3]}…"
