"""Places of weights: tensors by the pattern of their names, experts on the CPU, shares of devices."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from .bindings import RefusedError

if TYPE_CHECKING:
    from .bindings import Bindings

_FIELD = "tensor_buft_overrides"
_CPU = "CPU"
# Of a layer's experts, as llama.cpp's own -ncmoe has it.
_EXPERTS = r"blk\.{layer}\.ffn_(up|down|gate|gate_up)_(ch|)exps"
_NEEDED = (
    "ggml_backend_dev_count",
    "ggml_backend_dev_get",
    "ggml_backend_dev_buffer_type",
    "ggml_backend_buft_name",
)


class _Override(ctypes.Structure):
    """A ``llama_model_tensor_buft_override``; the list ends with one of null pointers."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buft", ctypes.c_void_p))


def override(bindings: Bindings, params: Any, written: str, moe_layers: int) -> None:
    """Set the buffers of tensors.

    Args:
        bindings: What the installed release offers.
        params: The struct; it keeps what its pointers point to.
        written: As llama.cpp's -ot takes it: "PATTERN=BUFFER,...".
        moe_layers: Leave the experts of so many layers on the CPU.

    Raises:
        RefusedError: The release has no overrides, or no device has such a buffer.
    """
    pairs = [(each.partition("=")[0], each.partition("=")[2]) for each in written.split(",") if each]
    pairs += [(_EXPERTS.format(layer=layer), _CPU) for layer in range(moe_layers)]
    if not pairs:
        return
    option = f"{_FIELD}={written}" if written else f"n_cpu_moe={moe_layers}"
    kinds = dict(params._fields_)
    if _FIELD not in kinds or not all(map(bindings.has, _NEEDED)):
        raise RefusedError("load", f"this release of llama-cpp-python has no {option}")
    known = _buffer_types(bindings)
    unknown = [name for _, name in pairs if name not in known]
    if unknown:
        names = ", ".join(sorted(known))
        raise RefusedError("load", f"{option}: no device has a buffer {unknown[0]}; there are {names}")
    overrides = (_Override * (len(pairs) + 1))()
    for entry, (pattern, name) in zip(overrides, pairs):
        entry.pattern, entry.buft = pattern.encode(), known[name]
    params.kept_overrides = overrides
    setattr(params, _FIELD, ctypes.cast(overrides, kinds[_FIELD]))


def _buffer_types(bindings: Bindings) -> dict[str, int]:
    llama = bindings.llama
    devices = [llama.ggml_backend_dev_get(index) for index in range(llama.ggml_backend_dev_count())]
    types = [llama.ggml_backend_dev_buffer_type(each) for each in devices]
    return {llama.ggml_backend_buft_name(each).decode(errors="replace"): each for each in types if each}


def split_tensors(bindings: Bindings, params: Any, written: str) -> None:
    """Set each device's share of the model, as llama.cpp's -ts takes it: "3,1".

    Raises:
        RefusedError: There are more shares than devices are possible.
    """
    if not written:
        return
    shares = [float(each) for each in written.split(",")]
    most: int = bindings.llama.llama_max_devices()
    if len(shares) > most:
        raise RefusedError(
            "load", f"tensor_split={written} has {len(shares)} shares, at most {most} are taken"
        )
    array = (ctypes.c_float * most)(*shares)
    params.kept_split = array
    params.tensor_split = ctypes.cast(array, dict(params._fields_)["tensor_split"])
