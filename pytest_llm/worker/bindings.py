"""Which names the installed ``llama_cpp`` has.

Every difference between releases is found by asking for a name, never by comparing version numbers: packaged
and patched builds carry any number they like.
"""

from __future__ import annotations

import ctypes
import importlib
import mmap
import os
import re
import sys
from pathlib import Path
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
# What GCC and Clang leave in what they compile: "GCC: (Debian 12.2.0-14) 12.2.0".
_COMPILER = re.compile(rb"GCC: \([^)\0]{0,80}\) [\d.]+|clang version [\d.]+")


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

    def check_library(self, folder: str) -> None:
        """Refuse to go on if the library is not the one in that folder.

        Raises:
            NotImportableError: The release takes no notice of ``LLAMA_CPP_LIB_PATH``.
        """
        loaded = self._library_file()
        if loaded is None or loaded.parent.resolve() != Path(folder).resolve():
            raise NotImportableError(f"this release of llama-cpp-python takes no library from {folder}")

    def describe(self) -> dict[str, Any]:
        """Return what the build says of itself, see ``records.Build``."""
        features = self.llama.llama_print_system_info()
        return {
            "version": str(getattr(self.llama, "__version__", "")),
            "llama_cpp_commit": self._text_of("ggml_commit").partition("-")[0],
            "where": sys.executable,
            "compiled_with": " | ".join(
                each for each in (features.decode(errors="replace").strip(" |"), self._compiler()) if each
            ),
            "environment": {
                name: value for name, value in sorted(os.environ.items()) if name.startswith(_SPEED_VARIABLES)
            },
        }

    def _compiler(self) -> str:
        """Return what compiled the library, "" where it does not tell."""
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
        name = getattr(self._library(), "_name", None)
        return Path(name) if isinstance(name, str) else None

    def _library(self) -> Any:
        return getattr(getattr(self.llama, "llama_cpp", None), "_lib", None)

    def _text_of(self, name: str) -> str:
        function = getattr(self._library(), name, None)
        if function is None:
            return ""
        function.restype = ctypes.c_char_p
        return (function() or b"").decode(errors="replace")

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
