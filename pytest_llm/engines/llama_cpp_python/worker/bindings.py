"""Bindings: the names of the installed ``llama_cpp``, and functions that changed more than their name.

Every difference between releases is found by asking for a name, never by comparing version numbers.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import mmap
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .names import NEEDS, Need

_META_BYTES = 128
_SIZE = ctypes.POINTER(ctypes.c_size_t)
# What some releases have in the library and do not declare.
_PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "ggml_commit": (ctypes.c_char_p, ()),
    "ggml_backend_dev_count": (ctypes.c_size_t, ()),
    "ggml_backend_dev_get": (ctypes.c_void_p, (ctypes.c_size_t,)),
    "ggml_backend_dev_type": (ctypes.c_int, (ctypes.c_void_p,)),
    "ggml_backend_dev_name": (ctypes.c_char_p, (ctypes.c_void_p,)),
    "ggml_backend_dev_memory": (None, (ctypes.c_void_p, _SIZE, _SIZE)),
    "ggml_backend_dev_buffer_type": (ctypes.c_void_p, (ctypes.c_void_p,)),
    "ggml_backend_buft_name": (ctypes.c_char_p, (ctypes.c_void_p,)),
    "llama_kv_cache_seq_pos_max": (ctypes.c_int32, (ctypes.c_void_p, ctypes.c_int32)),
}
# What GCC and Clang leave in what they compile: "GCC: (Debian 12.2.0-14) 12.2.0".
_COMPILER = re.compile(rb"GCC: \([^)\0]{0,80}\) [\d.]+|clang version [\d.]+")

if TYPE_CHECKING:
    from collections.abc import Callable


class UnusableError(Exception):
    """``llama_cpp`` cannot be imported, or lacks a function that every model needs."""


class LackingError(Exception):
    """The release lacks a function that a request needs."""


class RefusedError(Exception):
    """llama.cpp refused; ``kind`` is "load" or "request"."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class NamedFunction(NamedTuple):
    """A function, and the release's name for it."""

    name: str
    function: Callable[..., Any]


def import_llama() -> Any:
    """Return the module ``llama_cpp``.

    Raises:
        UnusableError: It cannot be imported.
    """
    try:
        return importlib.import_module("llama_cpp")
    except Exception as error:
        # Not only ImportError: a library that lacks a symbol raises AttributeError, a missing
        # one OSError or RuntimeError.
        raise UnusableError(f"{type(error).__name__}: {error}") from error


def find(module: Any, name: str) -> NamedFunction | None:
    """Return a function under the newest name that the release has for it, or None."""
    need = NEEDS.get(name, Need())
    for each in (name, *need.older):
        function = getattr(module, each, None) or _unbound(module, each)
        if function is not None:
            return NamedFunction(each, function) if _takes(function, need.arguments) else None
    return None


def _takes(function: Any, arguments: int | None) -> bool:
    declared = getattr(function, "argtypes", None)
    return arguments is None or declared is None or len(declared) == arguments


def _unbound(module: Any, name: str) -> Callable[..., Any] | None:
    if name not in _PROTOTYPES:
        return None
    function: Any = getattr(_library(module), name, None)
    if function is not None:
        function.restype, function.argtypes = _PROTOTYPES[name]
    return function  # type: ignore[no-any-return]


def _library(module: Any) -> Any:
    return getattr(getattr(module, "llama_cpp", None), "_lib", None)


class _Newest:
    """The module ``llama_cpp`` under the newest names."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Any:
        found = find(self.module, name)
        if found is None:
            names = " or ".join((name, *NEEDS.get(name, Need()).older))
            raise LackingError(f"this release of llama-cpp-python has no {names}")
        setattr(self, name, found.function)  # the next time, nothing is looked up
        return found.function


class Bindings:
    """The functions of one release, under the newest names.

    Attributes:
        module: The module ``llama_cpp``.
        llama: The functions; one that the release lacks raises :class:`LackingError`.
    """

    def __init__(self) -> None:
        self.module = import_llama()
        lacking = [name for name, need in NEEDS.items() if need.lost is None and not self.has(name)]
        if lacking:
            raise UnusableError(f"this release of llama-cpp-python has no {', '.join(lacking)}")
        self.llama: Any = _Newest(self.module)
        # The binding's own callback is Python, filters by level and would run inside decodes. Without one
        # llama.cpp writes everything to stderr, which the parent keeps.
        self.silent = self.llama.llama_log_callback()
        self.llama.llama_log_set(self.silent, None)
        self.llama.llama_backend_init()

    def has(self, name: str) -> bool:
        """Whether the release has that function, under this name or an older one."""
        return find(self.module, name) is not None

    def check_library(self, folder: str) -> None:
        """Raise unless the library is the one in that folder.

        Raises:
            UnusableError: The release ignores ``LLAMA_CPP_LIB_PATH``.
        """
        loaded = self._library_file()
        if loaded is None or loaded.parent.resolve() != Path(folder).resolve():
            raise UnusableError(f"this release of llama-cpp-python takes no library from {folder}")

    def describe(self) -> dict[str, Any]:
        """Return the fields of ``records.Build``, with the whole environment as this process sees it."""
        features = self.llama.llama_print_system_info()
        commit = self.llama.ggml_commit() if self.has("ggml_commit") else b""
        return {
            "version": str(getattr(self.module, "__version__", "")),
            "llama_cpp_commit": commit.decode(errors="replace").partition("-")[0],
            "where": sys.executable,
            "library": str(self._library_file() or ""),
            "compiled_with": " | ".join(
                each for each in (features.decode(errors="replace").strip(" |"), self._compiler()) if each
            ),
            "environment": dict(os.environ),
        }

    def package(self) -> str:
        """Return the folder of the package, below which its own libraries are."""
        return str(Path(self.module.__file__).parent)

    @property
    def renders_templates(self) -> bool:
        """Whether the release can render a model's chat template."""
        return self.has("llama_model_chat_template") and self.has("llama_chat_apply_template")

    def vocabulary_of(self, model: Any) -> Any:
        """Return the model's handle for the text functions."""
        return self.llama.llama_model_get_vocab(model) if self.has("llama_model_get_vocab") else model

    def _compiler(self) -> str:
        """Return what compiled the library, "" if unknown."""
        path = self._library_file()
        try:
            if path is None:
                return ""
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                found = _COMPILER.search(content)
                return found.group().decode(errors="replace").replace("GCC: ", "GCC ") if found else ""
        except (OSError, ValueError):
            return ""

    def _library_file(self) -> Path | None:
        name = getattr(_library(self.module), "_name", None)
        return Path(name) if isinstance(name, str) else None

    def vocabulary_type(self, vocabulary: Any) -> str:
        """Return the kind of tokenizer: "bpe", or its number if it has no name."""
        number = self.llama.llama_vocab_type(vocabulary)
        prefix = "LLAMA_VOCAB_TYPE_"
        values = {name: value for name, value in vars(self.module).items() if name.startswith(prefix)}
        names = (name[len(prefix) :].lower() for name, value in values.items() if value == number)
        return next(names, str(number))

    def chat_template(self, model: Any) -> dict[str, str]:
        """Return ``chat_template``, the beginning of its SHA-256, or "none" for a model without one."""
        if not self.has("llama_model_chat_template"):
            return {}
        template = self.llama.llama_model_chat_template(model, None)
        return {"chat_template": hashlib.sha256(template).hexdigest()[:12] if template else "none"}

    def graphs_reused(self, context: Any) -> int | None:
        """Return how many decodes used the compute graph of the one before; None if nothing counts them."""
        if not self.has("llama_perf_context"):
            return None
        return getattr(self.llama.llama_perf_context(context), "n_reused", None)

    def memory_of(self, context: Any) -> Any:
        """Return the context's handle for the memory functions."""
        return self.llama.llama_get_memory(context) if self._has_memory else context

    def remembers(self, model: Any, memory: Any) -> bool:
        """Return if a model keeps what it read, as one must that predicts the next token."""
        if self._has_memory:
            return memory is not None
        # Before memories could be asked for, the file's own key decides.
        return self.meta(model, "{architecture}.attention.causal") != "false"

    def pooling_type(self, context: Any) -> int:
        """Return the number of ``enum llama_pooling_type``, 0 (none) if it cannot be asked for."""
        return int(self.llama.llama_pooling_type(context)) if self.has("llama_pooling_type") else 0

    def meta(self, model: Any, key: str) -> str:
        """Return a value of the model's file as text, "" if there is none."""
        if not self.has("llama_model_meta_val_str"):
            return ""
        if "{architecture}" in key:
            key = key.format(architecture=self.meta(model, "general.architecture"))
        buffer = ctypes.create_string_buffer(_META_BYTES)
        count: int = self.llama.llama_model_meta_val_str(model, key.encode(), buffer, _META_BYTES)
        return buffer.value.decode(errors="replace") if count >= 0 else ""

    def memory_clear(self, memory: Any) -> None:
        """Forget every token; the buffers keep their bytes."""
        if self._has_memory:
            self.llama.llama_memory_clear(memory, False)
        else:
            self.llama.llama_memory_clear(memory)  # an older one, which takes no more

    def memory_seq_rm(self, memory: Any, sequence: int, start: int) -> bool:
        """Forget a sequence's tokens from ``start`` on; False if this memory cannot."""
        return bool(self.llama.llama_memory_seq_rm(memory, sequence, start, -1))

    def memory_span(self, memory: Any, sequence: int) -> tuple[int, int]:
        """Return a sequence's first and last position, -1 if it has none."""
        last: int = self.llama.llama_memory_seq_pos_max(memory, sequence)
        if not self.has("llama_memory_seq_pos_min"):
            return (0 if last >= 0 else -1), last
        return self.llama.llama_memory_seq_pos_min(memory, sequence), last

    @property
    def _has_memory(self) -> bool:
        return hasattr(self.module, "llama_get_memory")
