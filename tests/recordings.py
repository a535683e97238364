"""Recorded answers of servers as a client reads them: no framing of HTTP, each piece with its time."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from pytest_llm.engines.servers.client import Piece
from tests import STAND_IN

if TYPE_CHECKING:
    from pathlib import Path

LLAMA_SERVER = STAND_IN / "llama_server" / "said"
_SIZE = re.compile(rb"([0-9a-f]+)\r\n")


def pieces(name: str, folder: Path = LLAMA_SERVER) -> list[Piece]:
    """Return the body of a recorded answer; the seconds count from when the request was sent."""
    lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    found: list[Piece] = []
    unread, sent, in_body = b"", 0.0, False
    for event in map(json.loads, lines[1:]):
        sent = event["t"] if "send" in event else sent
        unread += event.get("recv", "").encode()
        if not in_body:
            _, end, unread = unread.partition(b"\r\n\r\n")
            in_body = bool(end)
        body = b""
        while in_body and (size := _SIZE.match(unread)):
            start, length = size.end(), int(size[1], 16)
            if len(unread) < start + length + 2:
                break
            body += unread[start : start + length]
            unread = unread[start + length + 2 :]
        if body:
            found.append(Piece(event["t"] - sent, body))
    return found


def raw(name: str, folder: Path = LLAMA_SERVER) -> list[bytes]:
    """Return what a recorded server sent, as it came, the framing of HTTP included."""
    lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    return [each["recv"].encode() for each in map(json.loads, lines) if "recv" in each]
