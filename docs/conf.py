"""The site of these pages: ``sphinx-build -c docs . FOLDER``, from the root of the checkout.

README.md is its first page, so that links between the pages are the same there and on GitHub.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_ROOT = Path(__file__).parent.parent
_PYPROJECT = (_ROOT / "pyproject.toml").read_text(encoding="utf-8")

project = "pytest-llm-bench"
html_title = project
copyright = "the authors of pytest-llm-bench"  # noqa: A001 - Sphinx reads this name
extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md"]
exclude_patterns = ["docs/changes/*"]
html_theme = "furo"
html_static_path: list[str] = []
html_show_sphinx = False
html_copy_source = False
myst_heading_anchors = 4
pygments_style = "default"
# Shown as they are: what pytest prints, with marks that are no syntax.
suppress_warnings = ["misc.highlighting_failure"]
nitpicky = True

# The sidebar. Sphinx warns of a page that is in none of these.
_TREE = {
    "Start": ["tutorial", "ci", "gpu", "noisy", "raising"],
    "Guides": ["markers", "comparing", "baselines", "output", "memory", "builds", "bisect", "operators"],
    "More": [
        "suites",
        "variants",
        "tools",
        "servers",
        "reports",
        "contract",
        "sandbox",
        "extending",
        "faults",
        "releases",
    ],
    "Reference": ["measuring", "options", "command", "results", "glossary"],
}

_SOURCE = next(iter(re.findall(r'^Source = "(.+)"$', _PYPROJECT, re.MULTILINE)))
# A link to a file or folder that is no page leads to the repository.
_LINK = re.compile(r"(\]\()((?:\.\./)*)((?!https?://|#|mailto:)[^)#\s]+)((?:#[^)\s]*)?\))")


def _elsewhere(_app: Sphinx, name: str, content: list[str]) -> None:
    folder = (_ROOT / name).parent

    def lead(link: re.Match[str]) -> str:
        target = (folder / (link[2] + link[3])).resolve()
        if target.suffix == ".png" or (target.suffix == ".md" and target.parent in {_ROOT, _ROOT / "docs"}):
            return link[0]
        kind = "tree" if target.is_dir() else "blob"
        return f"{link[1]}{_SOURCE}/{kind}/main/{target.relative_to(_ROOT).as_posix()}{link[4]}"

    content[0] = _LINK.sub(lead, content[0]) + (_trees() if name == root_doc else "")


def _trees() -> str:
    trees = {caption: [f"docs/{page}" for page in pages] for caption, pages in _TREE.items()} | {
        "Project": ["CONTRIBUTING", "CHANGELOG", "SECURITY"]
    }
    return "".join(
        f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{chr(10).join(pages)}\n```"
        for caption, pages in trees.items()
    )


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _elsewhere)
