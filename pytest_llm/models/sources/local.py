"""Local model file, used in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pytest_llm.errors import ModelMissingError, UsageError
from pytest_llm.models.sources.limits import Limit
from pytest_llm.system.folders import expanded
from pytest_llm.system.text import is_plain, quoted

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class LocalFile:
    """One file, by its path."""

    path: Path
    needs_pin = False

    @classmethod
    def parse(cls, text: str, root: Path) -> LocalFile:
        if text[:5].lower() != "file:":
            return cls.at(text, root)
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise UsageError(f"the source {text!r} names the host {parts.netloc!r}: write file:PATH")
        return cls.at(unquote(parts.path), root)

    @classmethod
    def at(cls, path: str, root: Path) -> LocalFile:
        if not path:
            raise UsageError("the source is empty: give the path of a file")
        full = root / expanded(path)
        if not is_plain(path):
            raise UsageError(f"the path {quoted(path)} has control or hidden characters: rename the file")
        # Symbolic links stay: the parts of a split model refer to each other by name.
        return cls(full.absolute())

    @property
    def filename(self) -> str:
        return self.path.name

    def beside(self, filename: str, /) -> LocalFile:
        return LocalFile(self.path.with_name(filename))

    def in_place(self) -> Path:
        try:
            if self.path.is_file():
                return self.path
            found = "it is not a file" if self.path.exists() else "there is no such file"
        except OSError as error:
            found = f"it cannot be read: {error.strerror}"
        raise ModelMissingError(f"{self.path}: {found}")

    def fetch(self, _destination: Path, _limit: Limit = Limit(), /) -> None:  # noqa: B008 - immutable
        raise ModelMissingError(f"{self.path}: there is no such file")

    def __str__(self) -> str:
        return str(self.path)
