"""A stand-in for GitHub's REST API: issues of one repository and their comments, for a real client.

Paths, status codes, fields and the ``Link`` header are those of GitHub's documentation of 2022-11-28, and
PyGithub is the client that checks them.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = "someone/something"
JOB = "github-actions[bot]"
_PAGE = 30


@dataclass
class GitHub:
    """What the repository holds; ``reads_only`` is what a fork's token may do."""

    url: str = ""
    reads_only: bool = False
    issues: dict[int, dict[str, Any]] = field(default_factory=dict)
    comments: dict[int, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        """Return the variables that a step has."""
        return {
            "GITHUB_API_URL": self.url,
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_TOKEN": "a-token-of-a-job",
        }

    def open_issue(self, body: str, title: str = "A change", login: str = JOB) -> int:
        """Add an issue, or a pull request, which is one."""
        number = len(self.issues) + 1
        place = f"{self.url}/repos/{REPOSITORY}/issues/{number}"
        self.issues[number] = {
            "number": number,
            "url": place,
            "html_url": place.replace("/repos/", "/"),
            "comments_url": f"{place}/comments",
            "title": title,
            "body": body,
            "state": "open",
            "user": self.user(login),
        }
        return number

    def comment(self, number: int, body: str, login: str = JOB) -> dict[str, Any]:
        """Add a comment to an issue."""
        name = len(self.comments) + 1
        self.comments[name] = {
            "id": name,
            "url": f"{self.url}/repos/{REPOSITORY}/issues/comments/{name}",
            "html_url": f"{self.url}/{REPOSITORY}/pull/{number}#issuecomment-{name}",
            "issue_url": f"{self.url}/repos/{REPOSITORY}/issues/{number}",
            "body": body,
            "user": self.user(login),
        }
        return self.comments[name]

    def user(self, login: str) -> dict[str, Any]:
        return {
            "login": login,
            "id": 1,
            "type": "Bot" if login == JOB else "User",
            "url": f"{self.url}/users/x",
        }

    def bodies(self) -> list[str]:
        """Return the comments, in order."""
        return [each["body"] for each in self.comments.values()]


@contextmanager
def serving() -> Iterator[GitHub]:
    """Serve an empty repository."""
    github = GitHub()

    class Handler(_Handler):
        state = github

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        github.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield github
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: GitHub

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer(self._body())

    def do_PATCH(self) -> None:
        self._answer(self._body())

    def log_message(self, format: str, *values: object) -> None:  # noqa: A002 - as the base class names it
        self.state.asked.append(f"{self.command} {self.path}")

    def _body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return found

    def _answer(self, body: dict[str, Any]) -> None:
        state, parts = self.state, urlsplit(self.path)
        if self.headers.get("Authorization") not in ("token a-token-of-a-job", "Bearer a-token-of-a-job"):
            return self._send(401, {"message": "Bad credentials"})
        if parts.path == "/user" or (self.command != "GET" and state.reads_only):
            return self._send(403, {"message": "Resource not accessible by integration"})
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        path = parts.path.removeprefix(f"/repos/{REPOSITORY}/issues")
        match self.command, re.sub(r"\d+", "N", path), [int(each) for each in re.findall(r"\d+", path)]:
            case "GET", "", []:
                shown = [
                    each
                    for each in state.issues.values()
                    if each["state"] == query.get("state", "open")
                    and query.get("creator", each["user"]["login"]) == each["user"]["login"]
                ]
                return self._pages(shown, query)
            case "POST", "", []:
                return self._send(201, state.issues[state.open_issue(body["body"], body["title"])])
            case "GET", "/N", [number] if number in state.issues:
                return self._send(200, state.issues[number])
            case "PATCH", "/N", [number] if number in state.issues:
                state.issues[number].update(body)
                return self._send(200, state.issues[number])
            case "GET", "/N/comments", [number] if number in state.issues:
                of = state.issues[number]["url"]
                return self._pages(
                    [each for each in state.comments.values() if each["issue_url"] == of], query
                )
            case "POST", "/N/comments", [number] if number in state.issues:
                return self._send(201, state.comment(number, body["body"]))
            case "PATCH", "/comments/N", [name] if name in state.comments:
                state.comments[name].update(body)
                return self._send(200, state.comments[name])
        return self._send(404, {"message": "Not Found"})

    def _pages(self, found: list[dict[str, Any]], query: dict[str, str]) -> None:
        page, size = int(query.get("page", 1)), int(query.get("per_page", _PAGE))
        headers = {}
        if len(found) > page * size:
            following = f"{self.state.url}{urlsplit(self.path).path}?per_page={size}&page={page + 1}"
            headers["Link"] = f'<{following}>; rel="next"'
        self._send(200, found[(page - 1) * size : page * size], headers)

    def _send(self, status: int, document: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
