"""text-generation-webui by URL: ``textgen@http://…``, or where its server listens by default."""

from __future__ import annotations

from pytest_llm.engines.servers.engine import ServerEngine
from pytest_llm.engines.textgen.endpoint import TextgenEndpoint


class Textgen(ServerEngine):
    """The engine: a text-generation-webui that runs already."""

    endpoint = TextgenEndpoint
