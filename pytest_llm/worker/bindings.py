"""Which names the installed ``llama_cpp`` has.

Every difference between releases is found by asking for a name, never by comparing version numbers: packaged
and patched builds carry any number they like.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

# Variables that can change speed; they are recorded with the build.
_SPEED_VARIABLES = (
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "CUDA_",
    "HIP_",
    "GGML_",
    "LLAMA_",
    "OMP_",
    "GOMP_",
    "KMP_",
)


if TYPE_CHECKING:
    from collections.abc import Callable


class NotImportableError(Exception):
    """``llama_cpp`` cannot be imported by this interpreter."""


class Bindings:
    """The functions of one release, under the names of the newest.

    Attributes:
        llama: The module ``llama_cpp`` itself, for everything that never changed its name.
    """

    def __init__(self) -> None:
        try:
            self.llama: Any = importlib.import_module("llama_cpp")
        except Exception as error:
            # Not only ImportError: a library that lacks a symbol raises AttributeError, a missing
            # one OSError or RuntimeError.
            raise NotImportableError(f"{type(error).__name__}: {error}") from error
        # The binding's own callback is Python, filters by level and would run inside decodes. Without one
        # llama.cpp writes everything to stderr, which the parent keeps.
        silent = self.llama.llama_log_callback()
        self.llama.llama_log_set(silent, None)
        self.llama.llama_backend_init()

    def has(self, name: str) -> bool:
        """Whether the release has that function."""
        return hasattr(self.llama, name)

    def find(self, *names: str) -> Callable[..., Any]:
        """Return the first function that the release has."""
        for name in names:
            found = getattr(self.llama, name, None)
            if found is not None:
                return found  # type: ignore[no-any-return]
        raise AttributeError(f"llama_cpp has none of {', '.join(names)}")

    def describe(self) -> dict[str, Any]:
        """Return what the build says of itself, see ``records.Build``."""
        features = self.llama.llama_print_system_info()
        return {
            "version": str(getattr(self.llama, "__version__", "")),
            "llama_cpp_commit": self._text_of("ggml_commit").partition("-")[0],
            "where": sys.executable,
            "compiled_with": features.decode(errors="replace").strip(" |"),
            "environment": {
                name: value for name, value in sorted(os.environ.items()) if name.startswith(_SPEED_VARIABLES)
            },
        }

    def _text_of(self, name: str) -> str:
        library = getattr(getattr(self.llama, "llama_cpp", None), "_lib", None)
        function = getattr(library, name, None)
        if function is None:
            return ""
        function.restype = ctypes.c_char_p
        return (function() or b"").decode(errors="replace")

    def vocabulary_type(self, vocabulary: Any) -> str:
        """Return what kind of tokenizer a vocabulary is for: "bpe", or its number where it has no name."""
        number = self.llama.llama_vocab_type(vocabulary)
        prefix = "LLAMA_VOCAB_TYPE_"
        values = {name: value for name, value in vars(self.llama).items() if name.startswith(prefix)}
        names = (name[len(prefix) :].lower() for name, value in values.items() if value == number)
        return next(names, str(number))

    def chat_template(self, model: Any) -> dict[str, str]:
        """Return ``chat_template``, the beginning of the SHA-256 of a model's own, or "none" without one."""
        if not self.has("llama_model_chat_template"):
            return {}
        template = self.llama.llama_model_chat_template(model, None)
        return {"chat_template": hashlib.sha256(template).hexdigest()[:12] if template else "none"}

    def graphs_reused(self, context: Any) -> int | None:
        """Return how many decodes used the compute graph of the one before; None where nobody counts."""
        if not self.has("llama_perf_context"):
            return None
        return getattr(self.llama.llama_perf_context(context), "n_reused", None)

    def memory_of(self, context: Any) -> Any:
        """Return the handle that the memory functions take for this context."""
        return self.llama.llama_get_memory(context) if self.has("llama_get_memory") else context

    def memory_clear(self, memory: Any) -> None:
        """Forget every token; the buffers keep their bytes."""
        if self.has("llama_memory_clear"):
            self.llama.llama_memory_clear(memory, False)
        else:
            self.find("llama_kv_self_clear", "llama_kv_cache_clear")(memory)

    def memory_seq_rm(self, memory: Any, sequence: int, start: int) -> bool:
        """Forget a sequence's tokens from ``start`` on; False where the memory cannot."""
        remove = self.find("llama_memory_seq_rm", "llama_kv_self_seq_rm", "llama_kv_cache_seq_rm")
        return bool(remove(memory, sequence, start, -1))

    def memory_span(self, memory: Any, sequence: int) -> tuple[int, int]:
        """Return a sequence's first and last position, -1 where there is none."""
        last = self.find("llama_memory_seq_pos_max", "llama_kv_self_seq_pos_max")(memory, sequence)
        if not self.has("llama_memory_seq_pos_min"):
            return (0 if last >= 0 else -1), last
        return self.llama.llama_memory_seq_pos_min(memory, sequence), last
