"""Sources of model files: one module with a :class:`Source`, and one line in ``SCHEMES``, each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from pytest_llm.errors import UnknownNameError, UsageError
from pytest_llm.models.sources.hub import HUB, HubFile
from pytest_llm.models.sources.local import LocalFile
from pytest_llm.models.sources.package import PackagedFile
from pytest_llm.models.sources.stores import LM_STUDIO, OLLAMA, LMStudioModel, OllamaModel
from pytest_llm.models.sources.web import HUGGING_FACE_FILE, WebFile
from pytest_llm.records.other_tools import HUGGING_FACE, kind_of_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pytest_llm.models.sources.limits import Limit


class Source(Protocol):
    """The source of one file; ``str()`` names it in messages."""

    @property
    def filename(self) -> str:
        """The file's name."""

    @property
    def needs_pin(self) -> bool:
        """Whether the SHA-256 is required, because others can change the file."""

    def beside(self, filename: str, /) -> Source:
        """Return the source of another file in the same folder: a further part of a split model."""

    def in_place(self) -> Path | None:
        """Return the path of a file that can be used in place, or None if it must be fetched.

        Raises:
            ModelMissingError: If it can only be in one place, and is not there.
        """

    def fetch(self, destination: Path, limit: Limit = ..., /) -> None:
        """Write the file, of at most so many bytes; its folder exists and may hold temporary files.

        Raises:
            ModelFetchError: If it cannot be fetched.
        """


SCHEMES: Mapping[str, Callable[[str, Path], Source]] = {
    "pkg": PackagedFile.parse,
    "https": WebFile.parse,
    "http": WebFile.parse,
    "file": LocalFile.parse,
    HUB: HubFile.parse,
    OLLAMA: OllamaModel.parse,
    LM_STUDIO: LMStudioModel.parse,
    "": LocalFile.parse,
}


def parse_source(text: str, root: Path) -> Source:
    """Return the source of a model file; raise UsageError if the text has another form than these.

    ``pkg:pypi/NAME@VERSION#PATH_IN_WHEEL``, ``https://…``, ``http://…``,
    ``hf:OWNER/REPOSITORY/FILE@REVISION``, ``ollama:NAME:TAG``, ``lmstudio:PUBLISHER/NAME``, ``file:PATH`` or
    a path.
    """
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", text)
    scheme = match[1].lower() if match else ""
    if scheme not in SCHEMES and kind_of_model(text) == HUGGING_FACE:
        raise UsageError(f"the source {text!r} is {HUGGING_FACE}: write {HUGGING_FACE_FILE}")
    if scheme not in SCHEMES:
        known = [name for name in SCHEMES if name]
        raise UnknownNameError("scheme", scheme, known, fix=f"or write ./{text} if it is a path")
    return SCHEMES[scheme](text, root)


def is_named(text: str) -> bool:
    """Return if a text names a file in another tool's store, which needs no entry in a table."""
    return text.partition(":")[0] in (HUB, OLLAMA, LM_STUDIO) and ":" in text
