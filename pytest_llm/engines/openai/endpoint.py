"""OpenAI's protocol: ``POST /v1/completions`` of one server."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pytest_llm.engines.openai.completion import choices, read_completion, read_usage, text_of
from pytest_llm.engines.servers.client import MalformedError
from pytest_llm.engines.servers.endpoint import Endpoint
from pytest_llm.engines.servers.events import read_events
from pytest_llm.errors import LoadRefusedError
from pytest_llm.records import Build

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.engines.servers.completion import Completion, Usage
    from pytest_llm.records import JSON, LoadOptions, Model

_VERSION = "/v1"
_COMPLETIONS = "/completions"
_BASE: dict[str, JSON] = {"temperature": 0.0, "seed": 1}


class OpenAIEndpoint(Endpoint):
    """A server that speaks nothing but OpenAI's protocol.

    Attributes:
        engine: Its name.
        whole: What has the server generate as many tokens as are asked for, if it knows of it.
        recounted: See :func:`~pytest_llm.engines.openai.completion.read_completion`.
    """

    engine = "openai"
    path_fix = "name the URL up to /v1"
    not_found = "name the URL up to /v1 of a server that has /v1/completions"
    # llama-server, vLLM and others know it; the rest ignores it, and may stop early.
    whole: Mapping[str, JSON] = {"ignore_eos": True}
    recounted = 0

    def __init__(self, url: str, name: str, timeout: float) -> None:
        super().__init__(url, name, timeout)
        self._body: dict[str, JSON] = {}

    def _base(self, url: str) -> str:
        return url if urlsplit(url).path.endswith(_VERSION) else f"{url}{_VERSION}"

    def describe(self) -> Build:
        self.models()
        return Build(self.engine, self.url, "", self.url)

    def load(self, model: Model, options: LoadOptions) -> None:  # noqa: ARG002
        """Find the model in the server's list.

        Raises:
            LoadRefusedError: The server has several, and not exactly one of that name; or it is no server of
                this protocol.
            EngineError: It cannot be reached.
        """
        self._body = {"model": self._id_of(model, self.models())}

    def effective_options(self) -> Mapping[str, JSON]:
        return {}

    def inventory(self) -> Sequence[str]:
        return self.models()

    def models(self) -> list[str]:
        """Return the ids of its models.

        Raises:
            LoadRefusedError: It is no such server, or has no model; or it cannot be reached.
        """

        def ask() -> list[str]:
            answer = self.client.get("/models")
            listed = answer.get("data") if isinstance(answer, dict) else None
            ids = (
                [each.get("id") for each in listed if isinstance(each, dict)]
                if isinstance(listed, list)
                else []
            )
            found = [each for each in ids if isinstance(each, str)]
            if not found:
                raise MalformedError("lists no model")
            return found

        found: list[str] = self.asked_to_load("listing its models", ask)
        return found

    def _id_of(self, model: Model, listed: Sequence[str]) -> str:
        if len(listed) == 1:
            return listed[0]
        names = {model.name.lower(), model.path.rpartition("/")[2].lower()}
        names |= {each.removesuffix(".gguf") for each in names}
        found = [each for each in listed if each.lower() in names or each.lower().rpartition("/")[2] in names]
        if len(found) != 1:
            raise LoadRefusedError(
                f"{self.name}: its models are {', '.join(listed[:10])}, and {model.name} is not one of them: "
                "name a model by --llm-model whose file is called as one of these"
            )
        return found[0]

    def count(self, text: str) -> int:
        _, usage = self._whole({**self._body, **_BASE, "prompt": text, "max_tokens": 1}, "counting tokens")
        if usage.prompt is None:
            raise LoadRefusedError(
                f"{self.name}: the server tells no usage, so that tokens cannot be counted: name a server "
                "that tells it"
            )
        return usage.prompt

    def greedy(self, text: str, count: int) -> str:
        found, _ = self._whole({**self._body, **_BASE, "prompt": text, "max_tokens": count}, "generating")
        return found

    def _whole(self, body: Mapping[str, JSON], doing: str) -> tuple[str, Usage]:
        def ask() -> tuple[str, Usage]:
            answer = self.client.post(_COMPLETIONS, body)
            answer = answer if isinstance(answer, dict) else {}
            return "".join(map(text_of, choices(answer))), read_usage(answer)

        found: tuple[str, Usage] = self.asked(doing, ask)
        return found

    def stream(self, text: str, tokens: int, count: int) -> Completion:
        asked: dict[str, JSON] = {
            **self._body,
            **_BASE,
            **self.whole,
            "prompt": text,
            "max_tokens": count,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

        def ask() -> Completion:
            events = read_events(self.client.stream(_COMPLETIONS, asked, tokens + count))
            return read_completion(events, count, self.recounted)

        found: Completion = self.asked("going through a request", ask)
        return found
