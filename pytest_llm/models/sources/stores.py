"""Models in the stores of other tools, resolved to the very file: Ollama's and LM Studio's."""

from __future__ import annotations

import json
import os
import re
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.errors import DataError, ModelMissingError, UsageError
from pytest_llm.models.gguf.parts import part_names
from pytest_llm.models.sources.limits import Limit
from pytest_llm.system import strict_json
from pytest_llm.system.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

OLLAMA, LM_STUDIO = "ollama", "lmstudio"

_PART = re.compile(r"[A-Za-z0-9_][\w.-]*", re.ASCII)
_MANIFEST_BYTES = 2**20
_MODEL_LAYER = "application/vnd.ollama.image.model"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_REGISTRY, _NAMESPACE, _TAG = "registry.ollama.ai", "library", "latest"


@dataclass(frozen=True)
class InStore(ABC):
    """A file that another tool fetched and keeps; it is used where it lies."""

    name: str
    needs_pin = False

    @property
    def filename(self) -> str:
        return self.in_place().name

    @abstractmethod
    def in_place(self) -> Path:
        """Return the file.

        Raises:
            ModelMissingError: The tool has no such model.
        """

    def beside(self, filename: str, /) -> InStore:
        raise ModelMissingError(f"{self}: {filename} is not in its store")

    def fetch(self, _destination: Path, _limit: Limit = Limit(), /) -> None:  # noqa: B008 - immutable
        raise ModelMissingError(f"{self}: it is not in its store")

    def __str__(self) -> str:
        return self.name


class OllamaModel(InStore):
    """``ollama:NAME[:TAG]``: a blob that a manifest names by its digest."""

    @classmethod
    def parse(cls, text: str, _root: Path) -> OllamaModel:
        found = cls(text)
        found._manifest()
        return found

    def in_place(self) -> Path:
        place = self._manifest()
        stores = _ollama_stores()
        for store in stores:
            path = store / "manifests" / place
            if path.is_file():
                return self._blob(store, path)
        shown = ", ".join(map(str, stores))
        raise ModelMissingError(f"{self}: there is no such model in {shown}: `ollama list` shows its models")

    def _manifest(self) -> Path:
        """Return the path of the manifest in a store."""
        name, colon, tag = self.name.partition(":")[2].rpartition(":")
        if not colon or "/" in tag:
            name, tag = self.name.partition(":")[2], _TAG
        parts = name.split("/")
        defaults = [_REGISTRY, _NAMESPACE][: max(0, 3 - len(parts))]
        whole = [*defaults, *parts, tag]
        if len(whole) != 4 or not all(_PART.fullmatch(each) for each in whole):
            raise UsageError(f"{clean(self.name)} is not a model of Ollama: write ollama:llama3.1:8b, say")
        return Path(*whole)

    def _blob(self, store: Path, manifest: Path) -> Path:
        try:
            told = strict_json.read(manifest, limit=_MANIFEST_BYTES)
        except DataError as error:
            raise ModelMissingError(f"{self}: {error}") from None
        layers = told.get("layers") if isinstance(told, dict) else None
        digests = [
            found[1]
            for each in (layers if isinstance(layers, list) else [])
            if isinstance(each, dict) and each.get("mediaType") == _MODEL_LAYER
            for found in [_DIGEST.fullmatch(str(each.get("digest")))]
            if found
        ]
        if len(digests) != 1:
            raise ModelMissingError(f"{self}: {manifest} names {len(digests)} files of a model, not one")
        for name in (f"sha256-{digests[0]}", f"sha256:{digests[0]}"):
            if (store / "blobs" / name).is_file():
                return store / "blobs" / name
        raise ModelMissingError(
            f"{self}: {store / 'blobs' / f'sha256-{digests[0]}'} is not there: run `ollama pull` again"
        )


class LMStudioModel(InStore):
    """``lmstudio:PUBLISHER/NAME[/FILE.gguf]``: a file in a folder of that name."""

    @classmethod
    def parse(cls, text: str, _root: Path) -> LMStudioModel:
        found = cls(text)
        found._parts()
        return found

    def in_place(self) -> Path:
        publisher, name, *file = self._parts()
        stores = lm_studio_stores()
        for store in stores:
            folder = store / publisher / name
            if folder.is_dir():
                return self._file(folder, file)
        shown = ", ".join(map(str, stores))
        raise ModelMissingError(f"{self}: there is no such model in {shown}: `lms ls` shows its models")

    def _parts(self) -> Sequence[str]:
        parts = self.name.partition(":")[2].split("/")
        if len(parts) not in (2, 3) or not all(_PART.fullmatch(each) for each in parts):
            raise UsageError(
                f"{clean(self.name)} is not a model of LM Studio: write lmstudio:PUBLISHER/NAME, or "
                "lmstudio:PUBLISHER/NAME/FILE.gguf"
            )
        return parts

    def _file(self, folder: Path, named: Sequence[str]) -> Path:
        # Files that begin so hold what turns images into tokens.
        files = [each.name for each in sorted(folder.glob("*.gguf")) if not each.name.startswith("mmproj")]
        models = [each for each in files if part_names(each)[0] == each]
        found = [each for each in models if each in named] if named else models
        if len(found) == 1:
            return folder / found[0]
        choice = f": write {self}/{models[0]}, say" if len(models) > 1 and not named else ""
        raise ModelMissingError(f"{self}: {folder} has {', '.join(models) or 'no .gguf file'}{choice}")


def _ollama_stores() -> list[Path]:
    own = os.environ.get("OLLAMA_MODELS")
    # Of a user, and of the service that its installer sets up.
    usual = [Path.home() / ".ollama" / "models", Path("/usr/share/ollama/.ollama/models")]
    return [Path(own)] if own else usual


def lm_studio_stores() -> list[Path]:
    """Return the folders in which LM Studio may keep models, the one of its settings first."""
    pointer = Path.home() / ".lmstudio-home-pointer"
    home = Path.home() / ".lmstudio"
    with suppress(OSError, UnicodeDecodeError):
        home = Path(pointer.read_text(encoding="utf-8").strip() or home)
    folders = [home / "models", Path.home() / ".cache" / "lm-studio" / "models"]
    try:
        settings = json.loads((home / "settings.json").read_text(encoding="utf-8"))
        own = settings.get("downloadsFolder") if isinstance(settings, dict) else None
    except (OSError, ValueError):
        own = None
    return [Path(own), *folders] if isinstance(own, str) and own else folders
