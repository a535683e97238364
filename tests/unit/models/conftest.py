"""Small GGUF files."""

from tests.gguf_files import gguf, gguf_path, split_model

__all__ = ["gguf", "gguf_path", "split_model"]
