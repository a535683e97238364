"""JSON Schema of ``*.llm.toml`` files, for editors. What it cannot say is said when the file is read."""

from __future__ import annotations

from typing import Any, get_args, get_origin, get_type_hints

from pytest_llm.plugin import suite_tables as tables
from pytest_llm.records import LoadOptions
from pytest_llm.records.metrics import METRICS

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_BOUND = {"type": ["string", "number"]}
_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
_RATIO = {"type": ["string", "number"]}


def schema() -> dict[str, Any]:
    """Return the schema, of draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Suite of pytest-llm-bench, NAME.llm.toml",
        **_object(
            {
                "models": {**_TEXTS, "description": "names or paths; without any, --llm-model"},
                "load": {"$ref": "#/$defs/load"},
                "tests": {
                    "type": "object",
                    "minProperties": 1,
                    "propertyNames": {"pattern": f"^{tables.NAME.pattern}$"},
                    "additionalProperties": {"$ref": "#/$defs/test"},
                },
            },
            required=["tests"],
        ),
        "$defs": {"load": _load(), "test": _test()},
    }


def _test() -> dict[str, Any]:
    return _object(
        {
            "models": _TEXTS,
            "load": {"$ref": "#/$defs/load"},
            "workload": _object(
                {
                    **dict.fromkeys(("prompt_tokens", "depth", "generate_tokens"), _numbers(0)),
                    "prompt_tokens": _numbers(1),
                    "parallel": _numbers(1),
                    "embed": {"type": "boolean"},
                }
            ),
            "limits": {
                "type": "object",
                "properties": {name: {**_BOUND, "description": _limit(name)} for name in METRICS},
                "patternProperties": {r"^(first|inter)_token_latency_p\d+(\.\d+)?$": _BOUND},
                "additionalProperties": False,
            },
            "no_regression": _or_table({"metrics": _TEXTS, "tolerance": _RATIO, "negligible": _RATIO}),
            "faster_than": _object(
                {
                    "by": _RATIO,
                    "phase": {"enum": ["generation", "prompt", "total", "embedding"]},
                    "load": {"$ref": "#/$defs/load"},
                },
                required=["by", "load"],
            ),
            "compare": _or_table({"metrics": _TEXTS, "tolerance": _RATIO, "output": {"type": "boolean"}}),
            "output": _or_table(
                {
                    "prompts": _TEXTS,
                    "top_k": {"type": "integer", "minimum": 1},
                    "max_kl": {"type": "number", "minimum": 0},
                    "max_distance": {"type": "number", "minimum": 0},
                }
            ),
            "answers": {"type": "array", "minItems": 1, "items": _answer()},
            "marks": _TEXTS,
        }
    )


def _answer() -> dict[str, Any]:
    text = {"type": "string", "minLength": 1}
    number = {"type": "integer", "minimum": 1, "default": tables.ANSWER_TOKENS}
    return _object({"prompt": text, "contains": text, "max_tokens": number}, required=["prompt", "contains"])


def _load() -> dict[str, Any]:
    defaults = vars(LoadOptions())
    found = {}
    for name, kind in get_type_hints(LoadOptions).items():
        values = list(get_args(kind)) if get_origin(kind) is not None else []
        one: dict[str, Any] = {"enum": values} if values else {"type": _TYPES[kind]}
        if name == "flash_attn":
            one = {"enum": [*values, True, False]}
        found[name] = {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}
        if not name.startswith("n_threads"):
            found[name]["default"] = defaults[name]
    return _object(found)


def _numbers(least: int) -> dict[str, Any]:
    one = {"type": "integer", "minimum": least}
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


def _or_table(properties: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{"type": "boolean"}, _object(properties)]}


def _limit(name: str) -> str:
    metric = METRICS[name]
    which = "at least" if metric.better == "higher" else "at most"
    return f"{which} this {metric.title}, in {metric.unit.base or 'plain numbers'} or with a unit"


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    found = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": required} if required else found
