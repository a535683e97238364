"""Ollama by URL: ``ollama@http://…``, or where it listens by default."""

from __future__ import annotations

import os

from pytest_llm.engines import ENGINES, OLLAMA
from pytest_llm.engines.ollama.endpoint import OllamaEndpoint
from pytest_llm.engines.servers.engine import ServerEngine


class Ollama(ServerEngine):
    """The engine: an Ollama that runs already."""

    endpoint = OllamaEndpoint

    def default_url(self) -> str:
        return url_of(os.environ.get("OLLAMA_HOST", ""))


def url_of(host: str) -> str:
    """Return where Ollama listens, by its own variable: "", "0.0.0.0", "host:1234", "http://host"."""
    scheme, mark, rest = host.rpartition("://")
    name, _, port = rest.strip("/").partition(":")
    name = "127.0.0.1" if name in ("", "0.0.0.0") else name
    return f"{scheme if mark else 'http'}://{name}:{port or ENGINES[OLLAMA].port}"
