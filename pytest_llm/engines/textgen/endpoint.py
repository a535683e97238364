"""text-generation-webui: OpenAI's protocol, and what it tells of the model and of the server inside."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_llm.engines.openai.endpoint import OpenAIEndpoint
from pytest_llm.engines.servers.client import AnswerError, MalformedError
from pytest_llm.engines.servers.inside import server_inside_of
from pytest_llm.errors import LoadRefusedError, ModelHashError
from pytest_llm.models.copies import model_at
from pytest_llm.records import Build
from pytest_llm.system.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.records import JSON, LoadOptions, Model
    from pytest_llm.records.inside import ServerInside

_INFO = "/internal/model/info"
_LOADER = "llama.cpp"
_NONE = "None"


class TextgenEndpoint(OpenAIEndpoint):
    """One text-generation-webui."""

    engine = "textgen"
    start_fix = "start it (server.py --api), or correct the URL"
    path_fix = "name the URL of its API, which has port 5000 by default"
    not_found = "name the URL of its API, or give openai@URL for another server"
    whole: Mapping[str, JSON] = {"ban_eos_token": True}
    # It reads the text anew, and finds 15 tokens in 16, or 511 in 512.
    recounted = 4

    def __init__(self, url: str, name: str, timeout: float) -> None:
        super().__init__(url, name, timeout)
        self._loaded_by_us = False
        self._inside: ServerInside | None = None

    def describe(self) -> Build:
        self._info()
        return Build(self.engine, "", self._inside.commit if self._inside is not None else "", self.url)

    def load(self, model: Model, options: LoadOptions) -> None:
        """Check that the model is the one that it has; load it if it has none.

        Raises:
            LoadRefusedError: It has another model, another file of that name, or no such file.
            EngineError: It cannot be reached.
        """
        wanted = model.path.rpartition("/")[2]
        loaded = self._info()
        if loaded == _NONE:
            body: dict[str, JSON] = {"model_name": wanted, "args": _arguments(options)}
            self.asked_to_load("loading the model", lambda: self.client.post("/internal/model/load", body))
            self._loaded_by_us = True
            loaded = self._info()
        if loaded != wanted:
            raise LoadRefusedError(
                f"{self.name}: it has {loaded} loaded, and the model is {wanted}: load that there (its "
                "file must lie in its folder of models), or unload what is loaded"
            )
        self._body = {"model": loaded}
        self._inside = server_inside_of(self.url, wanted)
        if self._inside is not None:
            self._check_content(model, self._inside.model)

    def _check_content(self, model: Model, path: str) -> None:
        """Check what is known by its file's name alone."""
        try:
            model_at(model, path)
        except ModelHashError as error:
            raise LoadRefusedError(f"{self.name}: {error}") from None

    def _info(self) -> str:
        def ask() -> str:
            answer: Any = self.client.get(_INFO)
            name = answer.get("model_name") if isinstance(answer, dict) else None
            if not isinstance(name, str):
                raise MalformedError("tells no model_name")
            loader = answer.get("loader")
            if name != _NONE and loader != _LOADER:
                raise MalformedError(f"has its model loaded by {clean(str(loader))}, not by {_LOADER}")
            return clean(name)

        found: str = self.asked_to_load("telling its model", ask)
        return found

    def effective_options(self) -> Mapping[str, JSON]:
        return self._inside.options if self._inside is not None else {}

    @property
    def inside(self) -> ServerInside | None:
        """The llama-server inside, after ``load``; None where it cannot be seen."""
        return self._inside

    def count(self, text: str) -> int:
        def ask() -> int:
            answer = self.client.post("/internal/token-count", {"text": text})
            length = answer.get("length") if isinstance(answer, dict) else None
            if type(length) is not int:
                raise MalformedError("tells no length of a text")
            return length

        found: int = self.asked("counting tokens", ask)
        return found

    def inventory(self) -> Sequence[str]:
        return [f"{self._info()}, loaded"]

    def release(self) -> None:
        if self._loaded_by_us:
            self._loaded_by_us = False
            with suppress(AnswerError):  # it may have ended
                self.client.post("/internal/model/unload", {})


def _arguments(options: LoadOptions) -> dict[str, JSON]:
    """Return load options by its names; others are flags of its own command line."""
    found: dict[str, JSON] = {
        "ctx_size": options.n_ctx,
        "threads": options.n_threads,
        "threads_batch": options.n_threads_batch,
        "batch_size": options.n_batch,
        "ubatch_size": options.n_ubatch,
    }
    if options.n_gpu_layers >= 0:
        found["gpu_layers"] = options.n_gpu_layers
    return found
