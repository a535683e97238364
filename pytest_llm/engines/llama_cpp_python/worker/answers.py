"""Generation: sampling, streams, greedy tokens with their lead, log-probabilities of a prompt."""

from __future__ import annotations

import codecs
import math
from typing import TYPE_CHECKING, Any

from . import finite
from .bindings import RefusedError, UnusableError
from .subject import Row
from .text import check_tokens, detokenize, ends_generation, piece, tokenize

if TYPE_CHECKING:
    from .subject import LoadedSubject

_PIECE = 4096  # logits


class Sampler:
    """Picks the next token: greedily at temperature 0, otherwise from the seeded distribution."""

    def __init__(
        self,
        subject: LoadedSubject,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> None:
        llama = subject.llama
        self._subject = subject
        self._chain: Any = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        if temperature == 0:
            samplers = [llama.llama_sampler_init_greedy()]
        else:
            samplers = [llama.llama_sampler_init_top_k(top_k)] if top_k else []
            if top_p < 1:
                samplers.append(llama.llama_sampler_init_top_p(top_p, 1))
            samplers.append(llama.llama_sampler_init_temp(temperature))
            samplers.append(llama.llama_sampler_init_dist(seed))
        for sampler in samplers:
            llama.llama_sampler_chain_add(self._chain, sampler)

    def sample(self, index: int) -> int:
        """Return the token that follows row ``index`` of the last batch."""
        token: int = self._subject.llama.llama_sampler_sample(self._chain, self._subject.context, index)
        return token

    def free(self) -> None:
        if self._chain is not None:
            self._subject.llama.llama_sampler_free(self._chain)
            self._chain = None


class Stream:
    """An answer that is being generated."""

    def __init__(
        self,
        subject: LoadedSubject,
        prompt: str | list[int],
        max_tokens: int,
        temperature: float,
        top_k: int,
        top_p: float,
        seed: int,
    ) -> None:
        """Decode the prompt.

        Raises:
            RefusedError: It does not fit the context, is empty, or is not in the vocabulary.
        """
        self._subject = subject
        tokens = _prompt_tokens(subject, prompt)
        _check_room(subject, len(tokens) + max_tokens, "the prompt and max_tokens take")
        self._sampler = Sampler(subject, temperature, top_k, top_p, seed)
        self._left = max_tokens
        self._position = len(tokens)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._pending: int | None = None
        subject.clear()
        chunks = subject.chunks([tokens], 0)
        for rows in chunks:
            subject.decode(rows)
        self._last_row = len(chunks[-1]) - 1
        self.prompt_tokens = len(tokens)

    def next(self) -> dict[str, Any]:
        """Return one more token, ``{"token", "text"}``, or the reason for the end, ``{"finish", "text"}``.

        ``text`` holds whole characters only; the rest of the last one comes with "finish".
        """
        if self._left == 0:
            return self._finish("length")
        if self._pending is not None:
            self._subject.decode([Row(self._pending, self._position, 0, True)])
            self._position += 1
            self._last_row = 0
        finite.check_logits(self._subject, [self._last_row])
        token = self._sampler.sample(self._last_row)
        if ends_generation(self._subject, token):
            return self._finish("stop")
        self._left -= 1
        self._pending = token
        return {"token": token, "text": self._decoder.decode(piece(self._subject, token))}

    def close(self) -> None:
        self._sampler.free()

    def _finish(self, reason: str) -> dict[str, Any]:
        self.close()
        return {
            "finish": reason,
            "text": self._decoder.decode(b"", final=True),
            "prompt_tokens": self.prompt_tokens,
        }


def greedy(subject: LoadedSubject, prompt: str, count: int) -> tuple[list[int], list[float]]:
    """Generate greedily.

    Returns:
        The tokens, fewer if an end-of-generation token came, and by how much the logit of each was above that
        of the next likeliest one, none if the release has no function for it.

    Raises:
        RefusedError: The prompt does not fit the context, is empty, or there is no tokenizer.
    """
    given = _prompt_tokens(subject, prompt)
    _check_room(subject, len(given) + count, "the prompt and its answer take")
    subject.clear()
    chunks = subject.chunks([given], 0)
    for rows in chunks:
        subject.decode(rows)
    return follow(subject, chunks[-1][-1].position, len(chunks[-1]) - 1, count)


def follow(subject: LoadedSubject, position: int, index: int, count: int) -> tuple[list[int], list[float]]:
    """Continue greedily after row ``index`` of the last batch, at position ``position``; see ``greedy``."""
    tells = subject.bindings.has("llama_get_logits_ith")
    sampler = Sampler(subject)
    tokens: list[int] = []
    leads: list[float] = []
    try:
        while len(tokens) < count:
            token = sampler.sample(index)
            if ends_generation(subject, token):
                break
            leads += [lead(subject, index, token)] if tells else []
            tokens.append(token)
            position, index = position + 1, 0
            if len(tokens) < count:
                subject.decode([Row(token, position, 0, True)])
    finally:
        sampler.free()
    return tokens, leads


def lead(subject: LoadedSubject, index: int, token: int) -> float:
    """Return the difference of a token's logit from the largest other one, after a row of the last batch.

    The difference of two logits is that of their log-probabilities; it is below 0 if another token is
    likelier.
    """
    row = subject.llama.llama_get_logits_ith(subject.context, index)
    others = (range(token), range(token + 1, subject.n_vocabulary))
    # Piecewise: the memory of a list of all would stay with this process, whose memory is measured.
    largest = (
        max(row[start : min(start + _PIECE, each.stop)]) for each in others for start in each[::_PIECE]
    )
    return float(row[token]) - max(largest, default=-math.inf)


def top_logprobs(subject: LoadedSubject, prompt: str | list[int], top_k: int) -> list[dict[str, Any]]:
    """Return the log-probabilities at each position of a prompt.

    Returns:
        One entry a position: ``token`` (the prompt's own), ``logprob`` (of that token after the ones before
        it; None for the first), ``top`` (the ``top_k`` likeliest *next* tokens as [id, text, natural
        logarithm of the probability], likeliest first).

    Raises:
        RefusedError: The prompt does not fit the context, is empty, or is not in the vocabulary.
        UnusableError: There is no numpy.
    """
    try:
        import numpy as np
    except ImportError:
        raise UnusableError(
            "log-probabilities need numpy, which llama-cpp-python depends on: pip install numpy"
        ) from None

    tokens = _prompt_tokens(subject, prompt)
    _check_room(subject, len(tokens), "the prompt takes")
    top_k = min(top_k, subject.n_vocabulary)
    subject.clear()
    entries: list[dict[str, Any]] = []
    given: float | None = None
    for start in range(0, len(tokens), subject.n_ubatch):
        chunk = tokens[start : start + subject.n_ubatch]
        subject.decode([Row(token, start + index, 0, True) for index, token in enumerate(chunk)])
        for index, token in enumerate(chunk):
            finite.check_logits(subject, [index])
            row = subject.llama.llama_get_logits_ith(subject.context, index)
            logits = np.ctypeslib.as_array(row, shape=(subject.n_vocabulary,)).astype(np.float64)
            logprobs = logits - logits.max()
            logprobs -= np.log(np.exp(logprobs).sum())
            best = np.argsort(-logprobs, kind="stable")[:top_k]
            top = [[int(t), _text_of(subject, int(t)), float(logprobs[t])] for t in best]
            entries.append({"token": token, "logprob": given, "top": top})
            following = tokens[start + index + 1 : start + index + 2]
            given = float(logprobs[following[0]]) if following else None
    return entries


def _text_of(subject: LoadedSubject, token: int) -> str:
    return "" if subject.capability.text else detokenize(subject, [token])


def _prompt_tokens(subject: LoadedSubject, prompt: str | list[int]) -> list[int]:
    subject.capability.require("generation")
    tokens = tokenize(subject, prompt, True, True) if isinstance(prompt, str) else prompt
    if not tokens:
        raise RefusedError("request", "the prompt is empty")
    check_tokens(subject, tokens)
    return tokens


def _check_room(subject: LoadedSubject, needed: int, what: str) -> None:
    room = subject.llama.llama_n_ctx(subject.context)
    if needed > room:
        raise RefusedError("request", f"{what} {needed} tokens, n_ctx is {room}: raise n_ctx")
