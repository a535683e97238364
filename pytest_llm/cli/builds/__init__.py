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
            help="cache folder, which holds the builds in builds/ (default: the ini key llm_cache, "
            "PYTEST_LLM_CACHE, or the user's cache folder)",
        )
