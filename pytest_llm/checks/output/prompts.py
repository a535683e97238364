"""The prompt plan: on which token ids, and at which positions, outputs are captured."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.checks.output.corpus import CHAT, PROMPT, TORTURE
from pytest_llm.engines import ENGINES
from pytest_llm.errors import RequestFailedError
from pytest_llm.records import MAX_FILLED_TOKENS, Passage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_llm.records import OutputGate, Workload
    from pytest_llm.records.side import Side

# Two and a half times llama.cpp's default ubatch: some errors need more than one.
_LONGEST = 1280
# Decoded one at a time at the end of the first passage, as generated tokens are, with all of it behind them.
_SINGLY = 32
_AT_THE_END = 64
_IN_PARALLEL = 16
_SINGLY_IN_FULL = 16
# A phrase has to come three times to be called a repetition.
_GENERATED = 48
# Where each position costs a request of its own; errors of position still have all of them to grow on.
_KEPT = 24
# Random token ids replace the prompt of a model without a tokenizer.
_RANDOM_IDS = 1280
# Of how outputs are captured and written down; another one cannot be compared.
_FORM = 1


class PromptPlan(NamedTuple):
    """Token ids that a subject decodes, and how many it generates.

    Attributes:
        passages: What is decoded.
        generate: How many tokens to generate after the first passage.
        room: How many tokens of context a sequence has.
        corpus: Digest of all texts, of the chat and of the number of parallel sequences.
    """

    passages: tuple[Passage, ...]
    generate: int
    room: int = 0
    corpus: str = ""

    def positions(self) -> int:
        """Return how many positions have logits."""
        return sum(each.positions() for each in self.passages)

    def again(self) -> PromptPlan:
        """Return the plan with nothing generated."""
        return self._replace(generate=0)

    def unfilled(self) -> PromptPlan:
        """Return the plan with nothing generated and no full cache, for subjects that round less.

        Filling costs more than the rest, and errors in a full cache are no matter of rounding.
        """
        return self.again()._replace(passages=tuple(each for each in self.passages if not each.before))

    def ends(self) -> list[int]:
        """Return the last row of logits of each passage."""
        return [end - 1 for end in itertools.accumulate(each.positions() for each in self.passages)]

    def not_covered(self) -> str:
        """Return which positions are not captured with a full cache; "" if all are."""
        if any(each.kept for each in self.passages):
            return "positions beyond the prompt, a full cache and parallel sequences are not captured"
        if self.room <= MAX_FILLED_TOKENS:
            return ""
        return f"positions {MAX_FILLED_TOKENS} to {self.room} are not captured with a full cache"

    def following(self) -> list[int | None]:
        """Return the token that follows each row of logits; None if none does."""
        return [token for each in self.passages for token in _following(each)]

    def digest(self) -> str:
        """Return the digest of all token ids, and of which have logits."""
        kept = [each.kept for each in self.passages if each.kept]
        return digest([*([each.sequences, each.before] for each in self.passages), *kept])


def digest(value: object) -> str:
    """Return a short digest of a value that can be written as JSON."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


def plan_prompts(sides: Sequence[Side], gate: OutputGate, workload: Workload) -> PromptPlan:
    """Tokenize the prompts of a gate with the last subject and return the plan for all.

    Raises:
        EngineError: That subject cannot be loaded, or refuses.
    """
    side = sides[-1]
    texts = gate.prompts or (PROMPT,)
    with closing(side.engine.start_generation(side.subject, side.model)) as loaded:
        loaded.load()
        try:
            prompts = [ids for ids in loaded.token_ids([each.encode() for each in texts]) if ids]
        except RequestFailedError:
            prompts = []
    if not prompts:
        drawn = random.Random(0)
        prompts = [[drawn.randrange(max(1, side.model.vocabulary_size)) for _ in range(_RANDOM_IDS)]]
    options = side.subject.load_options
    room = options.n_ctx if options.kv_unified else options.n_ctx // options.n_seq_max
    written: list[object] = [_FORM, texts, [each.hex() for each in TORTURE], CHAT]
    if any(ENGINES[each.subject.build.engine].one_position for each in sides):
        return plan_positions(prompts, room)._replace(corpus=digest([*written, _KEPT]))
    plan = plan_passages(prompts, room, workload.parallel)
    return plan._replace(corpus=digest([*written, workload.parallel]))


def plan_passages(prompts: Sequence[Sequence[int]], room: int, parallel: int) -> PromptPlan:
    """Cut prompts into passages, and add the positions that a long prompt alone does not reach.

    These are the last positions of the context, in an empty cache and in one that is filled up to them, and
    parallel sequences if the workload has them. Of a large context, only the first 4096 tokens are filled.

    Args:
        prompts: Token ids, at least one of each.
        room: How many tokens of context a sequence has, at least 4.
        parallel: How many sequences the workload has.
    """
    generate = min(_GENERATED, room // 4)
    piece = min(_LONGEST, room - generate)
    pieces = [
        tuple(prompt[start : start + piece]) for prompt in prompts for start in range(0, len(prompt), piece)
    ]
    first = pieces[0]
    passages = [Passage((first,), singly=min(_SINGLY, len(first) // 2))]
    passages += [Passage((each,)) for each in pieces[1:]]
    if len(first) < room:
        last = first[:_AT_THE_END]
        passages.append(Passage((last,), start=room - len(last)))
    if parallel > 1:
        length = min(_IN_PARALLEL, room)
        passages.append(Passage(tuple(_taken(first, length, number) for number in range(parallel))))
    return PromptPlan((*passages, *_in_a_full_cache(prompts, room)), generate, room)


def plan_positions(prompts: Sequence[Sequence[int]], room: int) -> PromptPlan:
    """Plan for subjects that show one position a request: evenly spread ones of the first prompt.

    Args:
        prompts: Token ids, at least one of each.
        room: How many tokens of context a sequence has, at least 4.
    """
    generate = min(_GENERATED, room // 4)
    first = tuple(prompts[0][: min(_LONGEST, room - generate)])
    last = len(first) - 1
    count = min(_KEPT, len(first))
    kept = sorted({last - index * last // max(1, count - 1) for index in range(count)})
    return PromptPlan((Passage((first,), kept=tuple(kept)),), generate, room)


def _in_a_full_cache(prompts: Sequence[Sequence[int]], room: int) -> list[Passage]:
    end = min(room, MAX_FILLED_TOKENS)
    if end <= 2 * _AT_THE_END:
        return []
    text = [token for prompt in prompts for token in prompt]
    tokens = tuple(itertools.islice(itertools.cycle(text), end))
    start = end - _AT_THE_END
    return [Passage((tokens[start:],), start, _SINGLY_IN_FULL, tokens[:start])]


def _taken(tokens: Sequence[int], length: int, number: int) -> tuple[int, ...]:
    return tuple(tokens[(number * length + index) % len(tokens)] for index in range(length))


def _following(passage: Passage) -> list[int | None]:
    length = len(passage.sequences[0])
    return [
        sequence[index + 1] if index + 1 < length else None
        for index in passage.steps()
        for sequence in passage.sequences
    ]
