"""Small GGUF files."""

from tests.gguf_files import gguf, gguf_path

__all__ = ["gguf", "gguf_path"]
