"""Commits between two of them, as builds of a checkout; and from culprits among builds on to commits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.bisect.report import Report
from pytest_llm.bisect.search import Relation
from pytest_llm.builds.git import GitError, ask, commit_of
from pytest_llm.builds.reference import parse_build, with_settings
from pytest_llm.errors import UsageError
from pytest_llm.records import Commit, Release
from pytest_llm.system.folders import expanded
from pytest_llm.system.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_llm.bisect.bisection import Bisected
    from pytest_llm.bisect.search import Stretch

# Neither the library nor llama-bench is made of these.
_NOT_COMPILED = (
    *(".devops", ".github", "ci", "docs", "gguf-py", "grammars", "media", "models", "prompts", "tests"),
    *("tools/server", "tools/ui", "examples/server", "*.md", "*.py"),
)
_ELSEWHERE = "no commit is the culprit: the binding, or how the two builds were compiled, is what is left"
_RATE = "the commits are a bisect of their own: the two error rates add up"


class CommitRange(NamedTuple):
    """Commits along the first parents, oldest first, both ends among them."""

    builds: list[Commit]
    left_out: int  # these change nothing that is compiled

    def __str__(self) -> str:
        left = f", {self.left_out} that change nothing that is compiled left out" if self.left_out else ""
        return f"{len(self.builds)} commits{left}"


def between(good: Commit, bad: Commit) -> CommitRange:
    """Return the commits from one to another, as builds of the later one's checkout and settings."""
    if good.settings != bad.settings:
        raise UsageError(f"{good} and {bad} are built otherwise: give both the same settings")
    checkout = Path(bad.checkout)
    first, last = commit_of(checkout, good.commit), bad.commit
    if first == last or not _leads_to(checkout, first, last):
        raise UsageError(
            f"{first[:12]} does not lead to {last[:12]} in {checkout}: give the earlier one as --good"
        )
    every = _listed(checkout, first, last)
    matter = _listed(checkout, first, last, "--", ".", *(f":(exclude){each}" for each in _NOT_COMPILED))
    found = [first, *(each for each in every if each in {*matter, last})]
    builds = [Commit(bad.engine, each, str(checkout), bad.settings) for each in found]
    return CommitRange(builds, len(every) + 1 - len(found))


def inside(
    found: Bisected, step: Stretch, checkout: Path, start: Path, settings: Sequence[str] = ()
) -> CommitRange:
    """Return the commits between the two builds of a step; ``UsageError`` if they cannot be known."""
    commits = [_commit_in(checkout, found, place) for place in (step.first, step.last)]
    if commits[0] == commits[1]:
        raise UsageError(f"both are made of llama.cpp {commits[0][:12]}: what differs is not in its commits")
    build = parse_build(found.builds[step.last], start)
    own = build.settings if isinstance(build, Release) else ()
    good, bad = (Commit(build.engine, each, str(checkout), own) for each in commits)
    return between(with_settings(good, settings), with_settings(bad, settings))


def checkout_of(written: str, builds: Sequence[str], start: Path) -> Path:
    """Return the checkout in which culprits are bisected further, checked before anything is measured."""
    checkout = (start / expanded(written)).absolute()
    commit_of(checkout, "HEAD")
    if any(isinstance(parse_build(each, start), Commit) for each in builds):
        raise UsageError("--checkout goes on from releases to commits; these builds are commits already")
    return checkout


def into_commits(
    found: Bisected,
    report: Report,
    commits_of: Callable[[Stretch], CommitRange],
    bisect: Callable[[Sequence[str]], Report],
    on_progress: Callable[[str], None],
) -> Report:
    """Bisect each culprit over its commits; return the report with the results added."""
    lines, documents = list(report.lines), []
    for step in found.search.culprits:
        try:
            commits = commits_of(step)
            on_progress(f"going on: {commits}")
            own = bisect([str(each) for each in commits.builds])
        except UsageError as error:  # what was found so far is not to be lost
            more = [f"not bisected further: {error}"]
            document: dict[str, Any] = {"reason": str(error)}
        else:
            elsewhere = [_ELSEWHERE] if own.document["ends"] == Relation.SAME.value else []
            more = [str(commits), *own.lines, *elsewhere, _RATE]
            document = {"left_out": commits.left_out, **own.document}
        lines += ["", f"─── the commits of {found.builds[step.first]} … {found.builds[step.last]} ───", *more]
        documents.append({"from": step.first, "to": step.last, **document})
    return Report(lines, {**report.document, "commits": documents}, report.culprits)


def describe(found: Bisected, step: Stretch, start: Path) -> Sequence[str]:
    """Return a line about the commit that a step leads to; none if it leads to no commit."""
    build = parse_build(found.builds[step.last], start)
    if not isinstance(build, Commit):
        return ()
    shown = ask(Path(build.checkout), "log", "-1", "--format=%ad%n%s", "--date=iso", build.commit)
    date, _, subject = shown.strip().partition("\n")
    return [f"commit {build.commit}: {one_line(subject)} (authored {date})"]


def _commit_in(checkout: Path, found: Bisected, place: int) -> str:
    known = found.described[place].llama_cpp_commit.removesuffix("-dirty")
    if not known:
        raise UsageError(f"{found.builds[place]} does not name the commit of llama.cpp that it was made of")
    try:
        return commit_of(checkout, known)
    except UsageError:
        raise UsageError(
            f"{found.builds[place]} was made of llama.cpp {known}, which is not in {checkout}: "
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
