"""A file in LM Studio's store for a while: a link in a folder of our own, which LM Studio lists by itself."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.models.copies import has_content

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records import Model

PUBLISHER = "pytest-llm"


def holds_other(model: Model, stores: Sequence[Path]) -> bool:
    """Return true if stores have files of a model's length, and all of them other content.

    LM Studio tells a file's length, and neither its path nor its hash.
    """
    files = [each for store in stores for each in store.rglob("*.gguf")]
    alike = [each for each in files if _size(each) == model.file_bytes]
    return bool(alike) and not any(has_content(model, str(each)) for each in alike)


def _size(path: Path) -> int:
    with suppress(OSError):  # a link that leads nowhere
        return path.stat().st_size
    return -1


class StoredLink:
    """A link to a file, and its folders as far as they were not there."""

    def __init__(self, model: Model, stores: Sequence[Path]) -> None:
        """Make the link in the first store that is there.

        Raises:
            OSError: There is no store, or nothing can be written to it.
        """
        store = next((each for each in stores if each.is_dir()), None)
        if store is None:
            raise FileNotFoundError("it has no store on this machine")
        self.name = f"{Path(model.path).stem.lower()}-{model.sha256[:8]}"
        self._folder = store / PUBLISHER / self.name
        self._link = self._folder / f"{self.name}.gguf"
        self._folder.mkdir(parents=True)
        self._link.symlink_to(Path(model.path).resolve())

    def remove(self) -> None:
        """Remove the link; may be called again."""
        with suppress(OSError):
            self._link.unlink()
        for each in (self._folder, self._folder.parent):
            with suppress(OSError):  # another one's link is there as well
                each.rmdir()
