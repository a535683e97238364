"""Write the YAML of docs/ci.md into a folder, each block as the file that its first line names.

    uv run python -m docs.recipes FOLDER

`.ci/workflows` then checks them as it checks this project's own.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_BLOCK = re.compile(r"^```yaml\n# (?P<name>\S+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def main() -> None:
    """Write the files."""
    page = Path(__file__).with_name("ci.md").read_text(encoding="utf-8")
    for block in _BLOCK.finditer(page):
        path = Path(sys.argv[1], block["name"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block["text"], encoding="utf-8")


if __name__ == "__main__":
    main()
