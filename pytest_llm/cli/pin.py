"""``pytest-llm pin``: which build of llama.cpp a file pins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.builds import pins
from pytest_llm.cli import command

if TYPE_CHECKING:
    import argparse

_TEXT = command.Text(
    summary="print the build of llama.cpp that a file pins",
    more="FILE is a requirements file, pyproject.toml, a lock file, JSON, a file with a variable (a shell "
    "script, a Dockerfile, YAML, CMake), or the folder of a submodule. "
    "The build is printed as --llm-against takes it.",
    statuses="0",
    example='pytest --llm-bench --llm-against "$(pytest-llm pin requirements.txt --at origin/main)"',
)


def add_to(parser: argparse.ArgumentParser) -> None:
    command.describe(parser, _TEXT, run)
    parser.add_argument("file", metavar="FILE", type=Path, help="the file or submodule")
    parser.add_argument(
        "--at",
        metavar="REF",
        default="",
        help="read FILE at this commit of its repository (default: as it is now)",
    )
    parser.add_argument(
        "--key",
        metavar="NAME",
        default="",
        help="the package, the variable, or the keys of JSON or TOML joined by dots, that holds the pin "
        f"(default: {pins.PACKAGE}, or the only one that is named after llama)",
    )
    parser.add_argument(
        "--checkout",
        metavar="DIR",
        type=Path,
        help="a checkout of llama.cpp, for a pin that is one of its tags or commits (default: the submodule; "
        "of a tag, the prebuilt llama-server)",
    )


def run(arguments: argparse.Namespace) -> command.Answer:
    file: Path = arguments.file
    pin = pins.pinned_at(file, arguments.at, arguments.key)
    checkout: Path | None = arguments.checkout or (file if file.is_dir() else None)
    build = pins.as_build(pin, checkout)
    return command.Answer(0, [build], {"pin": pin, "build": build})
