"""Embeddings: texts of token ids, each a sequence of its own, as many in a batch as an ubatch takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import finite, text
from .bindings import RefusedError
from .subject import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .subject import LoadedSubject

_UNPOOLED = 0  # LLAMA_POOLING_TYPE_NONE: an embedding for each token


def batches(subject: LoadedSubject, texts: Sequence[Sequence[int]]) -> list[list[Row]]:
    """Cut texts into batches; every token asks for output, as pooling needs them all.

    Raises:
        RefusedError: A text is longer than an ubatch, which llama.cpp aborts on.
    """
    found: list[list[Row]] = [[]]
    for sequence, tokens in enumerate(texts):
        if len(tokens) > subject.n_ubatch:
            raise RefusedError(
                "request",
                f"a text of {len(tokens)} tokens is embedded in one ubatch, n_ubatch is {subject.n_ubatch}: "
                "raise n_ubatch and n_batch",
            )
        if len(found[-1]) + len(tokens) > subject.n_ubatch:
            found.append([])
        found[-1] += [Row(token, position, sequence, True) for position, token in enumerate(tokens)]
    return found


def vectors(subject: LoadedSubject, rows: Sequence[Row]) -> list[Any]:
    """Return the embeddings of the last batch: of its sequences, or of its tokens without pooling."""
    llama, context = subject.llama, subject.context
    if subject.pooling == _UNPOOLED:
        return [llama.llama_get_embeddings_ith(context, index) for index in range(len(rows))]
    return [llama.llama_get_embeddings_seq(context, each) for each in sorted({row.sequence for row in rows})]


def width(subject: LoadedSubject) -> int:
    """Return the length of an embedding."""
    has_own = subject.bindings.has("llama_model_n_embd_out")
    ask = subject.llama.llama_model_n_embd_out if has_own else subject.llama.llama_model_n_embd
    length: int = ask(subject.model)
    return length


def check(subject: LoadedSubject, rows: Sequence[Row]) -> None:
    """Raise if the embeddings of the last batch are not finite."""
    finite.check_embeddings(vectors(subject, rows), width(subject))


def embed(subject: LoadedSubject, texts: list[list[int]]) -> list[list[float]]:
    """Return the embedding of each text; without pooling, the mean of those of its tokens.

    Raises:
        RefusedError: The model embeds nothing, a text is empty, too long or not in the vocabulary, or the
            embeddings are not finite.
    """
    subject.capability.require("embedding")
    length = width(subject)
    found = []
    subject.embed(True)
    try:
        for tokens in texts:
            if not tokens:
                raise RefusedError("request", "a text to embed is empty")
            text.check_tokens(subject, tokens)
            subject.clear()
            (rows,) = batches(subject, [tokens])
            subject.decode(rows)
            check(subject, rows)
            many = [each[:length] for each in vectors(subject, rows)]
            found.append([sum(column) / len(many) for column in zip(*many)])
    finally:
        subject.embed(False)
        subject.clear()
    return found
