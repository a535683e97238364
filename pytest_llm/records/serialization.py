"""Records to plain JSON values and back, strictly: what one side does not know, it refuses."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

from cattrs import Converter, transform_error
from cattrs.errors import BaseValidationError

from pytest_llm.errors import LLMBenchError
from pytest_llm.records import metrics
from pytest_llm.records.run import Verdict

if TYPE_CHECKING:
    from pytest_llm.records import JSON

Record = TypeVar("Record")


class DecodeError(LLMBenchError):
    """A value from outside is not the record that it should be."""


@functools.lru_cache(maxsize=1)
def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    # A metric is code; its name stands for it.
    converter.register_unstructure_hook(metrics.Metric, lambda metric: metric.name)
    converter.register_structure_hook(metrics.Metric, lambda name, _: metrics.find(name))
    converter.register_unstructure_hook(Verdict, lambda verdict: verdict.value)
    return converter


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
