"""Text in, text out: tokenising, sampling, and what a prompt makes likely."""

from __future__ import annotations

import codecs
import ctypes
from typing import TYPE_CHECKING, Any

from .bindings import UnusableError
from .subject import RefusedError, Row, Subject

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

_NO_VOCABULARY = 0  # LLAMA_VOCAB_TYPE_NONE: token ids are all there is
# fmt: off
_WORDS = (
    "river", "stone", "garden", "winter", "letter", "window", "music", "silver", "answer", "harbour",
    "morning", "journey", "paper", "village", "copper", "quiet", "lantern", "orchard", "bridge", "thunder",
    "velvet", "compass", "meadow", "signal", "anchor", "candle", "forest", "marble", "engine", "pepper",
)
# fmt: on


def tokenize(subject: Subject, content: str, add_special: bool, parse_special: bool) -> list[int]:
    """Return the token ids of a text.

    Raises:
        RefusedError: The model has no vocabulary to tokenise with.
    """
    if subject.llama.llama_vocab_type(subject.vocabulary) == _NO_VOCABULARY:
        raise RefusedError("request", "the model has no tokenizer; give token ids instead of text")
    try:
        data = content.encode()
    except UnicodeEncodeError as error:
        raise RefusedError("request", f"the text is no Unicode: {error}") from None
    return tokenize_bytes(subject, data, add_special, parse_special)


def tokenize_bytes(subject: Subject, data: bytes, add_special: bool, parse_special: bool) -> list[int]:
    """Return the token ids of bytes, which need not be UTF-8."""
    capacity = len(data) + 8
    for _ in range(2):
        tokens = (ctypes.c_int32 * capacity)()
        count = subject.llama.llama_tokenize(
            subject.vocabulary, data, len(data), tokens, capacity, add_special, parse_special
        )
        if count >= 0:
            return list(tokens[:count])
        capacity = -count
    raise RefusedError("request", "llama_tokenize kept asking for more room")


def piece(subject: Subject, token: int) -> bytes:
    """Return the bytes of one token, special tokens included; they may be part of a character."""
    capacity = 64
    for _ in range(2):
        buffer = ctypes.create_string_buffer(capacity)
        count: int = subject.llama.llama_token_to_piece(subject.vocabulary, token, buffer, capacity, 0, True)
        if count >= 0:
            return buffer.raw[:count]
        capacity = -count
    raise RefusedError("request", "llama_token_to_piece kept asking for more room")


def detokenize(subject: Subject, tokens: Sequence[int]) -> str:
    """Return the text of token ids, special tokens written out.

    Raises:
        RefusedError: An id is not in the vocabulary.
    """
    check_tokens(subject, tokens)
    array = (ctypes.c_int32 * len(tokens))(*tokens)
    capacity = 16 * len(tokens) + 16
    for _ in range(2):
        buffer = ctypes.create_string_buffer(capacity)
        count = subject.llama.llama_detokenize(
            subject.vocabulary, array, len(tokens), buffer, capacity, False, True
        )
        if count >= 0:
            return buffer.raw[:count].decode(errors="replace")
        capacity = -count
    raise RefusedError("request", "llama_detokenize kept asking for more room")


class PromptWriter:
    """Writes prompts that no cache has seen, and reads them as a request would."""

    def __init__(self, subject: Subject, source: random.Random) -> None:
        self._subject = subject
        self._random = source
        vocabulary_type = subject.llama.llama_vocab_type(subject.vocabulary)
        self._has_vocabulary = vocabulary_type != _NO_VOCABULARY
        self._template = chat_template(subject)

    def write(self, tokens: int) -> str | list[int]:
        """Return a text of at least so many tokens, or just token ids where there is no vocabulary."""
        if not self._has_vocabulary:
            return [self._random.randrange(self._subject.n_vocabulary) for _ in range(tokens)]
        words = tokens
        while True:
            content = " ".join(self._random.choices(_WORDS, k=words))
            if len(tokenize(self._subject, content, True, True)) >= tokens:
                return content
            words += max(8, words // 4)

    def read(self, content: str | list[int], tokens: int) -> list[int]:
        """Render the chat template, tokenise, and cut to exactly so many tokens."""
        if isinstance(content, list):
            return content
        if self._template is not None:
            content = render_chat(self._subject, self._template, content)
        return tokenize(self._subject, content, True, True)[:tokens]


def render_chat(subject: Subject, template: bytes, content: str) -> str:
    """Return the rendered chat, or "" where llama.cpp's own renderer does not know the template."""
    llama = subject.llama
    data = content.encode()
    message = llama.llama_chat_message(role=b"user", content=data)
    capacity = 2 * len(data) + 1024
    buffer = ctypes.create_string_buffer(capacity)
    count = llama.llama_chat_apply_template(template, ctypes.pointer(message), 1, True, buffer, capacity)
    return buffer.raw[:count].decode(errors="replace") if 0 < count <= capacity else ""


def chat_template(subject: Subject) -> bytes | None:
    """Return the model's chat template, where it has one that llama.cpp's own renderer knows."""
    if not subject.bindings.renders_templates:
        return None
    template: bytes | None = subject.llama.llama_model_chat_template(subject.model, None)
    return template if template and render_chat(subject, template, "x") else None


class Sampler:
    """Picks the next token: greedily at temperature 0, else from the seeded distribution."""

    def __init__(
        self,
        subject: Subject,
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
        """Give the memory back; may be called again."""
        if self._chain is not None:
            self._subject.llama.llama_sampler_free(self._chain)
            self._chain = None


class Stream:
    """One answer in the making."""

    def __init__(
        self,
        subject: Subject,
        prompt: str | list[int],
        max_tokens: int,
        temperature: float,
        top_k: int,
        top_p: float,
        seed: int,
    ) -> None:
        """Take the prompt in.

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
        """Return one more token, or why there is none: ``{"token", "text"}`` or ``{"finish", "text"}``.

        ``text`` holds whole characters only; what is left of the last one comes with "finish".
        """
        if self._left == 0:
            return self._finish("length")
        if self._pending is not None:
            self._subject.decode([Row(self._pending, self._position, 0, True)])
            self._position += 1
            self._last_row = 0
        token = self._sampler.sample(self._last_row)
        if self._subject.llama.llama_vocab_is_eog(self._subject.vocabulary, token):
            return self._finish("stop")
        self._left -= 1
        self._pending = token
        return {"token": token, "text": self._decoder.decode(piece(self._subject, token))}

    def close(self) -> None:
        """Give the memory back; may be called again."""
        self._sampler.free()

    def _finish(self, reason: str) -> dict[str, Any]:
        self.close()
        return {
            "finish": reason,
            "text": self._decoder.decode(b"", final=True),
            "prompt_tokens": self.prompt_tokens,
        }


def top_logprobs(subject: Subject, prompt: str | list[int], top_k: int) -> list[dict[str, Any]]:
    """Return for each position of a prompt what was likely to follow it.

    One entry a position: ``token`` (the prompt's own), ``logprob`` (what its predecessors gave it; None for
    the first), ``top`` (the ``top_k`` likeliest *next* tokens as [id, text, natural logarithm of the
    probability], likeliest first).

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
            row = subject.llama.llama_get_logits_ith(subject.context, index)
            logits = np.ctypeslib.as_array(row, shape=(subject.n_vocabulary,)).astype(np.float64)
            logprobs = logits - logits.max()
            logprobs -= np.log(np.exp(logprobs).sum())
            best = np.argsort(-logprobs, kind="stable")[:top_k]
            top = [[int(t), detokenize(subject, [int(t)]), float(logprobs[t])] for t in best]
            entries.append({"token": token, "logprob": given, "top": top})
            following = tokens[start + index + 1 : start + index + 2]
            given = float(logprobs[following[0]]) if following else None
    return entries


def _prompt_tokens(subject: Subject, prompt: str | list[int]) -> list[int]:
    tokens = tokenize(subject, prompt, True, True) if isinstance(prompt, str) else prompt
    if not tokens:
        raise RefusedError("request", "the prompt is empty")
    check_tokens(subject, tokens)
    return tokens


def check_tokens(subject: Subject, tokens: Sequence[int]) -> None:
    """Raise unless every id is in the vocabulary.

    Raises:
        RefusedError: One is not.
    """
    for token in tokens:
        if not 0 <= token < subject.n_vocabulary:
            # llama.cpp would read outside its tables.
            raise RefusedError("request", f"token {token} is not in the vocabulary of {subject.n_vocabulary}")


def _check_room(subject: Subject, needed: int, what: str) -> None:
    room = subject.llama.llama_n_ctx(subject.context)
    if needed > room:
        raise RefusedError("request", f"{what} {needed} tokens, n_ctx is {room}: raise n_ctx")
