"""Servers by URL that speak OpenAI's protocol: whole requests, streamed as a caller gets them."""

from __future__ import annotations

from pytest_llm.engines.openai.endpoint import OpenAIEndpoint
from pytest_llm.engines.servers.engine import ServerEngine


class OpenAIServer(ServerEngine):
    """The engine: a server that runs already."""

    endpoint = OpenAIEndpoint
