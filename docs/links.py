"""Check the links of README.md, CHANGELOG.md, CONTRIBUTING.md and docs/, without a network.

    uv run python -m docs.links

Relative links must lead to a file of the checkout and, with a ``#fragment``, to a heading of that page. Links
to other hosts are not followed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"!?\[[^\]\[]*(?:\[[^\]]*\][^\]\[]*)*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)


def pages(root: Path) -> Iterator[Path]:
    """Yield every page that is checked."""
    yield from sorted(root.glob("*.md"))
    yield from sorted((root / "docs").rglob("*.md"))


def broken(root: Path = ROOT) -> list[str]:
    """Return a line for each link that leads nowhere: "docs/a.md: b.md#c: b.md has no heading #c"."""
    return [
        f"{page.relative_to(root)}: {link}: {problem}"
        for page in pages(root)
        for link in _links(page)
        for problem in _problems(page, link, root)
    ]


def _links(page: Path) -> Iterator[str]:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    # Code in a link's text is part of the link; elsewhere brackets in code are no link.
    for found in _LINK.finditer(_CODE.sub(lambda code: "x" * len(code[0]), text)):
        yield found[1]


def _problems(page: Path, link: str, root: Path) -> Iterator[str]:
    if re.match(r"[a-z][a-z0-9+.-]*:", link):
        return
    path, _, fragment = link.partition("#")
    # What is not released yet becomes part of the change log.
    is_change = page.parent.name == "changes" and page.name != "README.md"
    folder = root if is_change else page.parent
    target = page if not path else folder / path
    if not target.exists():
        yield f"there is no {path}"
    elif not target.resolve().is_relative_to(root.resolve()):
        yield "it leaves the checkout"
    elif fragment and target.suffix == ".md" and fragment not in anchors(target.read_text(encoding="utf-8")):
        yield f"{target.name} has no heading #{fragment}"


def anchors(text: str) -> set[str]:
    """Return the fragments that GitHub gives a page's headings."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        number = 0
        while (anchor := slug if number == 0 else f"{slug}-{number}") in found:
            number += 1
        found.add(anchor)
    return found


def main() -> int:
    """Print broken links; return 1 if there are any."""
    lines = broken()
    print(*lines, sep="\n", file=sys.stderr, end="\n" if lines else "")
    return int(bool(lines))


if __name__ == "__main__":
    raise SystemExit(main())
