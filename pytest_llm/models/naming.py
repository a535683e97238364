"""Names of models: paths, files in other tools' stores, and what a name means elsewhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_llm.errors import UsageError
from pytest_llm.models.sources import is_named
from pytest_llm.records.other_tools import HUGGING_FACE, LM_STUDIO, OLLAMA, URL, kind_of_model

if TYPE_CHECKING:
    from pytest_llm.models.sources.local import LocalFile


def is_path(name: str) -> bool:
    """Return if a model's name is the path of a file, not a name of the catalogue or of another store."""
    return not is_named(name) and ("/" in name or os.sep in name or name.lower().endswith(".gguf"))


def refuse_elsewhere(name: str, file: LocalFile | None = None) -> None:
    """Raise UsageError if a name means a model elsewhere, and no file here."""
    kind = kind_of_model(name)
    if not kind or (file is not None and file.path.exists()):
        return
    declare = "declare it in pyproject.toml, [tool.pytest_llm.models.NAME] with source = {} and its sha256"
    if kind == OLLAMA:
        fix = f"write ollama:{name.removeprefix('ollama:')} if Ollama has it, or the path of a .gguf file"
    elif kind == HUGGING_FACE:
        fix = "pin a file of it with pytest-llm models pin NAME hf:OWNER/REPOSITORY/FILE.gguf, and give NAME"
    elif kind == LM_STUDIO:
        fix = "write lmstudio:PUBLISHER/NAME, or the path of a .gguf file"
    elif kind == URL and not name.lower().endswith(".gguf"):
        fix = f"a server that runs is a build: --llm-candidate ollama@{name}, or openai@{name}"
    else:
        fix = declare.format(repr(name)) + ", and give NAME"
    raise UsageError(f"model {name!r}: there is no such file, and {kind} is not downloaded: {fix}")


def unpinned(name: str) -> str:
    """Return why a source that is not here is not fetched."""
    return (
        f"{name} is not in the cache of huggingface_hub, and what is not pinned is never fetched: pin it "
        f"with pytest-llm models pin NAME {name}, and give NAME"
    )
