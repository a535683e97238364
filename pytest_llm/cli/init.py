"""``pytest-llm init``: the first suite of a model, with limits from this machine."""

from __future__ import annotations

import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.cli import command, project
from pytest_llm.cli.first_suite import LOOSER, FirstSuite, limits_of
from pytest_llm.errors import ModelError, UsageError
from pytest_llm.models import ModelStore, builtin_entries
from pytest_llm.models.catalogue import read_project
from pytest_llm.models.gguf.parts import part_names
from pytest_llm.models.naming import is_path
from pytest_llm.plugin.suite_file import SUFFIX
from pytest_llm.reports import results_file
from pytest_llm.system.atomic_file import replace
from pytest_llm.system.program import run_to_our_end
from pytest_llm.system.text import clean

if TYPE_CHECKING:
    import argparse
    import subprocess

    from pytest_llm.reports.document import Results

_TEXT = command.Text(
    summary="write the first suite of a model",
    more="Measures the model and writes NAME.llm.toml with limits 30 % looser than what was measured, for "
    "pytest --llm-bench to run. On another machine, other limits are right. Without MODEL it is the only "
    ".gguf file here.",
    statuses="0; 1 if the model could not be measured, and nothing is written",
    example="pytest-llm init model.gguf && pytest --llm-bench",
)
_INTERRUPTED = 2


def add_to(parser: argparse.ArgumentParser) -> None:
    command.describe(parser, _TEXT, _init)
    parser.add_argument("model", metavar="MODEL", nargs="?", help="name or path of a model")
    parser.add_argument("--output", metavar=f"NAME{SUFFIX}", type=Path, default=Path(f"speed{SUFFIX}"))
    parser.add_argument("--candidate", metavar="BUILD", help="the build to measure, as --llm-candidate")


def _init(arguments: argparse.Namespace) -> command.Answer:
    here = Path.cwd()
    output: Path = here / arguments.output
    if not output.name.endswith(SUFFIX):
        raise UsageError(
            f"--output: {output.name} does not end with {SUFFIX}, so pytest would not collect it"
        )
    if output.exists():
        raise UsageError(f"{output} exists: name another file with --output, or remove it")
    model = arguments.model or _only_model(here)
    suite = FirstSuite(_as_written(model, here, output), _context(model, here))
    replace(output, suite.text({}).encode())
    written = False
    try:
        command.on_progress(f"measuring {model}: about a minute for a small model")
        options = [f"--llm-candidate={arguments.candidate}"] if arguments.candidate else []
        results, problem = _measure(output, here, options)
        if results is None:
            return command.Answer(1, [f"{model} could not be measured: {problem}"], {"problem": problem})
        limits = limits_of(results.tests)
        suite = suite._replace(about=_about(results))
        replace(output, suite.text(limits).encode())
        written = True
    finally:
        if not written:
            output.unlink(missing_ok=True)
    lines = [
        f"{arguments.output} has {len(limits)} tests, with limits {100 * LOOSER:.0f} % looser than measured:",
        *(f"  {test}: {metric} {bound}" for test, found in limits.items() for metric, bound in found.items()),
        "run them with pytest --llm-bench; compare builds with --llm-against BUILD",
    ]
    return command.Answer(0, lines, {"file": str(output), "model": model, "limits": limits})


def _only_model(folder: Path) -> str:
    found = [each.name for each in sorted(folder.glob("*.gguf")) if part_names(each.name)[0] == each.name]
    if len(found) == 1:
        return found[0]
    some = f": {', '.join(found[:5])}" if found else ""
    raise UsageError(f"{folder} has {len(found)} models{some}: name one, pytest-llm init model.gguf")


def _as_written(model: str, here: Path, output: Path) -> str:
    """Return a model as the file names it: paths begin at the file."""
    if not is_path(model):
        return model
    path = (here / model).resolve()
    folder = output.parent.resolve()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _context(model: str, here: Path) -> int:
    """Return how many tokens a model was trained for; 0 if it has to be fetched first.

    Raises:
        UsageError: There is no such model.
    """
    home = project.home(here)
    entries = {**builtin_entries(), **read_project(home / "pyproject.toml")}
    store = ModelStore(project.cache(None, here), entries, here)
    try:
        store.check(model)
    except ModelError as error:
        raise UsageError(str(error)) from None
    found = store.header(model)
    return found[1].context_length if found else 0


def _measure(suite: Path, here: Path, options: list[str]) -> tuple[Results | None, str]:
    """Return the results of a suite, or why there are none."""
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "results.json"
        words = [sys.executable, "-m", "pytest", str(suite), "--llm-bench", "-q", "--color=no", *options]
        done = run_to_our_end(
            [*words, "-o", "llm_against=", "-o", "llm_aa=false", f"--llm-json={file}"], here
        )
        if done.returncode == _INTERRUPTED and "KeyboardInterrupt" in done.stdout:
            raise KeyboardInterrupt  # of this process, too
        if not file.exists():
            return None, _last_words(done)
        results = results_file.read(file)
    problems = [note for test in results.tests if test.run is None for note in (*test.notes, *test.message)]
    return (None, problems[0]) if problems else (results, "")


def _about(results: Results) -> tuple[str, ...]:
    machine, today = results.machine, datetime.now(timezone.utc).date()
    return (
        "Run with: pytest --llm-bench",
        f"Limits are {100 * LOOSER:.0f} % looser than measured on {today}: {results.candidate},",
        f"on {machine.cpu}, {machine.cores} cores. Another machine needs others.",
    )


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip(" =")]
    errors = [line for line in lines if "error" in line.lower()]
    return clean((errors or lines or [f"pytest ended with {done.returncode}"])[-1])
