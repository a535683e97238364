"""Expected texts in files: ``UPDATE_GOLDEN=1 pytest …`` rewrites them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def assert_golden(file: Path, text: str) -> None:
    """Compare a text with a file, or write the file if ``UPDATE_GOLDEN`` is set."""
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), f"set UPDATE_GOLDEN=1 to rewrite {file}, and review it"
