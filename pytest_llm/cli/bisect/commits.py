"""The commits between two of them, as builds of a checkout; and what git says of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.builds.git import GitError, ask, commit_of
from pytest_llm.builds.reference import parse_build, with_settings
from pytest_llm.cli import project
from pytest_llm.errors import UsageError
from pytest_llm.records import Commit, Release
from pytest_llm.system.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.bisect.bisection import Bisected
    from pytest_llm.bisect.search import Stretch

# Neither the library nor llama-bench is made of these.
_NOT_COMPILED = (
    *(".devops", ".github", "ci", "docs", "gguf-py", "grammars", "media", "models", "prompts", "tests"),
    *("tools/server", "tools/ui", "examples/server", "*.md", "*.py"),
)


class Row(NamedTuple):
    """Commits along the first parents, oldest first.

    Attributes:
        builds: Of each commit that may matter, both ends among them.
        left_out: How many change nothing that is compiled.
    """

    builds: list[str]
    left_out: int

    def __str__(self) -> str:
        left = f", {self.left_out} that change nothing that is compiled left out" if self.left_out else ""
        return f"{len(self.builds)} commits{left}"


def between(good: Commit, bad: Commit) -> Row:
    """Return the commits from one to another, as builds of the later one's checkout and settings.

    Raises:
        UsageError: Their settings differ, or the one does not lead to the other.
    """
    if good.settings != bad.settings:
        raise UsageError(f"{good} and {bad} are built otherwise: give both the same settings")
    checkout = Path(bad.checkout)
    first, last = commit_of(checkout, good.commit), bad.commit
    if first == last or not _leads_to(checkout, first, last):
        raise UsageError(f"{first[:12]} does not lead to {last[:12]} in {checkout}: a bisect goes onwards")
    every = _listed(checkout, first, last)
    matter = _listed(checkout, first, last, "--", ".", *(f":(exclude){each}" for each in _NOT_COMPILED))
    row = [first, *(each for each in every if each in {*matter, last})]
    builds = [str(Commit(bad.engine, each, str(checkout), bad.settings)) for each in row]
    return Row(builds, len(every) + 1 - len(row))


def inside(found: Bisected, step: Stretch, checkout: Path, start: Path) -> Row:
    """Return the commits between the ones that the two builds of a step were made of.

    Raises:
        UsageError: A build does not tell its commit, or the checkout has not got it, or both are the same.
    """
    commits = [_commit_in(checkout, found, place) for place in (step.first, step.last)]
    if commits[0] == commits[1]:
        raise UsageError(f"both are made of llama.cpp {commits[0][:12]}: what differs is not in its commits")
    build = parse_build(found.builds[step.last], start)
    settings = build.settings if isinstance(build, Release) else ()
    good, bad = (Commit(build.engine, each, str(checkout), settings) for each in commits)
    # A build that was not made here lacks the project's settings.
    project_settings = project.build_settings(start)
    return between(with_settings(good, project_settings), with_settings(bad, project_settings))


def titles(found: Bisected, step: Stretch, start: Path) -> Sequence[str]:
    """Return what git says of the commit that a step leads to; nothing if that is none."""
    build = parse_build(found.builds[step.last], start)
    if not isinstance(build, Commit):
        return ()
    said = ask(Path(build.checkout), "log", "-1", "--format=%ad%n%s", "--date=iso", build.commit)
    date, _, subject = said.strip().partition("\n")
    return [f"commit {build.commit}: {one_line(subject)} (authored {date})"]


def _commit_in(checkout: Path, found: Bisected, place: int) -> str:
    said = found.described[place].llama_cpp_commit.removesuffix("-dirty")
    if not said:
        raise UsageError(f"{found.builds[place]} does not tell which commit of llama.cpp it was made of")
    try:
        return commit_of(checkout, said)
    except UsageError:
        raise UsageError(
            f"{found.builds[place]} was made of llama.cpp {said}, which is not in {checkout}: "
            f"git -C {checkout} fetch"
        ) from None


def _leads_to(checkout: Path, first: str, last: str) -> bool:
    try:
        return ask(checkout, "merge-base", first, last).strip() == first
    except GitError:  # they have nothing in common
        return False


def _listed(checkout: Path, first: str, last: str, *paths: str) -> list[str]:
    try:
        words = ("rev-list", "--first-parent", "--reverse", f"{first}..{last}", *paths)
        return ask(checkout, *words).split()
    except GitError as error:
        raise UsageError(f"the commits in {checkout} cannot be listed: {error}") from None
