"""``pytest-llm baselines``: show, compare, accept, move, merge and prune stored baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.cli.baselines import accept, diff, merge, migrate, move, prune, show

if TYPE_CHECKING:
    import argparse


def add_to(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    for each in (show, diff, accept, move, migrate, prune):
        command = each.add_to(commands)
        command.add_argument(
            "--baselines",
            metavar="DIR",
            help="folder of the baselines (default: the ini key llm_baselines, or baselines beside "
            "pytest's ini file, or baselines in the current folder)",
        )
    merge.add_to(commands)
