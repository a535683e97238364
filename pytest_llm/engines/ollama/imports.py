"""Files that are imported into an Ollama for a while, under names of their own."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.engines.ollama.lines import read_lines
from pytest_llm.engines.servers.client import AnswerError, Client, MalformedError

if TYPE_CHECKING:
    from pytest_llm.records import JSON, Model

_NOT_FOUND = 404
_SECONDS = 10.0  # to remove one


class Imports:
    """What was imported into one Ollama, once each."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._tags: dict[str, str] = {}

    def tag_of(self, model: Model, client: Client) -> str:
        """Return the tag of a file, imported first if necessary.

        Raises:
            AnswerError: Ollama refused it.
        """
        if model.sha256 not in self._tags:
            digest = f"sha256:{model.sha256}"
            blob = f"/api/blobs/{digest}"
            if client.status("HEAD", blob) == _NOT_FOUND:
                client.upload(blob, Path(model.path))
            tag = f"pytest-llm-{model.sha256[:8]}-{secrets.token_hex(3)}"
            body: dict[str, JSON] = {"model": tag, "files": {"model.gguf": digest}}
            lines = [*read_lines(client.stream("/api/create", body, 1))]
            if not lines or lines[-1].data.get("status") != "success":
                raise MalformedError("did not say that it made the model")
            self._tags[model.sha256] = tag
        return self._tags[model.sha256]

    def remove(self) -> None:
        """Remove all of them; may be called again."""
        while self._tags:
            client = Client(self._url, _SECONDS)
            with suppress(AnswerError):  # it may have ended
                client.delete("/api/delete", {"model": self._tags.popitem()[1]})
            client.close()
