"""Compare the embeddings of a candidate with a reference's, before anything is timed.

Both embed the reference's token ids. The tolerance of the cosine distance is how far the reference itself
moves under benign options.
"""

from __future__ import annotations

import random
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.checks.output.benign_variants import benign_sides
from pytest_llm.checks.output.capture import text_output
from pytest_llm.checks.output.corpus import EMBEDDED, TORTURE
from pytest_llm.checks.output.prompts import digest
from pytest_llm.errors import LoadRefusedError, RequestFailedError
from pytest_llm.records import EmbeddingSample, EmbeddingVariant, OutputSnapshot, Run
from pytest_llm.records.generation import Greedy
from pytest_llm.stats.cosine import cosine_distances, from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_llm.records import JSON, Build, OutputGate, Workload
    from pytest_llm.records.side import Side

# Of how embeddings are captured and written down; another one cannot be compared.
_FORM = 1
# Random token ids replace the texts of a model without a tokenizer.
_RANDOM_IDS = 64


class EmbeddingCapture(NamedTuple):
    """The embeddings of a subject.

    Attributes:
        snapshot: Without the variants.
        build: As it describes itself.
        effective_options: As loaded.
        ids: The token ids of each text.
        vectors: Their embeddings.
    """

    snapshot: OutputSnapshot
    build: Build
    effective_options: Mapping[str, JSON]
    ids: list[list[int]]
    vectors: list[list[float]]

    def run(self, side: Side, workload: Workload) -> Run:
        """Return the subject's run, without sessions."""
        return Run(side.subject, workload, side.model, self.build, self.effective_options, (), {})


def capture_embeddings(
    side: Side, gate: OutputGate, ids: list[list[int]] | None, on_progress: Callable[[], None]
) -> EmbeddingCapture:
    """Capture the embeddings of a subject in a fresh process.

    Args:
        side: The subject.
        gate: Names the texts.
        ids: The token ids of the reference; None to tokenize the texts.
        on_progress: Called first.

    Raises:
        WrongOutputError: An embedding is not finite.
        EngineError: The subject cannot be loaded, or refuses.
    """
    on_progress()
    texts = gate.prompts or EMBEDDED
    with closing(side.engine.start_generation(side.subject, side.model)) as loaded:
        loaded.load()
        text = text_output(loaded)
        own = ids if ids is not None else _ids(side, texts, loaded.token_ids)
        vectors = loaded.embeddings(own)
        build, options = loaded.build, loaded.effective_options()
    snapshot = OutputSnapshot(
        corpus=digest([_FORM, "embeddings", texts, [each.hex() for each in TORTURE]]),
        compiled_with=build.compiled_with,
        positions=len(own),
        not_finite=0,
        prompts=digest(own),
        token_ids=text.token_ids,
        template=text.template,
        not_covered=text.not_covered,
        greedy=Greedy((), ()),
        loops=False,
        embeddings=EmbeddingSample(tuple(map(to_text, vectors))),
    )
    return EmbeddingCapture(snapshot, build, options, own, vectors)


def _ids(
    side: Side, texts: Sequence[str], tokenize: Callable[[Sequence[bytes]], Sequence[Sequence[int]]]
) -> list[list[int]]:
    options, model = side.subject.load_options, side.model
    room = min(options.n_ubatch, options.n_batch, options.n_ctx // options.n_seq_max)
    room = min(room, model.context_length or room)
    try:
        found = [list(each)[:room] for each in tokenize([text.encode() for text in texts]) if each]
    except RequestFailedError:
        found = []
    if found:
        return found
    drawn = random.Random(0)
    count = min(room, _RANDOM_IDS)
    return [[drawn.randrange(max(1, model.vocabulary_size)) for _ in range(count)] for _ in texts]


def embedding_variants(
    side: Side, gate: OutputGate, captured: EmbeddingCapture, on_progress: Callable[[str], None]
) -> tuple[EmbeddingVariant, ...]:
    """Return how far each benign variant of a subject is from it; those that it refuses are left out."""
    found = []
    for name, variant in benign_sides(side, captured.effective_options, texts=True):
        try:
            other = capture_embeddings(variant, gate, captured.ids, lambda name=name: on_progress(name))  # type: ignore[misc]
        except (LoadRefusedError, RequestFailedError):
            continue
        distance = max(cosine_distances(captured.vectors, other.vectors))
        found.append(EmbeddingVariant(name, float(f"{distance:.3g}")))
    return tuple(found)


def stored_vectors(sample: EmbeddingSample) -> list[list[float]]:
    """Return the embeddings of a snapshot."""
    return [from_text(each) for each in sample.vectors]
