"""Measure both builds in turns. This step does not fail: the last one does, when everything is told."""

from __future__ import annotations

import subprocess
import sys

import workflow


def main() -> int:
    """Run pytest, show and keep what it prints, and give its exit status to the steps that follow."""
    folder = workflow.work()
    results = folder / "results.json"
    results.unlink(missing_ok=True)
    options = {
        "candidate": workflow.given("NEW"),
        "against": workflow.given("OLD"),
        "build-settings": workflow.given("SETTINGS"),
        "effort": workflow.given("EFFORT"),
        "inconclusive": workflow.given("INCONCLUSIVE"),
        "time-limit": workflow.given("TIME_LIMIT"),
        "budget": workflow.given("BUDGET"),
        "json": results,
    }
    command = [
        *(sys.executable, "-m", "pytest", "--llm-bench", f"--junitxml={folder / 'junit.xml'}"),
        *(f"--llm-{name}={value}" for name, value in options.items() if value),
        *workflow.words("ARGUMENTS"),
        *workflow.words("SUITE"),
    ]
    with (
        (folder / "pytest.log").open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            log.write(line)
    workflow.output(status=process.returncode)
    return 0


if __name__ == "__main__":
    sys.exit(main())
