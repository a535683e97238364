"""Step of the action: put a report into one comment of a pull request, or into one issue, and renew it there.

    tell.py comment NUMBER FILE [NAME]
    tell.py issue TITLE FILE
    tell.py close TITLE

What an earlier run wrote is found by its first line. A token that may not write is no error: the report is in
the summary of the job as well. Needs GITHUB_TOKEN, GITHUB_REPOSITORY and, on other hosts, GITHUB_API_URL.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import workflow
from github import Auth, Github, GithubException

if TYPE_CHECKING:
    from collections.abc import Sequence

    from github.Issue import Issue
    from github.Repository import Repository

LONGEST = 65_536  # characters, of a comment or an issue
# Whoever cannot ask who it is: the token of a job.
_JOB = "github-actions[bot]"


def main(words: Sequence[str]) -> int:
    """Do what the words say; return the exit status."""
    logging.getLogger("github").setLevel(logging.CRITICAL)  # what it refuses is handled here
    github = Github(
        auth=Auth.Token(os.environ["GITHUB_TOKEN"]),
        base_url=os.environ.get("GITHUB_API_URL", "https://api.github.com"),
        lazy=True,
    )
    repository = github.get_repo(os.environ["GITHUB_REPOSITORY"])
    try:
        match words:
            case ["comment", number, file, *name]:
                _comment(repository.get_issue(int(number)), _text(file, "".join(name)), _login(github))
            case ["issue", title, file]:
                _issue(repository, title, _text(file, "issue"), _login(github))
            case ["close", title]:
                _close(repository, title, _login(github))
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except GithubException as error:
        if error.status in (403, 404):  # a fork's token may read only
            workflow.say(
                "notice",
                f"this token may not write here (HTTP {error.status}), so the report is in the summary alone",
            )
            return 0
        raise
    return 0


def _text(file: str, name: str) -> str:
    text = Path(file).read_text(encoding="utf-8")
    if name:
        text = text.replace(workflow.MARK, f"<!-- pytest-llm-bench {name} -->", 1)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 40]}\n\n… and more: see the log"


def _login(github: Github) -> str:
    try:
        return github.get_user().login
    except GithubException:
        return _JOB


def _comment(pull: Issue, text: str, login: str) -> None:
    mark = text.split("\n", 1)[0]
    for comment in pull.get_comments():
        if comment.user.login == login and comment.body.startswith(mark):
            comment.edit(text)
            print(f"renewed {comment.html_url}")
            return
    print(f"wrote {pull.create_comment(text).html_url}")


def _issue(repository: Repository, title: str, text: str, login: str) -> None:
    found = _open(repository, title, login)
    if found is None:
        print(f"opened {repository.create_issue(title=title, body=text).html_url}")
    else:
        found.edit(body=text)
        print(f"renewed {found.html_url}")


def _close(repository: Repository, title: str, login: str) -> None:
    found = _open(repository, title, login)
    if found is not None:
        found.create_comment("The newest build passes: closed by the run that showed it.")
        found.edit(state="closed")
        print(f"closed {found.html_url}")


def _open(repository: Repository, title: str, login: str) -> Issue | None:
    mark = "<!-- pytest-llm-bench issue -->"
    for issue in repository.get_issues(state="open"):
        written = issue.user.login == login and (issue.body or "").startswith(mark)
        if written and issue.title == title:
            return issue
    return None


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
