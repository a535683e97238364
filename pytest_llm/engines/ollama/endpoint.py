"""Ollama's own protocol: raw completions of its models, or of files that are imported for a while."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_llm.engines.ollama.imports import Imports
from pytest_llm.engines.ollama.lines import read_completion, read_lines
from pytest_llm.engines.servers.client import AnswerError, MalformedError, RefusedError
from pytest_llm.engines.servers.endpoint import Endpoint
from pytest_llm.engines.servers.inside import server_inside_of
from pytest_llm.errors import LoadRefusedError
from pytest_llm.records import Build
from pytest_llm.system.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.engines.servers.completion import Completion
    from pytest_llm.records import JSON, LoadOptions, Model
    from pytest_llm.records.inside import ServerInside

_NAME = "ollama"
_STORE = "ollama:"
_GENERATE = "/api/generate"
_KEEP = "30m"
_NOT_FOUND = 404


class OllamaEndpoint(Endpoint):
    """One Ollama.

    Attributes:
        imports: What was imported into it; endpoints of one engine share it.
    """

    start_fix = "start it (ollama serve), or correct the URL"
    path_fix = "name the URL of Ollama itself, without /v1"
    not_found = "name the URL of Ollama itself; another server is openai@URL"

    def __init__(self, url: str, name: str, timeout: float) -> None:
        super().__init__(url.removesuffix("/v1"), name, timeout)
        self.imports = Imports(self.url)
        self._version = ""
        self._tag = ""
        self._was_loaded = True
        self._options: dict[str, JSON] = {}
        self._inside: ServerInside | None = None
        self._shown: dict[str, JSON] = {}

    def describe(self) -> Build:
        if not self._version:
            answer = self.asked_to_load("telling its version", lambda: self.client.get("/api/version"))
            version = answer.get("version") if isinstance(answer, dict) else None
            if not isinstance(version, str):
                raise LoadRefusedError(
                    f"{self.name}: the server tells no version as Ollama does: {self.not_found}"
                )
            self._version = clean(version)
        commit = self._inside.commit if self._inside is not None else ""
        return Build(_NAME, self._version, commit, self.url)

    def load(self, model: Model, options: LoadOptions) -> None:
        """Import a file unless it is one of Ollama's own models, and load it with the very options.

        Raises:
            LoadRefusedError: It cannot be imported or loaded; or it has another context than asked for.
            EngineError: The server cannot be reached.
        """
        self.describe()
        self._options = _options(options)
        loaded = {str(each.get("name")) for each in self._processes()}
        self._tag = model.name.removeprefix(_STORE) if model.name.startswith(_STORE) else self._import(model)
        self._was_loaded = bool({self._tag, f"{self._tag}:latest"} & loaded)
        body: dict[str, JSON] = {"model": self._tag, "keep_alive": _KEEP, "options": self._options}
        self.asked_to_load("loading the model", lambda: self.client.post(_GENERATE, body))
        self._shown = self._confirmed()
        self._inside = server_inside_of(self.url, model.sha256)
        asked = options.n_ctx
        if self._shown.get("n_ctx", asked) != asked:
            raise LoadRefusedError(
                f"{self.name}: it has a context of {self._shown['n_ctx']} tokens where n_ctx={asked} was "
                "asked for: ask for that many, or let nothing else use it meanwhile"
            )

    def _processes(self) -> list[Mapping[str, Any]]:
        answer = self.asked_to_load("listing what is loaded", lambda: self.client.get("/api/ps"))
        found = answer.get("models") if isinstance(answer, dict) else None
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []

    def _confirmed(self) -> dict[str, JSON]:
        for each in self._processes():
            if str(each.get("name")) in (self._tag, f"{self._tag}:latest"):
                context = each.get("context_length")
                return {"n_ctx": context} if type(context) is int else {}
        return {}

    def _import(self, model: Model) -> str:
        if model.parts > 1:
            raise LoadRefusedError(
                f"{self.name}: {model.name} is split into {model.parts} files, which Ollama does not import: "
                "merge them (llama-gguf-split --merge)"
            )
        found: str = self.asked_to_load("importing the file", lambda: self.imports.tag_of(model, self.client))
        return found

    def effective_options(self) -> Mapping[str, JSON]:
        told = self._inside.options if self._inside is not None else {}
        return {**told, **self._shown}

    @property
    def inside(self) -> ServerInside | None:
        """The llama-server inside, after ``load``; None where it cannot be seen."""
        return self._inside

    def count(self, text: str) -> int:
        found: int = self.asked("counting tokens", lambda: self._whole(text, 1, "prompt_eval_count"))
        return found

    def greedy(self, text: str, count: int) -> str:
        found: str = self.asked("generating", lambda: self._whole(text, count, "response"))
        return found

    def _whole(self, text: str, count: int, key: str) -> Any:
        answer = self.client.post(_GENERATE, self._body(text, count, stream=False))
        if not isinstance(answer, dict) or answer.get("done") is not True or key not in answer:
            raise MalformedError(f"sent an answer without {key}")
        return answer[key]

    def stream(self, text: str, tokens: int, count: int) -> Completion:
        def ask() -> Completion:
            pieces = self.client.stream(_GENERATE, self._body(text, count, stream=True), tokens + count)
            return read_completion(read_lines(pieces), count)

        found: Completion = self.asked("going through a request", ask)
        return found

    def _body(self, text: str, count: int, *, stream: bool) -> dict[str, JSON]:
        options = {**self._options, "num_predict": count, "temperature": 0.0, "seed": 1}
        # A prompt that is too long is an error, not cut in silence.
        whole: dict[str, JSON] = {"raw": True, "truncate": False, "shift": False}
        return {
            "model": self._tag,
            "prompt": text,
            **whole,
            "stream": stream,
            "keep_alive": _KEEP,
            "options": options,
        }

    def inventory(self) -> Sequence[str]:
        answer = self.asked_to_load("listing its models", lambda: self.client.get("/api/tags"))
        listed = answer.get("models") if isinstance(answer, dict) else None
        tags = (
            [str(each.get("name")) for each in listed if isinstance(each, dict)]
            if isinstance(listed, list)
            else []
        )
        return [*tags, *(f"{each.get('name')}, loaded" for each in self._processes())]

    def release(self) -> None:
        tag, self._tag = self._tag, ""
        with suppress(AnswerError):  # it may have ended
            if tag and not self._was_loaded:
                self.client.post(_GENERATE, {"model": tag, "keep_alive": 0})

    def _fix(self, error: RefusedError) -> str:
        if error.status == _NOT_FOUND and "model" in error.message:
            return "`ollama list` shows its models; name one as ollama:NAME:TAG, or a file"
        if "maximum pending requests" in error.message:
            return "let nothing else use it meanwhile, or raise OLLAMA_MAX_QUEUE"
        return super()._fix(error)


def _options(options: LoadOptions) -> dict[str, JSON]:
    """Return load options by Ollama's names; others are settings of its own environment."""
    found: dict[str, JSON] = {
        "num_ctx": options.n_ctx,
        "num_batch": options.n_ubatch,  # of both kinds
        "num_thread": options.n_threads,
        "use_mmap": options.load_mode in ("auto", "mmap"),
    }
    if options.n_gpu_layers >= 0:
        found["num_gpu"] = options.n_gpu_layers
    return found
