"""Find the build that made the first failed test slower or wrong, and add it to the report."""

from __future__ import annotations

import subprocess
import sys

import workflow

_LONGEST = 20_000  # characters


def main() -> int:
    """Bisect within MINUTES; what was compared is kept in the cache, so that the next run goes on."""
    settings = workflow.given("SETTINGS")
    good, bad = (
        f"{build}[{settings}]" if settings else build for build in map(workflow.given, ("OLD", "NEW"))
    )
    command = [
        *(sys.executable, "-m", "pytest_llm.cli", "bisect", workflow.given("TEST")),
        *("--good", good, "--bad", bad),
        *("--effort", workflow.given("EFFORT")),
    ]
    if workflow.given("CHECKOUT") and not workflow.given("NEW").startswith("git:"):
        command += ["--checkout", workflow.given("CHECKOUT")]
    minutes = float(workflow.given("MINUTES"))
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=60 * minutes,
            check=False,
        )
        text = done.stdout if done.returncode != 2 else f"{done.stdout}\n{done.stderr}"
        sys.stderr.write(done.stderr)
    except subprocess.TimeoutExpired:
        text = f"not done in {minutes:g} minutes: the comparisons are kept, and the next run goes on"
    text = f"\n## Bisect\n\n{workflow.fenced(text[:_LONGEST])}"
    print(text)
    workflow.summary(text)
    with (workflow.work() / "comment.md").open("a", encoding="utf-8") as comment:
        comment.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
