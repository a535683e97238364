"""``pytest-llm builds list``: which builds there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llm.cli import command
from pytest_llm.cli.builds.common import kept_document, said_line, store_of
from pytest_llm.records.units import BYTES

if TYPE_CHECKING:
    import argparse

    from pytest_llm.builds import Kept

_TEXT = command.Text(
    summary="list the builds that were made",
    more="Prints the size, Python and date of each build, and the version, commit and compiler that it "
    "reports. An incomplete build is listed as unfinished and is never used.",
    statuses="0",
    example="pytest-llm builds list",
)


def add_to(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Declare the command."""
    return command.add(commands, "list", _TEXT, run)


def run(arguments: argparse.Namespace) -> command.Answer:
    """List what there is."""
    store = store_of(arguments)
    kept = store.kept()
    lines = [f"builds in {store.folder}", *(line for each in kept for line in _lines(each))]
    if not kept:
        lines = [f"no builds in {store.folder}: make one with pytest-llm builds make 0.3.36, say"]
    document = {"folder": str(store.folder), "builds": [kept_document(each) for each in kept]}
    return command.Answer(0, lines, document)


def _lines(kept: Kept) -> list[str]:
    size = BYTES.format(kept.bytes)
    if kept.manifest is None:
        return [f"  {kept.folder.name}: {kept.state}, {size}"]
    identity = kept.manifest.identity
    python = f"{identity.python}, " if identity.python else ""
    return [
        f"  {identity.title}: {size}, {python}made {kept.manifest.made[:10]}",
        f"    {said_line(kept.manifest)}",
    ]
