"""The llama-server inside of a tool: which process it is, and with which flags it was started."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_llm.engines.servers.client import AnswerError, Client
from pytest_llm.records.effective_options import normalize
from pytest_llm.records.inside import ServerInside
from pytest_llm.system.listening import children_below

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.records import JSON

_LOCAL = ("127.0.0.1", "localhost", "::1")
_SECONDS = 2.0
# Load option -> its flags, and what reads their value.
_FLAGS: Mapping[str, tuple[tuple[str, ...], type]] = {
    "n_ctx": (("-c", "--ctx-size"), int),
    "n_batch": (("-b", "--batch-size"), int),
    "n_ubatch": (("-ub", "--ubatch-size"), int),
    "n_seq_max": (("-np", "--parallel"), int),
    "n_threads": (("-t", "--threads"), int),
    "n_threads_batch": (("-tb", "--threads-batch"), int),
    "flash_attn": (("-fa", "--flash-attn"), str),
    "type_k": (("-ctk", "--cache-type-k"), str),
    "type_v": (("-ctv", "--cache-type-v"), str),
}
# What is ours to choose when the same server is started again, each with a value.
_OURS = frozenset({"-m", "--model", "--host", "--port", "--alias", "-a"})
_COMMIT = re.compile(r"b\d+-([0-9a-f]{7,40})")


def server_inside_of(url: str, model: str) -> ServerInside | None:
    """Return the llama-server that the server at a URL has started for a model, if that is on this machine.

    Args:
        url: Of the server.
        model: How the path of the model ends: a tool may have several loaded.
    """
    parts = urlsplit(url)
    if parts.hostname not in _LOCAL or parts.port is None:
        return None
    for child in children_below(parts.port):
        name, *words = child.command
        file = _value(words, ("-m", "--model"))
        if "llama" in name.rpartition("/")[2] and file.endswith(model):
            path = Path(child.folder, file)
            return ServerInside(
                child.program or name,
                without_ours(words),
                options_of(words),
                _commit(words),
                str(path) if path.is_absolute() else "",
            )
    return None


def options_of(words: Sequence[str]) -> dict[str, JSON]:
    """Return the load options that flags state."""
    found: dict[str, JSON] = {}
    for name, (flags, kind) in _FLAGS.items():
        value = _value(words, flags)
        if value and value != "auto":  # nobody has told yet what that is
            try:
                found[name] = kind(value)
            except ValueError:
                continue
    return normalize(found)


def without_ours(words: Sequence[str]) -> tuple[str, ...]:
    """Return flags without those that say where a server listens and which model it has."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in _OURS:
            skip = True
        elif word.partition("=")[0] not in _OURS:
            kept.append(word)
    return tuple(kept)


def _value(words: Sequence[str], flags: Sequence[str]) -> str:
    found = ""  # of the last one, which counts
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in flags:
            found = value if equals else words[at + 1] if at + 1 < len(words) else ""
    return found


def _commit(words: Sequence[str]) -> str:
    """Return the commit that a server tells at the port of its flags."""
    port = _value(words, ("--port",))
    if not port.isdigit():
        return ""
    client = Client(f"http://127.0.0.1:{port}", _SECONDS)
    try:
        answer: Any = client.get("/props")
    except AnswerError:
        return ""
    finally:
        client.close()
    found = _COMMIT.search(str(answer.get("build_info"))) if isinstance(answer, dict) else None
    return found[1] if found else ""
