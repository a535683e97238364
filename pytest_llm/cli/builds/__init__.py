"""``pytest-llm builds``: what there is of builds of llama.cpp, more of them, and fewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.cli.builds import list as listing
from pytest_llm.cli.builds import make, remove

if TYPE_CHECKING:
    import argparse


def add_to(parser: argparse.ArgumentParser) -> None:
    """Give the group its commands."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    for each in (listing, make, remove):
        each.add_to(commands).add_argument(
            "--cache",
            metavar="DIR",
            help="where builds are kept, in builds/ (default: as for pytest: the ini key llm_cache, else "
            "PYTEST_LLM_CACHE, else the user's cache)",
        )
