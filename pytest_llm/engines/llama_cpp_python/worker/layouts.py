"""Layouts: what can be seen from outside of the structs of a library.

A library does not tell its structs' layouts. It returns some structs by value: the number of bytes that it
writes, and the binding's reading of each field, show an inserted, dropped or moved field as a shifted value.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .bindings import Bindings

# Functions that return a struct by value, with arguments that are harmless.
_RETURNED: dict[str, tuple[int, ...]] = {
    "llama_model_default_params": (),
    "llama_context_default_params": (),
    "llama_model_quantize_default_params": (),
    "llama_sampler_chain_default_params": (),
    "llama_batch_init": (1, 0, 1),
}
# Far longer than any of the structs, so that a library whose own is longer than the binding's writes here.
_ROOM = 4096
# Up to so many bytes a struct is returned in registers.
_IN_REGISTERS = 16
_ALIGNMENT = 8


def read_layouts(bindings: Bindings, library: str | None) -> dict[str, Any]:
    """Return what is seen of each struct of the loaded library, by the function that returns it.

    Args:
        bindings: The installed release.
        library: The folder that the library must be from; None for the release's own library.

    Returns:
        ``fields``, their values as texts ("set" or "null" for a pointer), and ``bytes``, how many the library
        writes, rounded up to the alignment; None if the calling convention hides it.

    Raises:
        UnusableError: The loaded library is from another folder.
    """
    if library is not None:
        bindings.check_library(library)
    found = {}
    for name, arguments in _RETURNED.items():
        function = getattr(bindings.module, name, None)
        struct = getattr(function, "restype", None)
        if isinstance(struct, type) and issubclass(struct, ctypes.Structure):
            found[name] = {
                "fields": _fields(_call(function, struct, arguments)),
                "bytes": _extent(function, struct, arguments),
            }
    return found


def _call(function: Any, struct: type[ctypes.Structure], arguments: tuple[int, ...]) -> ctypes.Structure:
    if ctypes.sizeof(struct) <= _IN_REGISTERS:
        return function(*arguments)  # type: ignore[no-any-return]

    class Roomy(ctypes.Structure):
        _fields_ = (("read", struct), ("room", ctypes.c_ubyte * _ROOM))

    returned = _bare(function, Roomy, function.argtypes)(*arguments)
    return returned.read  # type: ignore[no-any-return]


def _extent(function: Any, struct: type[ctypes.Structure], arguments: tuple[int, ...]) -> int | None:
    """Return how many bytes the function writes; its hidden first argument is where."""
    known = platform.machine() in {"x86_64", "AMD64"} and sys.platform != "win32"
    if not known or ctypes.sizeof(struct) <= _IN_REGISTERS:
        return None
    write = _bare(function, None, [ctypes.c_void_p, *(function.argtypes or ())])
    buffers = []
    for filling in (b"\x00", b"\xff"):
        buffer = ctypes.create_string_buffer(filling * _ROOM, _ROOM)
        write(ctypes.addressof(buffer), *arguments)
        buffers.append(buffer.raw)
    written = [index for index, (low, high) in enumerate(zip(*buffers)) if (low, high) != (0, 255)]
    return -(-(written[-1] + 1) // _ALIGNMENT) * _ALIGNMENT if written else 0


def _bare(function: Any, restype: Any, argtypes: Any) -> Callable[..., Any]:
    """Return the same C function with other types; the binding's own object is unchanged."""
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return ctypes.CFUNCTYPE(restype, *(argtypes or ()))(address)


def _fields(struct: ctypes.Structure) -> dict[str, str]:
    return {name: _text(kind, getattr(struct, name)) for name, kind, *_ in struct._fields_}


def _text(kind: Any, value: Any) -> str:
    if kind is not ctypes.c_void_p and isinstance(value, (bool, int, float)):
        return repr(value)
    return "set" if value else "null"
