"""LM Studio (0.4.0 and newer): its own protocol for models, OpenAI's for requests."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_llm.engines.lmstudio.store import StoredLink, holds_other
from pytest_llm.engines.openai.completion import read_completion, read_usage
from pytest_llm.engines.servers.client import AnswerError, MalformedError
from pytest_llm.engines.servers.endpoint import Endpoint
from pytest_llm.engines.servers.events import read_events
from pytest_llm.errors import LoadRefusedError, RequestFailedError
from pytest_llm.models.sources.stores import lm_studio_stores
from pytest_llm.records import Build
from pytest_llm.system.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.engines.servers.completion import Completion
    from pytest_llm.records import JSON, LoadOptions, Model

_NAME = "lmstudio"
_LOCAL = ("127.0.0.1", "localhost", "::1")
_LISTED_SECONDS = 10.0
_POLL_SECONDS = 0.1
_MODELS = "/api/v1/models"
_COMPLETIONS = "/v1/completions"
# It tells what it ran with in answers that are not streamed.
_TELLING = "/api/v0/completions"
_BASE: dict[str, JSON] = {"temperature": 0.0, "seed": 1}
_RECOUNTED = 1  # a documented answer to ten tokens counts nine
# Its name of a setting -> the load option.
_CONFIRMS = {"context_length": "n_ctx", "eval_batch_size": "n_batch"}


class LMStudioEndpoint(Endpoint):
    """One LM Studio."""

    start_fix = "start its server (lms server start), or correct the URL"
    path_fix = "name the URL of LM Studio itself, without /v1"
    not_found = "name the URL of LM Studio 0.4.0 or newer; another server is openai@URL"

    def __init__(self, url: str, name: str, timeout: float) -> None:
        super().__init__(url.removesuffix("/v1"), name, timeout)
        self._instance = ""
        self._link: StoredLink | None = None
        self._runtime = ""
        self._options: dict[str, JSON] = {}

    def describe(self) -> Build:
        self._models()
        return Build(_NAME, self._runtime, "", self.url)

    def load(self, model: Model, options: LoadOptions) -> None:
        """Load an instance of its own of a model in LM Studio's store, with the options that it takes.

        Raises:
            LoadRefusedError: It has no model of exactly these bytes, or refuses.
            EngineError: It cannot be reached.
        """
        key = self._key_of(model, self._models())
        if not key or (self._is_local() and holds_other(model, lm_studio_stores())):
            key = self._imported(model)
        body: dict[str, JSON] = {"model": key, **_settings(options), "echo_load_config": True}

        def ask() -> None:
            answer: Any = self.client.post(f"{_MODELS}/load", body)
            instance = answer.get("instance_id") if isinstance(answer, dict) else None
            if not isinstance(instance, str) or answer.get("status") != "loaded":
                raise MalformedError("did not say that the model is loaded")
            self._instance = instance
            told = answer.get("load_config")
            self._options = _confirmed(told if isinstance(told, dict) else {})

        self.asked_to_load("loading the model", ask)
        asked = options.n_ctx
        if self._options.get("n_ctx", asked) != asked:
            raise LoadRefusedError(
                f"{self.name}: it has a context of {self._options['n_ctx']} tokens where n_ctx={asked} was "
                "asked for"
            )
        self._runtime = self._told_runtime()

    def _models(self) -> list[Mapping[str, Any]]:
        def ask() -> list[Mapping[str, Any]]:
            answer: Any = self.client.get(_MODELS)
            listed = answer.get("models") if isinstance(answer, dict) else None
            if not isinstance(listed, list):
                raise MalformedError("lists no models as LM Studio does")
            return [each for each in listed if isinstance(each, dict)]

        found: list[Mapping[str, Any]] = self.asked_to_load("listing its models", ask)
        return found

    def _is_local(self) -> bool:
        return urlsplit(self.url).hostname in _LOCAL

    def _imported(self, model: Model) -> str:
        """Return the key of a file that is put into its store for a while."""
        keys = ", ".join(clean(str(each.get("key"))) for each in self._models()[:10]) or "none"
        told = (
            f"{self.name}: none of its models ({keys}) has the {model.file_bytes} bytes of {model.name}, and "
        )
        fix = "import the file (lms import), and name it as lmstudio:PUBLISHER/NAME"
        if not self._is_local() or model.parts > 1:
            raise LoadRefusedError(f"{told}it cannot be put into its store from here: {fix}")
        try:
            self._link = StoredLink(model, lm_studio_stores())
        except OSError as error:
            raise LoadRefusedError(f"{told}{error.strerror or error}: {fix}") from None
        deadline = time.monotonic() + _LISTED_SECONDS
        while time.monotonic() < deadline:
            found = [
                str(each.get("key"))
                for each in self._models()
                if self._link.name in str(each.get("key")).lower()
                and each.get("size_bytes") == model.file_bytes
            ]
            if len(found) == 1:
                return found[0]
            time.sleep(_POLL_SECONDS)
        raise LoadRefusedError(f"{told}it does not list the link {self._link.name} in its store: {fix}")

    def _key_of(self, model: Model, listed: list[Mapping[str, Any]]) -> str:
        """Return its key of a file, "" if it has none; it tells a file's length, and no hash."""
        folder, _, file = model.path.rpartition("/")
        names = {file.removesuffix(".gguf").lower(), folder.rpartition("/")[2].lower()}
        names |= {model.name.partition(":")[2].lower(), model.name.rpartition("/")[2].lower()}
        same = [each for each in listed if each.get("size_bytes") == model.file_bytes]
        named = [each for each in same if _is_named(str(each.get("key")), names)]
        found = named or same
        if len(found) > 1:
            keys = ", ".join(clean(str(each.get("key"))) for each in found)
            raise LoadRefusedError(
                f"{self.name}: several of its models have the {model.file_bytes} bytes of {model.name}: "
                f"{keys}; name one as lmstudio:PUBLISHER/NAME"
            )
        return str(found[0].get("key")) if found else ""

    def _told_runtime(self) -> str:
        """Return the runtime inside, "llama.cpp-linux-x86_64-avx2 1.3.0"; "" if it does not tell."""
        try:
            answer: Any = self.client.post(_TELLING, self._body(" a", 1))
        except AnswerError:
            return ""
        told = answer.get("runtime") if isinstance(answer, dict) else None
        if not isinstance(told, dict):
            return ""
        return clean(" ".join(str(told[each]) for each in ("name", "version") if told.get(each)))

    def effective_options(self) -> Mapping[str, JSON]:
        return self._options

    def count(self, text: str) -> int:
        def ask() -> int:
            answer: Any = self.client.post(_COMPLETIONS, self._body(text, 1))
            usage = read_usage(answer if isinstance(answer, dict) else {})
            if usage.prompt is None:
                raise MalformedError("tells no usage, so that tokens cannot be counted")
            return usage.prompt

        found: int = self.asked("counting tokens", ask)
        return found

    def greedy(self, text: str, count: int) -> str:
        answer: Any = self.asked(
            "generating", lambda: self.client.post(_COMPLETIONS, self._body(text, count))
        )
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise RequestFailedError(f"{self.name}: the server sent no text, generating")
        return str(choices[0].get("text", ""))

    def stream(self, text: str, tokens: int, count: int) -> Completion:
        told: JSON = {"include_usage": True}
        body: dict[str, JSON] = {**self._body(text, count), "stream": True, "stream_options": told}

        def ask() -> Completion:
            events = read_events(self.client.stream(_COMPLETIONS, body, tokens + count))
            return read_completion(events, count, _RECOUNTED)

        found: Completion = self.asked("going through a request", ask)
        return found

    def _body(self, text: str, count: int) -> dict[str, JSON]:
        return {"model": self._instance, **_BASE, "prompt": text, "max_tokens": count}

    def inventory(self) -> Sequence[str]:
        found = []
        for each in self._models():
            found.append(str(each.get("key")))
            instances = each.get("loaded_instances")
            loaded = instances if isinstance(instances, list) else []
            found += [f"{one.get('id')}, loaded" for one in loaded if isinstance(one, dict)]
        return found

    def release(self) -> None:
        instance, self._instance = self._instance, ""
        if instance:
            with suppress(AnswerError):  # it may have ended
                self.client.post(f"{_MODELS}/unload", {"instance_id": instance})
        if self._link is not None:
            self._link.remove()


def _is_named(key: str, names: set[str]) -> bool:
    return key.lower() in names or key.lower().rpartition("/")[2] in names


def _settings(options: LoadOptions) -> dict[str, JSON]:
    """Return load options by its names; it takes no others from outside."""
    found: dict[str, JSON] = {
        "context_length": options.n_ctx,
        "eval_batch_size": options.n_batch,
        "offload_kv_cache_to_gpu": options.offload_kqv,
    }
    if options.flash_attn != "auto":
        found["flash_attention"] = options.flash_attn == "on"
    return found


def _confirmed(told: Mapping[str, Any]) -> dict[str, JSON]:
    found: dict[str, JSON] = {ours: told[theirs] for theirs, ours in _CONFIRMS.items() if theirs in told}
    if isinstance(told.get("flash_attention"), bool):
        found["flash_attn"] = "on" if told["flash_attention"] else "off"
    return found
