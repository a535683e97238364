"""``pytest-llm builds make``: have builds there before a run needs them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pytest_llm.cli import command
from pytest_llm.cli.builds.common import BUILD_HELP, asked, made_document, said_line, store_of
from pytest_llm.errors import EngineError

if TYPE_CHECKING:
    import argparse

    from pytest_llm.builds import BuildStore, Identity
    from pytest_llm.records import BuildReference

_TEXT = command.Text(
    summary="make builds, each in a folder of its own",
    more="An existing build is left as it is. Progress goes to standard error.",
    statuses="0; 1 if a build failed",
    example="pytest-llm builds make 0.3.35 '0.3.36[-DGGML_NATIVE=OFF]'\n  pytest-llm builds make "
    "git:master~3:../llama.cpp",
)


def add_to(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = command.add(commands, "make", _TEXT, run)
    parser.add_argument("builds", metavar="BUILD", nargs="+", help=BUILD_HELP)
    return parser


def run(arguments: argparse.Namespace) -> command.Answer:
    """Make each build; one that cannot be made keeps no other from being made."""
    store = store_of(arguments)
    lines, documents = [], []
    for identity, reference in asked(arguments.builds).items():
        line, document = _make(store, identity, reference)
        lines.append(line)
        documents.append(document)
    failed = any("error" in each for each in documents)
    return command.Answer(int(failed), lines, {"folder": str(store.folder), "builds": documents})


def _make(store: BuildStore, identity: Identity, reference: BuildReference) -> tuple[str, dict[str, Any]]:
    try:
        made = store.make(reference, _on_progress)
    except EngineError as error:
        for line in error.log:
            _on_progress(f"  | {line}")
        document = {"build": identity.title, "error": str(error), "log": list(error.log)}
        return str(error), document
    return f"{identity.title}: {said_line(made)}", made_document(made)


def _on_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
