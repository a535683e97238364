"""Keys and values of a GGUF file."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from pytest_llm.errors import ModelHeaderError
    from pytest_llm.models.gguf.cursor import Cursor

Scalar: TypeAlias = bool | int | float | str

# Published files have some fifty keys. The length is the format's own limit.
MAX_KEYS = 2**16
MAX_KEY_BYTES = 2**16 - 1

MAX_ARRAY_STRINGS = 2**22  # of all arrays; skipping them one by one takes about half a second
MAX_KEPT_BYTES = 2**20  # of one string; longer ones are passed over: whole tokenizers, say
MAX_TEXT_BYTES = 2**23  # of all keys and kept strings
MAX_LAYER_VALUES = 2**18  # of all arrays with a value per layer
MAX_LAYERS = 512  # LLAMA_MAX_LAYERS: above it, llama.cpp aborts the process
DEFAULT_ALIGNMENT = 32
MAX_ALIGNMENT = 2**20

_SMALLEST_FIELD = 8 + 1 + 4 + 1  # bytes: a key's length, one character, its type, one byte of value

_BOOL, _STRING, _ARRAY = 7, 8, 9
_UINT32 = 4
_INTEGERS = frozenset({0, 1, 2, 3, 4, 5, 10, 11})
_NAMES = (
    *("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32"),
    *("bool", "string", "array", "uint64", "int64", "float64"),
)
# Arrays with a value per token, and the types that llama.cpp takes them for.
_PER_TOKEN = {"tokenizer.ggml.scores": (6,), "tokenizer.ggml.token_type": (5, 4)}
_LAYOUTS = {
    kind: struct.Struct(f"<{letter}")
    for kind, letter in {
        **{0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f"},
        **{_BOOL: "B", 10: "Q", 11: "q", 12: "d"},
    }.items()
}


class _Field(NamedTuple):
    """The position and type of a value, with the scalar or the extent of the array."""

    at: int
    kind: int
    value: Scalar | None
    items_kind: int = 0
    items_at: int = 0
    length: int = 0


class Metadata:
    """Values by key. Every method raises ModelHeaderError if a value has another type or is out of range."""

    def __init__(self, cursor: Cursor, count: int, at: int) -> None:
        """Read all keys from the cursor on; ``at`` is where the file claims ``count``."""
        if count > MAX_KEYS:
            raise cursor.refusal(f"it claims {count} keys, at most {MAX_KEYS} are allowed", at)
        cursor.check_claim("keys", count, _SMALLEST_FIELD, at)
        self._cursor = cursor
        self._fields: dict[str, _Field] = {}
        self._strings = 0
        self._text_left = MAX_TEXT_BYTES
        self._end = cursor.at
        for _ in range(count):
            at = cursor.at
            key = cursor.text("a key", MAX_KEY_BYTES)
            if not key:
                raise cursor.refusal("a key is empty", at)
            if key in self._fields:
                raise cursor.refusal(f"the key {shown(key)} comes twice", at)
            self._text_left -= cursor.at - at
            if self._text_left < 0:
                raise cursor.refusal(f"its keys and texts have more than {MAX_TEXT_BYTES} bytes", at)
            self._fields[key] = self._read_field(key)

    def scalars(self) -> dict[str, Scalar]:
        """Return every value that is neither an array nor a string of more than ``MAX_KEPT_BYTES``."""
        return {key: f.value for key, f in self._fields.items() if f.value is not None}

    def integer(self, key: str, default: int = 0) -> int:
        """Return a number that is not negative."""
        field = self._fields.get(key)
        if field is None:
            return default
        if field.kind not in _INTEGERS or not isinstance(field.value, int):
            raise self._mistyped(key, field, "an integer")
        return self._natural(key, field, field.value)

    def largest(self, key: str, default: int = 0) -> int:
        """Return a number, or the largest of an array with a number per layer."""
        field = self._fields.get(key)
        if field is None or field.kind != _ARRAY:
            return self.integer(key, default)
        if field.items_kind not in _INTEGERS:
            raise self._mistyped(key, field, "an integer or an array of integers")
        if field.length > MAX_LAYERS:
            reason = f"the key {shown(key)} has {field.length} values, not {MAX_LAYERS} or less"
            raise self._cursor.refusal(reason, field.at)
        return max((self._natural(key, field, value) for value in self._numbers(key, field)), default=default)

    def per_layer(self, prefix: str) -> dict[str, tuple[int, ...]]:
        """Return the arrays of up to ``MAX_LAYERS`` integers or booleans, by keys that begin so."""
        found = {
            key: field
            for key, field in self._fields.items()
            if key.startswith(prefix)
            and field.kind == _ARRAY
            and field.items_kind in {*_INTEGERS, _BOOL}
            and field.length <= MAX_LAYERS
        }
        if sum(field.length for field in found.values()) > MAX_LAYER_VALUES:
            reason = f"it has more than {MAX_LAYER_VALUES} values in arrays with a value per layer"
            raise self._cursor.refusal(reason, self._end)
        return {key: self._numbers(key, field) for key, field in found.items()}

    def text(self, key: str) -> str | None:
        """Return a string, or None if the key is missing."""
        field = self._fields.get(key)
        if field is None:
            return None
        if field.kind == _STRING and field.value is None:
            raise self.refusal(key, f"the key {shown(key)} has more than {MAX_KEPT_BYTES} bytes")
        if not isinstance(field.value, str):
            raise self._mistyped(key, field, "a string")
        return field.value

    def strings(self, key: str) -> int:
        """Return the length of an array of strings; 0 if the key is missing."""
        field = self._fields.get(key)
        if field is None:
            return 0
        if field.kind != _ARRAY or field.items_kind != _STRING:
            raise self._mistyped(key, field, "an array of strings")
        return field.length

    def check_tokens(self) -> int:
        """Return the number of tokens.

        llama.cpp reads a score and a type for each token, however many the file has.
        """
        count = self.strings("tokenizer.ggml.tokens")
        for key, kinds in _PER_TOKEN.items():
            field = self._fields.get(key)
            if field is None:
                continue
            if field.kind != _ARRAY or field.items_kind not in kinds:
                raise self._mistyped(key, field, f"an array of {_NAMES[kinds[0]]}")
            if field.length < count:
                reason = f"the key {shown(key)} has {field.length} values for {count} tokens"
                raise self._cursor.refusal(reason, field.at)
        return count

    def alignment(self) -> int:
        """Return the alignment of tensors in bytes, a power of two up to ``MAX_ALIGNMENT``."""
        field = self._fields.get("general.alignment")
        if field is None:
            return DEFAULT_ALIGNMENT
        if field.kind != _UINT32 or not isinstance(field.value, int):
            raise self._mistyped("general.alignment", field, "a uint32")
        if not 0 < field.value <= MAX_ALIGNMENT or field.value & (field.value - 1):
            reason = f"the alignment {field.value} is not a power of two up to {MAX_ALIGNMENT}"
            raise self._cursor.refusal(reason, field.at)
        return field.value

    def refusal(self, key: str, reason: str) -> ModelHeaderError:
        """Return an error about a key's value, or about the end of the keys if it is missing."""
        at = self._fields[key].at if key in self._fields else self._end
        return self._cursor.refusal(reason, at)

    def _numbers(self, key: str, field: _Field) -> tuple[int, ...]:
        layout = struct.Struct(f"<{field.length}{_LAYOUTS[field.items_kind].format[-1]}")
        resume, self._cursor.at = self._cursor.at, field.items_at
        values = tuple(map(int, self._cursor.unpack(layout, shown(key))))
        self._cursor.at = resume
        return values

    def _read_field(self, key: str) -> _Field:
        at = self._cursor.at
        kind = self._cursor.u32("a value's type")
        if kind == _ARRAY:
            field = self._read_array(key, at)
        elif kind == _STRING:
            field = _Field(at, kind, self._read_string(f"the value of {shown(key)}"))
        elif kind in _LAYOUTS:
            field = _Field(at, kind, self._read_scalar(key, kind))
        else:
            raise self._cursor.refusal(f"the key {shown(key)} has the unknown type {kind}", at)
        self._end = self._cursor.at
        return field

    def _read_string(self, what: str) -> str | None:
        """Return a string, or None if it is too long to be kept."""
        start = self._cursor.at
        found = self._cursor.short_text(what, min(MAX_KEPT_BYTES, self._text_left))
        self._text_left -= self._cursor.at - start if found is not None else 0
        return found

    def _read_scalar(self, key: str, kind: int) -> Scalar:
        at = self._cursor.at
        value = self._cursor.unpack(_LAYOUTS[kind], "a value")[0]
        if kind != _BOOL:
            return value
        if value not in (0, 1):
            reason = f"the key {shown(key)} is {value}, neither true nor false"
            raise self._cursor.refusal(reason, at)
        return bool(value)

    def _read_array(self, key: str, at: int) -> _Field:
        cursor = self._cursor
        kind_at = cursor.at
        kind = cursor.u32("an array's type")
        count_at = cursor.at
        count = cursor.u64("an array's length")
        if kind == _ARRAY:
            raise cursor.refusal(f"the key {shown(key)} is an array of arrays", kind_at)
        if kind != _STRING and kind not in _LAYOUTS:
            reason = f"the key {shown(key)} is an array of the unknown type {kind}"
            raise cursor.refusal(reason, kind_at)
        width = 8 if kind == _STRING else _LAYOUTS[kind].size
        cursor.check_claim(f"values of {shown(key)}", count, width, count_at)
        field = _Field(at, _ARRAY, None, kind, cursor.at, count)
        if kind != _STRING:
            cursor.skip(count * width, "an array")
            return field
        self._strings += count
        if self._strings > MAX_ARRAY_STRINGS:
            reason = f"its arrays hold more than {MAX_ARRAY_STRINGS} strings"
            raise cursor.refusal(reason, count_at)
        cursor.skip_strings(count, "a string of an array")
        return field

    def _natural(self, key: str, field: _Field, value: int) -> int:
        if value < 0:
            raise self._cursor.refusal(f"the key {shown(key)} is negative: {value}", field.at)
        return value

    def _mistyped(self, key: str, field: _Field, wanted: str) -> ModelHeaderError:
        found = _NAMES[field.kind]
        if field.kind == _ARRAY:
            found = f"array of {_NAMES[field.items_kind]}"
        return self._cursor.refusal(f"the key {shown(key)} is {found}, not {wanted}", field.at)


def shown(name: str) -> str:
    """Quote a name from a file for a message, shortened to 64 characters."""
    return repr(name if len(name) <= 64 else f"{name[:61]}...")
