"""What one subject says on a plan of passages, with its logits in a file."""

from __future__ import annotations

import random
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.checks.output.prompts import plan_passages
from pytest_llm.checks.output.texts import CHAT, PROMPT, TORTURE
from pytest_llm.errors import RequestFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pytest_llm.checks.output.prompts import PromptPlan
    from pytest_llm.records import JSON, Build, LoadOptions, OutputGate, Workload
    from pytest_llm.records.generation import GGUFModel
    from pytest_llm.records.side import Side

# Where there is no tokenizer: any ids are as good as others.
_IDS_WITHOUT_WORDS = 1280


class Capture(NamedTuple):
    """What a subject showed, and the file that holds its logits."""

    build: Build
    effective_options: Mapping[str, JSON]
    tokenized: Sequence[Sequence[int]]
    chat: str
    generated: Sequence[int]
    leads: Sequence[float]
    logits: Path


def plan_prompts(side: Side, gate: OutputGate, workload: Workload) -> PromptPlan:
    """Tokenise the prompts of a gate with one subject and return what both will go through.

    Raises:
        EngineError: The subject cannot be loaded, or refuses.
    """
    with closing(side.engine.start_generation(side.subject, side.model)) as loaded:
        loaded.load()
        texts = [each.encode() for each in gate.prompts or (PROMPT,)]
        try:
            prompts = [ids for ids in loaded.token_ids(texts) if ids]
        except RequestFailedError:
            prompts = []
    if not prompts:
        drawn = random.Random(0)
        prompts = [[drawn.randrange(max(1, side.model.vocabulary_size)) for _ in range(_IDS_WITHOUT_WORDS)]]
    return plan_passages(prompts, _room(side.subject.load_options), workload.parallel)


def look(side: Side, plan: PromptPlan, logits: Path) -> Capture:
    """Have a fresh process of a subject go through a plan.

    Args:
        side: The subject.
        plan: What to decode.
        logits: The file to write; one that is there is overwritten.

    Raises:
        EngineError: The subject cannot be loaded, or refuses.
    """
    with closing(side.engine.start_generation(side.subject, side.model)) as loaded:
        loaded.load()
        tokenized, chat = _words(loaded)
        generated = loaded.write_logits(logits, plan.passages, plan.generate)
        return Capture(
            loaded.build,
            loaded.effective_options(),
            tokenized,
            chat,
            generated.tokens,
            generated.leads,
            logits,
        )


def _words(loaded: GGUFModel) -> tuple[Sequence[Sequence[int]], str]:
    try:
        return loaded.token_ids(TORTURE), loaded.render_chat(CHAT)
    except RequestFailedError:
        return (), ""  # no tokenizer


def _room(options: LoadOptions) -> int:
    """Return how many tokens of context one sequence has."""
    return options.n_ctx if options.kv_unified else options.n_ctx // options.n_seq_max
