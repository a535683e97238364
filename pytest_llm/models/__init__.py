"""Models: catalogue, sources, store, GGUF headers and predicted footprint."""

from pytest_llm.models.capability import capability
from pytest_llm.models.catalogue import Entry, builtin_entries, read_project
from pytest_llm.models.gguf.ggml_types import bytes_of, type_called
from pytest_llm.models.gguf.header import Header
from pytest_llm.models.gguf.parts import files_of, part_paths, read_model
from pytest_llm.models.store import ModelStore

__all__ = [
    "Entry",
    "Header",
    "ModelStore",
    "builtin_entries",
    "bytes_of",
    "capability",
    "files_of",
    "part_paths",
    "read_model",
    "read_project",
    "type_called",
]
