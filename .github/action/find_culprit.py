"""Find the build that made the first failed test slower or wrong, and add it to the report."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import workflow

from pytest_llm.builds.reference import parse_build, read_settings
from pytest_llm.errors import LLMBenchError

_LONGEST = 20_000  # characters


def main() -> int:
    """Bisect within MINUTES; what was compared is kept in the cache, so that the next run goes on."""
    minutes = float(workflow.given("MINUTES"))
    try:
        found = _bisect(minutes)
    except subprocess.TimeoutExpired:
        found = f"not done in {minutes:g} minutes: the comparisons are kept, and the next run goes on"
    except LLMBenchError as error:
        found = str(error)
    text = f"\n## Bisect\n\n{workflow.fenced(found[:_LONGEST])}"
    print(text)
    workflow.summary(text)
    with (workflow.work() / "comment.md").open("a", encoding="utf-8") as comment:
        comment.write(text)
    return 0


def _bisect(minutes: float) -> str:
    settings = read_settings(workflow.given("SETTINGS"), "build-settings")
    # Each as pytest took it: with the settings of the run, if it is compiled.
    good, bad = (parse_build(workflow.given(name), Path.cwd(), settings) for name in ("OLD", "NEW"))
    checkout = workflow.given("CHECKOUT")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest_llm.cli", "bisect", workflow.given("TEST")),
            *("--good", str(good), "--bad", str(bad), "--effort", workflow.given("EFFORT")),
            *(["--checkout", checkout] if checkout and bad.kind == "release" else []),
            *_of_pytest(),
        ],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=60 * minutes,
        check=False,
    )
    sys.stderr.write(done.stderr)
    return done.stdout if done.returncode in (0, 1) else f"{done.stdout}\n{done.stderr}"


def _of_pytest() -> list[str]:
    """Return what pytest was given and a bisect takes as well."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--llm-model", action="append", default=[])
    known, _ = parser.parse_known_args(workflow.words("ARGUMENTS"))
    limit = workflow.given("TIME_LIMIT")
    return [
        *(f"--model={each}" for each in known.llm_model),
        *([f"--time-limit={limit}"] if limit else []),
    ]


if __name__ == "__main__":
    sys.exit(main())
