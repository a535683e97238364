"""Logits of every position of given token ids, written to a file unchanged.

No position is lost and nothing is rounded, so that two builds can be compared to the last bit.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any

from . import answers, text
from .bindings import RefusedError
from .subject import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .bindings import Bindings
    from .subject import LoadedSubject


def fill(subject: LoadedSubject, tokens: list[int], start: int) -> None:
    """Put tokens into the cache from position ``start`` on; 0 empties it first.

    Raises:
        RefusedError: A token is not in the vocabulary, or llama.cpp refuses a batch.
    """
    subject.capability.require("generation")
    text.check_tokens(subject, tokens)
    if start == 0:
        subject.clear()
    subject.prefill([tokens], start)


def write_logits(
    subject: LoadedSubject, path: str, passage: dict[str, Any], generate: int, more: bool, filled: bool
) -> tuple[list[int], list[float]]:
    """Decode a passage and write the logits of each position, one row of native 32-bit floats each.

    Rows follow the passage's steps, and within a step its sequences.

    Args:
        subject: Loaded with room for the logits of every token.
        path: The file.
        passage: See ``records.Passage``; without what comes before it.
        generate: After it, generate so many tokens greedily.
        more: Append to the file instead of overwriting it.
        filled: Leave in the cache what :func:`fill` put there.

    Returns:
        What :func:`answers.greedy` returns.

    Raises:
        RefusedError: llama.cpp refuses a batch, or the file cannot be written.
    """
    subject.capability.require("generation")
    size = subject.n_vocabulary * ctypes.sizeof(ctypes.c_float)
    for sequence in passage["sequences"]:
        text.check_tokens(subject, sequence)
    if not filled:
        subject.clear()
    rows: list[Row] = []
    try:
        with open(path, "ab" if more else "wb") as out:  # noqa: PTH123 - as the rest of the worker
            for rows in _batches(subject, **passage):
                subject.decode(rows)
                for index in [index for index, row in enumerate(rows) if row.logits]:
                    row = subject.llama.llama_get_logits_ith(subject.context, index)
                    out.write(ctypes.string_at(row, size))
    except OSError as error:
        raise RefusedError("request", f"logits cannot be written to {path}: {error.strerror}") from None
    return answers.follow(subject, rows[-1].position, len(rows) - 1, generate)


def _batches(
    subject: LoadedSubject, sequences: list[list[int]], start: int, singly: int, kept: list[int]
) -> Iterator[list[Row]]:
    longest = len(sequences[0])
    step = subject.n_ubatch if len(sequences) == 1 else 1
    at = 0
    while at < longest:
        end = min(at + step, max(longest - singly, at + 1))
        yield [
            Row(token, start + at + index, number, not kept or at + index in kept)
            for number, sequence in enumerate(sequences)
            for index, token in enumerate(sequence[at:end])
        ]
        at = end


def write_copy(bindings: Bindings, source: str, target: str, threads: int, file_type: int = 0) -> None:
    """Write a copy of a model with weights of another type; ``target`` is there whole or not at all.

    Raises:
        RefusedError: llama.cpp cannot make one of this file, or there is no room for it.
    """
    llama = bindings.llama
    params = llama.llama_model_quantize_default_params()
    params.ftype = file_type  # of enum llama_ftype; 0 is F32
    params.allow_requantize = True
    params.nthread = threads
    partial = f"{target}.{os.getpid()}"
    try:
        code = llama.llama_model_quantize(source.encode(), partial.encode(), ctypes.pointer(params))
        if code:
            raise RefusedError("request", "llama.cpp can make no such copy of the model")
        os.replace(partial, target)  # noqa: PTH105 - as the rest of the worker
    except OSError as error:
        raise RefusedError("request", f"no F32 copy can be written to {target}: {error.strerror}") from None
    finally:
        if os.path.exists(partial):  # noqa: PTH110 - as the rest of the worker
            os.unlink(partial)  # noqa: PTH108 - as the rest of the worker
