"""Servers by URL that speak OpenAI's protocol: whole requests, streamed as a caller gets them."""

from __future__ import annotations

import random
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING, NoReturn

from pytest_llm.engines.openai.completion import StoppedEarlyError
from pytest_llm.engines.openai.endpoint import Endpoint
from pytest_llm.engines.openai.prompts import Prompts
from pytest_llm.engines.partial import PartialSubject
from pytest_llm.engines.servers.at_once import at_once
from pytest_llm.errors import LoadRefusedError, NotCoveredError, RequestFailedError
from pytest_llm.records import Address, Build
from pytest_llm.records.protocols import EMBEDS_ONLY, Coverage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.engines.openai.completion import Completion
    from pytest_llm.records import JSON, BuildReference, Model, Subject, Workload

_NAME = "openai"
_BASE: dict[str, JSON] = {"temperature": 0.0, "seed": 1}
# llama-server, vLLM and others know it; the rest ignores it, and may stop early.
_WHOLE: dict[str, JSON] = {**_BASE, "ignore_eos": True}
_ATTEMPTS = 4
_GREEDY_PROMPT = "The capital of France is"
_GREEDY_TOKENS = 12
_CACHED = 0.05  # of a prompt: its first words may have been there before


class _DiscardedError(Exception):
    """A request that does not count; the message is a predicate of it."""


class OpenAIServer:
    """The engine: a server that runs already."""

    def __init__(self, reference: BuildReference, timeout: float, made: str = "") -> None:  # noqa: ARG002
        """Take the build, and the seconds to wait for each token."""
        assert isinstance(reference, Address)
        self._reference = reference
        self._timeout = timeout

    def describe(self) -> Build:
        """Return what is known of the server.

        Raises:
            EngineError: It cannot be reached, or is no such server.
        """
        with closing(self._endpoint()) as endpoint:
            endpoint.models()
        return self._build()

    def start(self, subject: Subject, model: Model) -> LoadedEndpoint:  # noqa: ARG002
        """Return a subject to be measured; nothing is asked yet.

        Raises:
            EngineMissingError: The HTTP library is not installed.
        """
        return LoadedEndpoint(self._endpoint(), self._build(), model)

    def start_generation(self, subject: Subject, model: Model) -> NoReturn:  # noqa: ARG002
        raise NotCoveredError(
            f"{self._reference}: a server by URL shows no logits, so its output is not compared"
        )

    def _endpoint(self) -> Endpoint:
        return Endpoint(self._reference.url, str(self._reference), self._timeout)

    def _build(self) -> Build:
        return Build(_NAME, self._reference.url, "", self._reference.url)


class LoadedEndpoint(PartialSubject):
    """A ``Loaded``: a server that runs elsewhere."""

    covers = "whole requests"

    def __init__(self, endpoint: Endpoint, build: Build, model: Model) -> None:
        super().__init__(build)
        self._endpoint = endpoint
        self._model = model
        self._body: dict[str, JSON] = {}
        self._log: list[str] = []
        self._prompts: Prompts | None = None
        self._workload: Workload | None = None

    def coverage(self, workload: Workload) -> Coverage:
        reason = EMBEDS_ONLY if workload.embed else ""
        if workload.depth:
            reason = "a server by URL is asked at depth 0"
        return Coverage(False, not reason, False, reason, under_load=workload.parallel > 1)

    def load(self) -> float:
        """Find the model in the server's list; return 0.

        Raises:
            LoadRefusedError: The server has several, and not exactly one of that name; or it is no server of
                this protocol.
            EngineError: It cannot be reached.
        """
        self._body = {"model": self._id_of_model(self._endpoint.models())}
        return 0.0

    def _id_of_model(self, listed: Sequence[str]) -> str:
        if len(listed) == 1:
            return listed[0]
        names = {self._model.name.lower(), self._model.path.rpartition("/")[2].lower()}
        names |= {each.removesuffix(".gguf") for each in names}
        found = [each for each in listed if each.lower() in names or each.lower().rpartition("/")[2] in names]
        if len(found) != 1:
            raise LoadRefusedError(
                f"{self.build}: its models are {', '.join(listed[:10])}, and {self._model.name} is not one "
                "of them: name a model by --llm-model whose file is called as one of these"
            )
        return found[0]

    def invariants(self) -> Mapping[str, JSON]:
        """Return the greedy text after a fixed prompt; reports show a difference, and no verdict uses it."""
        body = {**self._body, **_BASE, "prompt": _GREEDY_PROMPT, "max_tokens": _GREEDY_TOKENS}
        text, _ = self._endpoint.count(body)
        return {"greedy_text": text}

    def rehearse(self, workload: Workload) -> float:
        """Find out how many words a prompt has, and go through one request.

        Raises:
            RequestFailedError: No text has exactly as many tokens; or see :meth:`request`.
        """
        self._workload = workload
        self._prompts = Prompts(self._count_prompt, random.Random())
        if not self._prompts.fit(workload.prompt_tokens):
            raise RequestFailedError(
                f"{self.build}: no text of words has exactly {workload.prompt_tokens} tokens for it: ask for "
                "a few tokens more"
            )
        answer = self._request()
        if workload.parallel > 1:
            self.requests_at_once()
        if answer.usage.cached is None:
            self._probe_cache()
        return 0.0

    def request(self) -> tuple[float, Sequence[float]]:
        """Send a text as a caller does, and stream the answer; answers that are too short are discarded.

        Raises:
            RequestFailedError: Several in a row were too short, or the server counted otherwise.
            EngineError: It does not answer.
        """
        return _times(self._request())

    def requests_at_once(self) -> Sequence[tuple[float, Sequence[float]]]:
        """Send the workload's parallel requests at the same moment; if one is discarded, all are.

        Raises:
            EngineError: See :meth:`request`.
        """
        assert self._workload is not None, "rehearse comes first"
        for _ in range(_ATTEMPTS):
            try:
                answers = at_once([self._request_once] * self._workload.parallel)
            except _DiscardedError as error:
                reason = self._discard(str(error))
            else:
                return [_times(each) for each in answers]
        raise self._too_many(reason)

    def _request(self) -> Completion:
        for _ in range(_ATTEMPTS):
            try:
                return self._request_once()
            except _DiscardedError as error:
                reason = self._discard(str(error))
        raise self._too_many(reason)

    def _request_once(self) -> Completion:
        assert self._workload is not None, "rehearse comes first"
        assert self._prompts is not None
        tokens, count = self._workload.prompt_tokens, self._workload.generate_tokens
        body = {**self._body, **_WHOLE, "prompt": self._prompts.write()}
        try:
            answer = self._endpoint.stream(body, tokens, count)
        except StoppedEarlyError as error:
            raise _DiscardedError(str(error)) from None
        if reason := self._unfit(answer, tokens):
            raise _DiscardedError(reason)
        return answer

    def _discard(self, reason: str) -> str:
        self._log.append(f"discarded a request: it {reason}")
        return reason

    def _too_many(self, reason: str) -> RequestFailedError:
        return RequestFailedError(
            f"{self.build}: {_ATTEMPTS} requests in a row were discarded; the last one {reason}: ask for "
            "fewer tokens, or have the server ignore the end of the text"
        )

    @staticmethod
    def _unfit(answer: Completion, tokens: int) -> str:
        usage = answer.usage
        if usage.prompt not in (None, tokens):
            return f"read a prompt of {tokens} tokens as {usage.prompt}"
        if usage.cached is not None and usage.cached > max(1, _CACHED * tokens):
            return f"had {usage.cached} of {tokens} tokens of a fresh prompt cached"
        return ""

    def _count_prompt(self, text: str) -> int:
        _, usage = self._endpoint.count({**self._body, **_BASE, "prompt": text, "max_tokens": 1})
        assert usage.prompt is not None
        return usage.prompt

    def _probe_cache(self) -> None:
        """Send one prompt twice, where nothing tells what is cached, and log how long the second one took."""
        assert self._prompts is not None
        assert self._workload is not None
        body = {**self._body, **_WHOLE, "prompt": self._prompts.write()}
        first, second = (self._endpoint.stream(body, self._workload.prompt_tokens, 1) for _ in range(2))
        share = second.arrivals[0] / first.arrivals[0]
        self._log.append(f"a prompt sent twice took {share:.2f} times as long to its first token")

    def prompt_slice(self, tokens: int) -> NoReturn:  # noqa: ARG002
        raise self.not_covered("slices")

    def generation_slice(self, steps: int) -> NoReturn:  # noqa: ARG002
        raise self.not_covered("slices")

    def log(self) -> str:
        return "".join(f"{line}\n" for line in self._log)

    def close(self) -> None:
        self._endpoint.close()


def _times(answer: Completion) -> tuple[float, Sequence[float]]:
    arrivals = answer.arrivals
    return arrivals[0], [after - before for before, after in pairwise(arrivals)]
