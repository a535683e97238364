"""LM Studio by URL: ``lmstudio@http://…``, or where its server listens by default."""

from __future__ import annotations

from pytest_llm.engines.lmstudio.endpoint import LMStudioEndpoint
from pytest_llm.engines.servers.engine import ServerEngine


class LMStudio(ServerEngine):
    """The engine: an LM Studio whose server runs already."""

    endpoint = LMStudioEndpoint
