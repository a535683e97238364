"""A subject in a server that is measured: slices on one slot, and whole requests."""

from __future__ import annotations

import random
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from pytest_llm.engines.invariants import invariants_of
from pytest_llm.engines.llama_cpp_python.load_log import read_counts
from pytest_llm.engines.llama_server.log import effective_options
from pytest_llm.engines.llama_server.slot import Slot
from pytest_llm.engines.llama_server.subject import ServerSubject
from pytest_llm.engines.llama_server.words import Words
from pytest_llm.engines.servers.at_once import at_once
from pytest_llm.engines.servers.text import TEXT
from pytest_llm.errors import RequestFailedError
from pytest_llm.records import Series
from pytest_llm.records.metrics import DRAFT_ACCEPTANCE
from pytest_llm.records.protocols import EMBEDS_ONLY, Coverage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.engines.llama_server.start import Started
    from pytest_llm.records import JSON, Build, Model, Subject, Workload

_ANY_WORD = 1  # where no vocabulary says what is one
_MAY_DRAFT_NONE = 8  # tokens: the first and the last ones of a request are not drafted


class LoadedServer(ServerSubject):
    """A ``Loaded``: one server process."""

    def __init__(
        self, started: Started, build: Build, subject: Subject, model: Model, timeout: float
    ) -> None:
        super().__init__(started, build, subject, model, timeout)
        self._random = random.Random(0)
        self._words: Words | None = None
        self._slot: Slot | None = None
        self._workload: Workload | None = None
        self._text: Sequence[int] = ()
        self._acceptance: float | None = None

    @property
    def continues(self) -> bool:
        return self._acceptance is None  # drafts would be cut at the end of each slice

    def load(self) -> float:
        seconds = super().load()
        with suppress(RequestFailedError):  # no vocabulary
            self._words = Words(self._api.tokenize, self._random)
        return seconds

    @property
    def prompt_batch(self) -> int:
        own = effective_options({}, self._messages, self._properties) if self._as_given else {}
        options = self._options
        return min(int(str(own.get(name, getattr(options, name)))) for name in ("n_batch", "n_ubatch"))

    def coverage(self, workload: Workload) -> Coverage:
        if workload.embed:
            return Coverage(slices=False, requests=False, reason=EMBEDS_ONLY)
        if workload.parallel == 1:
            return Coverage()
        if workload.depth:
            return Coverage(slices=False, requests=False, reason="parallel requests begin at depth 0")
        return Coverage(slices=False, under_load=True)

    def invariants(self) -> Mapping[str, JSON]:
        return invariants_of(self)

    def counts(self) -> Mapping[str, Series]:
        found = {name: float(each) for name, each in read_counts(self._messages).items()}
        if self._acceptance is not None:
            found[DRAFT_ACCEPTANCE] = self._acceptance
        return {name: Series((each,)) for name, each in found.items()}

    def on_devices(self) -> Mapping[str, float]:
        return {}

    def inject_slowdown(self, share: float, stalls: float = 0.0) -> None:
        if share or stalls:
            raise self._not_covered("an injected slowdown")

    def rehearse(self, workload: Workload) -> float:
        self._offload.check_positions(workload, str(self.build))
        self._workload = workload
        if self._options.draft_model or self._as_given:
            self._find_drafts(workload)
        if workload.parallel > 1:
            self.requests_at_once()
            return 0.0
        word = self._words.single if self._words else None
        word = _ANY_WORD if word is None else word
        self._slot = slot = Slot(
            self._api.continued, self._model.vocabulary_size, word, self._random, self._text
        )
        steps = max(1, workload.generate_tokens - 1)
        slot.go_to(workload.depth)
        slot.read(workload.prompt_tokens)
        seconds = slot.generate(steps)
        slot.end_round()
        return seconds / steps

    def _find_drafts(self, workload: Workload) -> None:
        """Go through a request of fixed text, and note how many drafted tokens were accepted if any were."""
        text = self.tokenize(TEXT)
        prompt: list[JSON] = [text[at % len(text)] for at in range(workload.prompt_tokens)]
        count = max(1, workload.generate_tokens)
        answer = self._api.request(prompt, len(prompt), 0, count)
        if answer.drafted:
            self._text = text
            self._acceptance = answer.accepted / answer.drafted
        elif self._options.draft_model and not self._as_given and count > _MAY_DRAFT_NONE:
            raise RequestFailedError(
                f"{self.build}: draft_model={self._options.draft_model} was loaded, and none of {count} "
                "tokens was drafted: take a draft model of the same family, with the same vocabulary"
            )

    def prompt_slice(self, tokens: int) -> tuple[int, float]:
        return tokens, self._rehearsed().read(tokens)

    def generation_slice(self, steps: int) -> tuple[int, float]:
        return steps, self._rehearsed().generate(steps)

    def end_round(self) -> None:
        self._rehearsed().end_round()

    def generate_steps(self, steps: int) -> int:
        slot = self._rehearsed()
        slot.generate(steps)
        slot.end_round()
        return steps

    def request(self) -> tuple[float, Sequence[float]]:
        """Send a text as a caller does, behind the ids of the depth, and stream the answer."""
        slot, workload = self._rehearsed(), self._workload
        assert workload is not None
        ids: list[JSON] = [*slot.depth]
        text = self._written(workload.prompt_tokens, add_special=not ids)
        prompt: JSON = [*ids, *text] if isinstance(text, list) else [*ids, text] if ids else text
        slot.empty()
        tokens = len(ids) + workload.prompt_tokens
        answer = self._api.request(prompt, tokens, len(ids), workload.generate_tokens)
        slot.forget()
        return answer.arrivals[0], answer.gaps

    def requests_at_once(self) -> Sequence[tuple[float, Sequence[float]]]:
        """Send the workload's parallel requests at the same moment, each to a slot of its own."""
        workload = self._workload
        assert workload is not None, "rehearse comes first"
        tokens, count = workload.prompt_tokens, workload.generate_tokens
        texts = [self._written(tokens, add_special=True) for _ in range(workload.parallel)]
        answers = at_once(
            [partial(self._api.request, text, tokens, 0, count, slot=slot) for slot, text in enumerate(texts)]
        )
        return [(each.arrivals[0], each.gaps) for each in answers]

    def embedding_slice(self) -> NoReturn:
        raise self._not_covered("embeddings")

    def graphs_reused(self) -> None:
        """Return None: no server counts them."""

    def suspend(self) -> None:
        self._process.suspend()

    def resume(self) -> None:
        self._process.resume()

    def _written(self, tokens: int, *, add_special: bool) -> str | list[JSON]:
        if self._text:
            assert self._slot is not None
            return [*self._slot.piece(tokens)]
        text = self._words.write(tokens, add_special=add_special) if self._words else None
        if text is not None:
            return text
        return [self._random.randrange(self._model.vocabulary_size) for _ in range(tokens)]

    def _rehearsed(self) -> Slot:
        assert self._slot is not None, "rehearse comes first"
        return self._slot
