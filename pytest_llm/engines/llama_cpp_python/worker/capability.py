"""Capabilities of a loaded model: llama.cpp's answers, and if a decode computes logits."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, NamedTuple

from .bindings import RefusedError

if TYPE_CHECKING:
    from .subject import LoadedSubject

_NO_VOCABULARY = 0  # LLAMA_VOCAB_TYPE_NONE: token ids are all there is
_RANK = 4  # LLAMA_POOLING_TYPE_RANK
_UNLIKELY = -1.2345e30  # no model computes it, and it is finite

_WITHOUT_TOKENS = "the model has no tokens, not even numbers of them"
_ENCODER = "the model reads a text as a whole and has no next token: measure it with llm_workload(embed=True)"
_ENCODER_DECODER = "the model is an encoder-decoder, whose encoder must read a source text first"
_NO_HEAD = "the model has no output head: llama.cpp computes no logits for it"
_RERANKER = "the model is a reranker (pooling_type rank), and reranking is not covered"
_NO_TEXT = "the model has no vocabulary; give token ids, and take them, instead of text"


class Capability(NamedTuple):
    """Why a model cannot be asked for something, "" if it can; see ``records.Capability``."""

    generation: str = ""
    embedding: str = ""
    text: str = ""

    def require(self, what: str) -> None:
        """Raise if the model cannot be asked for "generation", "embedding" or "text".

        Raises:
            RefusedError: It cannot.
        """
        reason = getattr(self, what)
        if reason:
            raise RefusedError("uncovered", reason)


def ask(subject: LoadedSubject) -> Capability:
    """Return what a loaded model can be asked for. It decodes two tokens, and leaves the context empty."""
    text = _NO_TEXT if subject.llama.llama_vocab_type(subject.vocabulary) == _NO_VOCABULARY else ""
    if subject.n_vocabulary < 1:
        return Capability(_WITHOUT_TOKENS, _WITHOUT_TOKENS, text)
    embedding = _RERANKER if subject.pooling == _RANK else ""
    if subject.has_encoder and subject.has_decoder:
        return Capability(_ENCODER_DECODER, _ENCODER_DECODER, text)
    if subject.has_encoder or not subject.remembers:
        return Capability(embedding or _ENCODER, embedding, text)
    return Capability("" if _has_head(subject) else _NO_HEAD, embedding, text)


def _has_head(subject: LoadedSubject) -> bool:
    """Return if a decode writes logits: the buffer of a model without an output head keeps what it held."""
    if not subject.bindings.has("llama_get_logits_ith"):
        return True
    _decode_one(subject)
    first = subject.llama.llama_get_logits_ith(subject.context, 0)
    if not first:
        return False
    first[0] = unlikely = ctypes.c_float(_UNLIKELY).value
    _decode_one(subject)
    again = subject.llama.llama_get_logits_ith(subject.context, 0)
    subject.clear()
    return bool(again[0] != unlikely)


def _decode_one(subject: LoadedSubject) -> None:
    subject.clear()
    subject.prefill([[0]])
