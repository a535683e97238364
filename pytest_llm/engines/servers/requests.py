"""A subject on a server that is asked for whole requests: streamed, and counted by our own clock."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING, NoReturn

from pytest_llm.engines.partial import PartialSubject
from pytest_llm.engines.servers.at_once import at_once
from pytest_llm.engines.servers.completion import DiscardedError
from pytest_llm.engines.servers.prompts import Prompts
from pytest_llm.errors import RequestFailedError
from pytest_llm.records import Build
from pytest_llm.records.protocols import EMBEDS_ONLY, Coverage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.engines.servers.completion import Completion
    from pytest_llm.engines.servers.endpoint import Endpoint
    from pytest_llm.records import JSON, Model, Subject, Workload
    from pytest_llm.records.inside import ServerInside

_ATTEMPTS = 4
_GREEDY_PROMPT = "The capital of France is"
_GREEDY_TOKENS = 12
_CACHED = 0.05  # of a prompt: its first words may have been there before


class RequestsSubject(PartialSubject):
    """A ``Loaded``: a server that runs elsewhere."""

    covers = "whole requests"

    def __init__(self, endpoint: Endpoint, name: str, subject: Subject, model: Model) -> None:
        """Take the server, the build for messages, and what it is to have loaded; nothing is asked yet."""
        url = getattr(endpoint, "url", "")
        super().__init__(Build(subject.build.engine, url or name, "", url))
        self._name = name
        self._endpoint = endpoint
        self._options = subject.load_options
        self._model = model
        self._log: list[str] = []
        self._prompts: Prompts | None = None
        self._workload: Workload | None = None

    def coverage(self, workload: Workload) -> Coverage:
        reason = EMBEDS_ONLY if workload.embed else ""
        if workload.depth:
            reason = "a server by URL is asked at depth 0"
        return Coverage(False, not reason, False, reason, under_load=workload.parallel > 1)

    def load(self) -> float:
        """Have the model ready; return 0.

        Raises:
            LoadRefusedError: The server has no such model, or refuses; or it is another server.
            EngineError: It cannot be reached.
        """
        self._endpoint.load(self._model, self._options)
        self.build = self._endpoint.describe()
        return 0.0

    @property
    def inside(self) -> ServerInside | None:
        """The llama-server inside of the tool, after ``load``; None where it cannot be seen."""
        found: ServerInside | None = getattr(self._endpoint, "inside", None)
        return found

    def effective_options(self) -> Mapping[str, JSON]:
        return self._endpoint.effective_options()

    def invariants(self) -> Mapping[str, JSON]:
        """Return the greedy text after a fixed prompt; reports show a difference, and no verdict uses it."""
        return {"greedy_text": self._endpoint.greedy(_GREEDY_PROMPT, _GREEDY_TOKENS)}

    def rehearse(self, workload: Workload) -> float:
        """Find out how many words a prompt has, and go through one request.

        Raises:
            RequestFailedError: No text has exactly as many tokens; or see :meth:`request`.
        """
        self._workload = workload
        self._prompts = Prompts(self._endpoint.count, random.Random())
        if not self._prompts.fit(workload.prompt_tokens):
            raise RequestFailedError(
                f"{self._name}: no text of words has exactly {workload.prompt_tokens} tokens for it: ask for "
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
            except DiscardedError as error:
                reason = self._discard(str(error))
            else:
                return [_times(each) for each in answers]
        raise self._too_many(reason)

    def _request(self) -> Completion:
        for _ in range(_ATTEMPTS):
            try:
                return self._request_once()
            except DiscardedError as error:
                reason = self._discard(str(error))
        raise self._too_many(reason)

    def _request_once(self) -> Completion:
        assert self._workload is not None, "rehearse comes first"
        assert self._prompts is not None
        tokens, count = self._workload.prompt_tokens, self._workload.generate_tokens
        answer = self._endpoint.stream(self._prompts.write(), tokens, count)
        if reason := self._unfit(answer, tokens):
            raise DiscardedError(reason)
        return answer

    def _discard(self, reason: str) -> str:
        self._log.append(f"discarded a request: it {reason}")
        return reason

    def _too_many(self, reason: str) -> RequestFailedError:
        return RequestFailedError(
            f"{self._name}: {_ATTEMPTS} requests in a row were discarded; the last one {reason}: ask for "
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

    def _probe_cache(self) -> None:
        """Send one prompt twice, where nothing tells what is cached, and log how long the second one took."""
        assert self._prompts is not None
        assert self._workload is not None
        text, tokens = self._prompts.write(), self._workload.prompt_tokens
        first, second = (self._endpoint.stream(text, tokens, 1) for _ in range(2))
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
