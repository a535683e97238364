"""Functions and records alone: a unit test starts no process, sleeps never and connects to nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_FORBIDDEN = {"subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec", "socket.connect", "time.sleep"}
_watched: list[str] = []


def _refuse(event: str, _arguments: tuple[object, ...]) -> None:
    if _watched and event in _FORBIDDEN:
        raise AssertionError(
            f"{event} in a unit test: move {_watched[0]} to tests/integration or tests/system"
        )


sys.addaudithook(_refuse)


@pytest.fixture(autouse=True)
def _alone(request: pytest.FixtureRequest) -> Iterator[None]:
    _watched.append(request.node.nodeid)
    yield
    _watched.clear()
