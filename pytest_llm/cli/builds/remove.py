"""``pytest-llm builds remove``: have fewer builds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llm.cli import command
from pytest_llm.cli.builds.common import BUILD_HELP, asked, store_of
from pytest_llm.errors import BuildError, UsageError
from pytest_llm.records.units import BYTES

if TYPE_CHECKING:
    import argparse

    from pytest_llm.builds import Identity, Kept

_TEXT = command.Text(
    summary="remove builds",
    more="Removes a build for every Python that it was made for. A build in use is kept.",
    statuses="0; 1 if a build is in use or does not exist",
    example="pytest-llm builds remove 0.3.35",
)


def add_to(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = command.add(commands, "remove", _TEXT, run)
    parser.add_argument("builds", metavar="BUILD", nargs="*", help=BUILD_HELP)
    parser.add_argument("--all", action="store_true", help="remove all builds, incomplete ones, too")
    return parser


def run(arguments: argparse.Namespace) -> command.Answer:
    """Remove the builds that are meant."""
    if bool(arguments.builds) == arguments.all:
        raise UsageError("name the builds to remove, or --all of them; pytest-llm builds list shows them")
    store, wanted = store_of(arguments), asked(arguments.builds)
    kept = store.kept()
    going = [each for each in kept if arguments.all or any(_is(each, one) for one in wanted)]
    staying = [f"{one.title} is not there" for one in wanted if not any(_is(each, one) for each in kept)]
    lines, removed = [], []
    for each in going:
        try:
            store.remove(each)
        except BuildError as error:
            staying.append(str(error))
            continue
        lines.append(f"removed {each.folder.name}, {BYTES.format(each.bytes)}")
        removed.append({"folder": str(each.folder), "bytes": each.bytes})
    if not going and arguments.all:
        lines.append(f"nothing to remove in {store.folder}")
    document = {"folder": str(store.folder), "removed": removed, "problems": staying}
    return command.Answer(int(bool(staying)), [*lines, *staying], document)


def _is(kept: Kept, identity: Identity) -> bool:
    if kept.manifest is None:
        return kept.folder.name == identity.key
    return kept.manifest.identity.title == identity.title
