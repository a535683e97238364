"""Report on what was measured: the summary of the job, annotations, outputs, and files to keep."""

from __future__ import annotations

import sys

import workflow

from pytest_llm.cli import main as pytest_llm

_LINES = 40  # of pytest's log, if there are no results


def main() -> int:
    """Write ``comment.md``, ``report.html``, ``results.csv``, and what the runner reads.

    The output ``status`` is pytest's own, but never 0 if a benchmark failed or nothing was measured.
    """
    folder, status = workflow.work(), workflow.given("STATUS")
    proved = False
    comment, results = folder / "comment.md", str(folder / "results.json")
    if (folder / "results.json").exists():
        outputs = folder / "outputs"
        files = {
            "markdown": comment,
            "html": folder / "report.html",
            "csv": folder / "results.csv",
            "outputs": outputs,
        }
        written = [word for name, path in files.items() for word in (f"--{name}", str(path))]
        failed = pytest_llm(["report", results, *written]) or pytest_llm(
            ["report", results, "--annotations", "-"]
        )
        if failed:
            workflow.say("error", "the results file cannot be reported on: see the log")
            return failed
        found = dict(line.split("=", 1) for line in outputs.read_text(encoding="utf-8").splitlines())
        workflow.output(**found)
        proved = found["failed"] == "0" and found["finished"] == "true" and found["tests"] != "0"
        text = comment.read_text(encoding="utf-8")
        if status != "0" and found["failed"] == "0":  # another test failed, or pytest itself
            said = f"pytest ended with exit status {status}, although no benchmark failed"
            workflow.say("error", said)
            text += f"\n❌ {said}: see the log.\n"
    else:
        said = f"nothing was measured: pytest ended with exit status {status}"
        workflow.say("error", said)
        log = (folder / "pytest.log").read_text(encoding="utf-8", errors="replace").splitlines()
        text = f"{workflow.MARK}\n\n## ❌ llm-bench: nothing was measured\n\n{said}.\n\n"
        text += workflow.fenced("\n".join(line[:500] for line in log[-_LINES:]))
    text += f"\nbuilds: `{workflow.given('OLD')}` → `{workflow.given('NEW')}`\n"
    workflow.output(status=status if proved or status != "0" else 1)
    comment.write_text(text, encoding="utf-8")
    workflow.summary(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
