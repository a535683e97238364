"""Requests of the worker: what each does, the shape of its answer, and how long that may be.

A worker runs code and models of strangers, so an answer of another shape ends it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

Shape = Callable[[object], bool]

_ANSWER_BYTES = 2**21
_PER_BYTE = 64  # of the request: token ids become texts, and texts token ids
_LIKELY_TOKEN_BYTES = 256
_EMBEDDING_BYTES = 2**19
_MOST_BYTES = 2**30
_SURROGATE = re.compile("[\ud800-\udfff]")


def _nothing(value: object) -> bool:
    return value is None


def _text(value: object) -> bool:
    """Half of a surrogate pair is no text: it could be neither printed nor stored."""
    return isinstance(value, str) and (value.isascii() or not _SURROGATE.search(value))


def _count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _integer(value: object) -> bool:
    return type(value) is int and abs(value) < 2**63


def _number(value: object) -> bool:
    return type(value) is float or _integer(value)


def _seconds(value: object) -> bool:
    return _number(value) and value >= 0  # type: ignore[operator]


def _elapsed(value: object) -> bool:
    return _number(value) and value > 0  # type: ignore[operator]


def _flag(value: object) -> bool:
    return type(value) is bool


def _scalar(value: object) -> bool:
    return value is None or _text(value) or _number(value) or _flag(value)


def _optional(shape: Shape) -> Shape:
    return lambda value: value is None or shape(value)


def _list(shape: Shape) -> Shape:
    return lambda value: isinstance(value, list) and all(map(shape, value))


def _row(*shapes: Shape) -> Shape:
    def matches(value: object) -> bool:
        return (
            isinstance(value, list)
            and len(value) == len(shapes)
            and all(shape(each) for shape, each in zip(shapes, value, strict=True))
        )

    return matches


def _mapping(shape: Shape) -> Shape:
    return lambda value: (
        isinstance(value, dict) and all(map(_text, value)) and all(map(shape, value.values()))
    )


def _fields(**shapes: Shape) -> Shape:
    def matches(value: object) -> bool:
        return (
            isinstance(value, dict)
            and value.keys() == shapes.keys()
            and all(shape(value[name]) for name, shape in shapes.items())
        )

    return matches


def _either(*shapes: Shape) -> Shape:
    return lambda value: any(shape(value) for shape in shapes)


def _struct_field(value: object) -> bool:
    return _row(_text, _count, _count, _list(_struct_field))(value)


class Operation(NamedTuple):
    """A request of the worker.

    Attributes:
        doing: What the worker does meanwhile, for messages.
        answer: Return if a value has the shape of the answer.
    """

    doing: str
    answer: Shape


_SLICE = _row(_count, _elapsed)
_GREEDY = _row(_list(_count), _list(_number))
_LIKELY = _row(_count, _text, _number)

OPERATIONS: Mapping[str, Operation] = {
    "hello": Operation(
        "importing llama_cpp",
        _fields(
            version=_text,
            llama_cpp_commit=_text,
            where=_text,
            library=_text,
            compiled_with=_text,
            environment=_mapping(_text),
        ),
    ),
    "package": Operation("looking for its package", _text),
    "symbols": Operation(
        "looking functions up in the library",
        _fields(declared=_list(_text), missing=_list(_text), library=_text, trouble=_text),
    ),
    "names": Operation("importing llama_cpp", _mapping(_text)),
    "structs": Operation(
        "importing llama_cpp",
        _fields(
            structs=_mapping(_fields(size=_count, fields=_list(_struct_field))),
            include=_list(_text),
        ),
    ),
    "defaults": Operation("asking llama.cpp for its default parameters", _mapping(_mapping(_scalar))),
    "layouts": Operation(
        "looking at the library's structs",
        _mapping(_fields(fields=_mapping(_text), bytes=_optional(_count))),
    ),
    "free_memory": Operation("asking devices for their free memory", _mapping(_count)),
    "load": Operation(
        "loading the model",
        _fields(
            seconds=_seconds,
            on_gpu=_flag,
            capability=_fields(generation=_text, embedding=_text, text=_text),
            messages=_list(_text),
        ),
    ),
    "effective_options": Operation("asking llama.cpp for its options", _mapping(_scalar)),
    "inject_slowdown": Operation("preparing a slowdown", _nothing),
    "rehearse": Operation(
        "going through a first request", _fields(step_seconds=_seconds, graphs_reused=_optional(_count))
    ),
    "prompt_slice": Operation("decoding a prompt", _SLICE),
    "generation_slice": Operation("generating", _SLICE),
    "embedding_slice": Operation("embedding texts", _SLICE),
    "end_round": Operation("going back to the depth", _nothing),
    "generate_steps": Operation("generating", _count),
    "count_threads": Operation(
        "counting the threads that work", _optional(_fields(threads=_count, processors=_count))
    ),
    "request": Operation("going through a request", _row(_seconds, _list(_seconds))),
    "stream_open": Operation("taking in a prompt", _nothing),
    "stream_next": Operation(
        "generating",
        _either(
            _fields(token=_count, text=_text),
            _fields(finish=_text, text=_text, prompt_tokens=_count),
        ),
    ),
    "graphs_reused": Operation("asking llama.cpp for its counters", _optional(_integer)),
    "count_instructions": Operation(
        "counting instructions", _fields(instructions=_optional(_elapsed), reason=_text)
    ),
    "top_logprobs": Operation(
        "decoding a prompt",
        _list(_fields(token=_count, logprob=_optional(_number), top=_list(_LIKELY))),
    ),
    "tokenize": Operation("tokenising", _list(_integer)),
    "detokenize": Operation("detokenising", _text),
    "token_ids": Operation("tokenising", _list(_list(_integer))),
    "render_chat": Operation("rendering the chat template", _text),
    "greedy": Operation("generating", _GREEDY),
    "embed": Operation("embedding texts", _list(_list(_number))),
    "fill": Operation("decoding a prompt", _nothing),
    "write_logits": Operation("capturing outputs", _GREEDY),
    "write_copy": Operation("copying the model with other weights", _nothing),
}


def answer_bytes(op: str, arguments: Mapping[str, Any], request_bytes: int) -> int:
    """Return how long the answer to a request may be; Python values take up to thirty times as much."""
    room = _ANSWER_BYTES + _PER_BYTE * request_bytes
    if op == "top_logprobs":
        prompt = arguments["prompt"]
        positions = len(prompt.encode()) if isinstance(prompt, str) else len(prompt)
        room += positions * (arguments["top_k"] + 1) * _LIKELY_TOKEN_BYTES
    elif op == "embed":
        room += len(arguments["texts"]) * _EMBEDDING_BYTES
    return min(room, _MOST_BYTES)
