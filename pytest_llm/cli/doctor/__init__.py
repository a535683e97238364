"""``pytest-llm doctor``: is this machine fit to measure, what can it see, and what is to be changed?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.cli import command, project
from pytest_llm.cli.doctor import qualify, report
from pytest_llm.engines import DEFAULT

if TYPE_CHECKING:
    import argparse

_TEXT = command.Text(
    summary="check if this machine is fit to measure, and name what to change",
    more="Looks at the machine for a second. With --qualify, tests for some minutes if verdicts on speed are "
    "right on this machine, and stores the result.",
    statuses="0; 1 if there is something to change or, with --qualify, if the machine is not qualified",
    example="pytest-llm doctor --qualify",
)


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the command."""
    command.describe(parser, _TEXT, run)
    parser.add_argument("--qualify", action="store_true", help="test if verdicts on speed are right here")
    parser.add_argument(
        "--candidate",
        metavar="BUILD",
        default=DEFAULT,
        help="build to measure: llama-cpp-python (of this environment), a release such as 0.3.36, venv:PATH, "
        "lib:PATH or git:REF:CHECKOUT",
    )
    parser.add_argument(
        "--model",
        metavar="NAME_OR_FILE",
        default="smollm2-135m",
        help="model that --qualify measures (default: %(default)s)",
    )
    parser.add_argument(
        "--cache",
        metavar="DIR",
        help="cache folder, for models and the result (default: the ini key llm_cache, PYTEST_LLM_CACHE, "
        "or the user's cache folder)",
    )


def run(arguments: argparse.Namespace) -> command.Answer:
    """Look at the machine, or qualify it."""
    start = Path.cwd()
    build = project.build(arguments.candidate, start)
    cache = project.cache(arguments.cache, start)
    if not arguments.qualify:
        return report.on_progress(report.look(build, cache))
    return qualify.qualify(build, arguments.model, cache, start)
