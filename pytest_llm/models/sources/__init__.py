"""Where a model's file comes from.

A source is one module that keeps the promise of :class:`Source`, and one line in ``SCHEMES``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from pytest_llm.errors import UnknownNameError
from pytest_llm.models.sources.local import LocalFile
from pytest_llm.models.sources.package import PackagedFile
from pytest_llm.models.sources.web import WebFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class Source(Protocol):
    """A place that one file can be had from; its text says so in messages."""

    @property
    def filename(self) -> str:
        """What the file is called there."""

    @property
    def needs_pin(self) -> bool:
        """Whether somebody else could change the file, so that its SHA-256 must be given."""

    def in_place(self) -> Path | None:
        """Return where the file already lies and can be used, or None if it must be fetched.

        Raises:
            ModelMissingError: It can only lie in one place, and does not.
        """

    def fetch(self, destination: Path, /) -> None:
        """Write the file; the destination's folder is there, and the source's own to use.

        Raises:
            ModelFetchError: It cannot be had.
        """


SCHEMES: Mapping[str, Callable[[str, Path], Source]] = {
    "pkg": PackagedFile.parse,
    "https": WebFile.parse,
    "http": WebFile.parse,
    "file": LocalFile.parse,
    "": LocalFile.parse,
}


def parse_source(text: str, root: Path) -> Source:
    """Return the source that a text describes.

    Args:
        text: ``pkg:pypi/NAME@VERSION#PATH_IN_WHEEL``, ``https://…``, ``http://…``, ``file:PATH`` or
            a path.
        root: The folder that paths are relative to.

    Raises:
        UsageError: It describes none.
    """
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", text)
    scheme = match[1].lower() if match else ""
    if scheme not in SCHEMES:
        known = [name for name in SCHEMES if name]
        raise UnknownNameError("scheme", scheme, known, fix=f"or write ./{text} if it is a path")
    return SCHEMES[scheme](text, root)
