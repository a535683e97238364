"""Model file of a repository of Hugging Face, through huggingface_hub and its own cache."""

from __future__ import annotations

import importlib
import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from pytest_llm.errors import ModelFetchError, UsageError
from pytest_llm.models.sources.limits import Limit, Transfer
from pytest_llm.system.text import clean, one_line

HUB = "hf"
_FORM = re.compile(
    r"hf:(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)/(?P<path>[^@]+)(?:@(?P<revision>[\w./-]+))?",
    re.ASCII,
)
_MAIN = "main"
_FORM_SHOWN = "hf:OWNER/REPOSITORY/FILE.gguf@REVISION"


@dataclass(frozen=True)
class HubFile:
    """One file of a repository at a revision: a commit, a tag or a branch."""

    repository: str
    path: PurePosixPath
    revision: str = _MAIN
    needs_pin = True

    @classmethod
    def parse(cls, text: str, _root: Path) -> HubFile:
        match = _FORM.fullmatch(text)
        if match is None or not text.isprintable():
            raise UsageError(f"the source {text!r} is not of the form {_FORM_SHOWN}")
        path = PurePosixPath(match["path"])
        if path.is_absolute() or ".." in path.parts or path.name.startswith(".") or not path.name:
            raise UsageError(f"the source {text!r} does not end in the path of a file of the repository")
        return cls(match["repository"], path, match["revision"] or _MAIN)

    @property
    def filename(self) -> str:
        return self.path.name

    def beside(self, filename: str, /) -> HubFile:
        return replace(self, path=self.path.with_name(filename))

    def exact(self) -> HubFile:
        """Return the source at the commit of the file that is in huggingface_hub's cache."""
        found = self.in_place()
        commits = [] if found is None else [commit for _, commit in _snapshots(found)]
        return replace(self, revision=commits[0]) if commits else self

    def in_place(self) -> Path | None:
        """Return the file in huggingface_hub's cache, if it is there; nothing is asked for."""
        try:
            hub = _hub()
        except ModelFetchError:
            return None
        found = hub.try_to_load_from_cache(self.repository, str(self.path), revision=self.revision)
        return Path(found) if isinstance(found, str) and Path(found).is_file() else None

    def fetch(self, destination: Path, limit: Limit = Limit(), /) -> None:  # noqa: B008 - immutable
        hub = _hub()
        where = {"repo_id": self.repository, "filename": str(self.path), "revision": self.revision}
        try:
            told = hub.get_hf_file_metadata(hub.hf_hub_url(**where))
            Transfer(
                limit, _existing(Path(hub.constants.HF_HUB_CACHE)), told.size
            )  # refuses what is too large
            limit.show(f"fetching {self} into the cache of huggingface_hub")
            found = Path(hub.hf_hub_download(**where)).resolve()
        except ModelFetchError as error:
            raise ModelFetchError(f"{self} cannot be fetched: {error}") from None
        except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
            reason = clean(one_line(error) or type(error).__name__, 300)
            raise ModelFetchError(f"{self} cannot be fetched: {reason}") from None
        _link(found, destination)

    def __str__(self) -> str:
        return f"{HUB}:{self.repository}/{self.path}@{self.revision}"


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.is_dir())


def _snapshots(path: Path) -> list[tuple[str, str]]:
    return [pair for pair in zip(path.parts, path.parts[1:], strict=False) if pair[0] == "snapshots"]


def _link(found: Path, destination: Path) -> None:
    destination.unlink(missing_ok=True)
    try:
        os.link(found, destination)  # the bytes are there once
    except OSError:
        shutil.copyfile(found, destination)


def _hub() -> Any:
    """Return huggingface_hub, which shows nothing of its own, and tells nobody who uses it.

    Raises:
        ModelFetchError: It is not installed.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when it is imported
    try:
        found = importlib.import_module("huggingface_hub")
        importlib.import_module("huggingface_hub.utils").disable_progress_bars()
        importlib.import_module("huggingface_hub.errors")
    except ImportError:
        raise ModelFetchError(
            "models of Hugging Face are fetched by huggingface_hub: pip install 'pytest-llm-bench[hf]'"
        ) from None
    return found
