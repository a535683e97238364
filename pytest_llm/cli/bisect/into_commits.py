"""From guilty builds on to guilty commits: for each step a bisect of its own, over a checkout's commits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_llm.bisect.search import Relation
from pytest_llm.builds.git import commit_of
from pytest_llm.builds.reference import parse_build
from pytest_llm.cli import command
from pytest_llm.cli.bisect import commits
from pytest_llm.errors import UsageError
from pytest_llm.records import Commit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_llm.bisect.bisection import Bisected
    from pytest_llm.bisect.search import Stretch

    OnProgress = Callable[[str], None]

_ELSEWHERE = "no commit is guilty: what is left is the binding, or how the two builds were compiled"
_RATE = "the commits are a bisect of their own: the two error rates add up"


class Onwards:
    """The checkout, and what is done with it."""

    def __init__(self, checkout: str, builds: Sequence[str], start: Path) -> None:
        """Look at the checkout before anything is measured.

        Raises:
            UsageError: It is none, or the builds are commits already.
        """
        self._start = start
        self._checkout = (start / Path(checkout).expanduser()).absolute()
        commit_of(self._checkout, "HEAD")
        if any(isinstance(parse_build(each, start), Commit) for each in builds):
            raise UsageError("--checkout goes on from releases to commits; these builds are commits already")

    def answer(
        self,
        found: Bisected,
        first: command.Answer,
        bisect: Callable[[Sequence[str]], Bisected],
        told: Callable[[Bisected], command.Answer],
        on_progress: OnProgress,
    ) -> command.Answer:
        """Return what was found, and what each guilty step comes to.

        Args:
            found: The bisect of builds.
            first: What there is to say of it.
            bisect: Bisects a row.
            told: Says what came of that.
            on_progress: Is given a line before each.
        """
        lines, documents = list(first.lines), []
        for step in found.found.guilty:
            between = f"{found.builds[step.first]} … {found.builds[step.last]}"
            more, document = self._step(found, step, bisect, told, on_progress)
            lines += ["", f"─── the commits of {between} ───", *more]
            documents.append({"from": step.first, "to": step.last, **document})
        return command.Answer(first.status, lines, {**_plain(first), "commits": documents})

    def _step(
        self,
        found: Bisected,
        step: Stretch,
        bisect: Callable[[Sequence[str]], Bisected],
        told: Callable[[Bisected], command.Answer],
        on_progress: OnProgress,
    ) -> tuple[list[str], dict[str, Any]]:
        # What was found so far is not to be lost, whatever the checkout lacks.
        try:
            row = commits.inside(found, step, self._checkout, self._start)
            on_progress(f"going on: {row}")
            answer = told(bisect(row.builds))
        except UsageError as error:
            return [f"not looked into: {error}"], {"reason": str(error)}
        elsewhere = [_ELSEWHERE] if _plain(answer)["ends"] == Relation.SAME.value else []
        return [str(row), *answer.lines, *elsewhere, _RATE], {"left_out": row.left_out, **_plain(answer)}


def _plain(answer: command.Answer) -> dict[str, Any]:
    return cast("dict[str, Any]", answer.document)
