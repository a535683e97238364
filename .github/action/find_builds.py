"""Find the two builds that are compared.

They are what PIN pins now and what it pinned at BASE, unless CANDIDATE or AGAINST names another. Without PIN,
every file that changed since BASE is read. CANDIDATE may be "newest".
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import workflow

from pytest_llm.builds import git, pins, released
from pytest_llm.builds.provider import build_store
from pytest_llm.builds.reference import parse_build
from pytest_llm.cli import project
from pytest_llm.errors import LLMBenchError, UsageError


def main() -> int:
    """Give the steps that follow ``old``, ``new`` and ``changed``."""
    try:
        old, new = _builds()
    except LLMBenchError as error:
        workflow.say("error", str(error))
        return 1
    changed = old != new
    if changed:
        print(f"{old} → {new}")
    else:
        what = f"{old} is pinned as before" if old else "no file that changed pins another build of llama.cpp"
        workflow.say("notice", f"{what}: nothing was measured")
        workflow.summary(f"## llm-bench: nothing was measured\n\n{what}.\n")
    workflow.output(old=old, new=new, changed=str(changed).lower())
    return 0


def _builds() -> tuple[str, str]:
    checkout = Path(workflow.given("CHECKOUT")) if workflow.given("CHECKOUT") else None
    pin, base = workflow.given("PIN"), workflow.given("BASE")
    old, new = workflow.given("AGAINST"), workflow.given("CANDIDATE")
    if new == "newest":
        newest = (
            released.newest_tag(checkout)
            if checkout
            else released.newest_release(released.released_versions())
        )
        new = pins.as_build(newest, checkout)
    if not pin and bool(old) != bool(new):
        raise UsageError(
            "the inputs 'candidate' and 'against' go together, unless 'pin' names the file of a pin"
        )
    if not (old and new):
        if not (old or new or base):
            raise UsageError(
                "this event has no base to compare with: give 'base', or 'candidate' and 'against'"
            )
        if not (old or new):
            _fetch(base)
        if pin:
            old = old or _pinned(Path(pin), "" if new else base, checkout)
            new = new or _pinned(Path(pin), "", checkout)
        else:
            old, new = _changed(base, checkout)
    return _beside(old, new, checkout), new


def _pinned(file: Path, ref: str, checkout: Path | None) -> str:
    pin = pins.pinned_at(file, ref, workflow.given("KEY"))
    return pins.as_build(pin, checkout or (file if file.is_dir() else None))


def _changed(base: str, checkout: Path | None) -> tuple[str, str]:
    """Return the pins of the files that changed since a commit; two empty texts if none changed."""
    root = Path(git.ask(Path.cwd(), "rev-parse", "--show-toplevel").strip())
    found = set()
    for name in git.ask(root, "diff", "--name-only", "--diff-filter=M", "-z", base, "HEAD").split("\0")[:-1]:
        before, now = (_readable(root / name, ref, checkout) for ref in (base, ""))
        if before and now:
            found.add((before, now))
        elif before or now:
            when = f"pinned {before} and pins none" if before else f"pins {now} and pinned none before"
            workflow.say(
                "warning", f"{name} {when} that can be read: it is not compared; see the input 'pin'"
            )
    changed = {each for each in found if each[0] != each[1]}
    if len(changed) > 1:
        raise UsageError("the files that changed pin several builds: name one of them with the input 'pin'")
    return next(iter(changed), ("", ""))


def _readable(file: Path, ref: str, checkout: Path | None) -> str:
    """Return the pin of a file; "" if it has none."""
    try:
        return _pinned(file, ref, checkout)
    except UsageError:
        return ""


def _fetch(base: str) -> None:
    """Fetch the base, which a shallow checkout lacks."""
    try:
        git.commit_of(Path.cwd(), base)
    except UsageError:
        done = subprocess.run(
            ["git", "fetch", "--quiet", "--depth=1", "origin", base],
            stderr=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
        if done.returncode:
            words = " ".join(done.stderr.split())
            raise UsageError(
                f"the base {base} cannot be fetched ({words}): check out with fetch-depth: 0"
            ) from None


def _beside(old: str, new: str, checkout: Path | None) -> str:
    """Return the reference: beside a commit, the commit of a release, which has programs to measure both."""
    if not new.startswith("git:") or old.startswith("git:") or checkout is None:
        return old
    settings = workflow.given("SETTINGS")
    reference = parse_build(f"{old}[{settings}]" if settings else old, Path.cwd())
    store = build_store(project.cache(None, Path.cwd()))
    made = store.make(reference, print).description
    return f"git:{made.llama_cpp_commit}:{checkout}"


if __name__ == "__main__":
    sys.exit(main())
