"""Text to token ids and back: tokenization, prompts, chat templates."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from . import templates
from .bindings import RefusedError

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from .subject import LoadedSubject

# fmt: off
_WORDS = (
    "river", "stone", "garden", "winter", "letter", "window", "music", "silver", "answer", "harbour",
    "morning", "journey", "paper", "village", "copper", "quiet", "lantern", "orchard", "bridge", "thunder",
    "velvet", "compass", "meadow", "signal", "anchor", "candle", "forest", "marble", "engine", "pepper",
)
# fmt: on


def tokenize(subject: LoadedSubject, content: str, add_special: bool, parse_special: bool) -> list[int]:
    """Return the token ids of a text.

    Raises:
        RefusedError: The model has no vocabulary to tokenise with.
    """
    _require_vocabulary(subject)
    try:
        data = content.encode()
    except UnicodeEncodeError as error:
        raise RefusedError("request", f"the text is not Unicode: {error}") from None
    return tokenize_bytes(subject, data, add_special, parse_special)


def tokenize_bytes(subject: LoadedSubject, data: bytes, add_special: bool, parse_special: bool) -> list[int]:
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


def piece(subject: LoadedSubject, token: int) -> bytes:
    """Return the bytes of one token, special tokens included; they may be part of a character.

    Without a vocabulary, tokens have no text, and asking for it would abort the process.
    """
    if subject.capability.text:
        return b""
    capacity = 64
    for _ in range(2):
        buffer = ctypes.create_string_buffer(capacity)
        count: int = subject.llama.llama_token_to_piece(subject.vocabulary, token, buffer, capacity, 0, True)
        if count >= 0:
            return buffer.raw[:count]
        capacity = -count
    raise RefusedError("request", "llama_token_to_piece kept asking for more room")


def detokenize(subject: LoadedSubject, tokens: Sequence[int]) -> str:
    """Return the text of token ids, special tokens written out.

    Raises:
        RefusedError: An id is not in the vocabulary, or there is none.
    """
    _require_vocabulary(subject)
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
    """Writes prompts that no cache contains, and reads them as a request would."""

    def __init__(self, subject: LoadedSubject, source: random.Random) -> None:
        self._subject = subject
        self._random = source
        self._has_vocabulary = not subject.capability.text
        self._template = chat_template(subject)

    def write(self, tokens: int) -> str | list[int]:
        """Return a text of at least so many tokens, or token ids if there is no vocabulary."""
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
            content = _rendered(self._subject, self._template, content)
        return tokenize(self._subject, content, True, True)[:tokens]


def token_ids(subject: LoadedSubject, contents: Sequence[str]) -> list[list[int]]:
    """Return the token ids of texts, each given as the hexadecimal digits of its bytes."""
    _require_vocabulary(subject)
    return [tokenize_bytes(subject, bytes.fromhex(each), True, True) for each in contents]


def render_chat(subject: LoadedSubject, content: str) -> str:
    """Return the model's chat template around a user's message, "" if there is none.

    llama.cpp's own renderer knows some templates by sight and runs none. The sandbox runs every template, for
    what it reaches for, and renders those that llama.cpp does not know.

    Raises:
        RefusedError: The template reaches for what the sandbox keeps from it, or only the sandbox can render
            it, and cannot.
    """
    if not subject.bindings.has("llama_model_chat_template"):
        return ""
    template: bytes | None = subject.llama.llama_model_chat_template(subject.model, None)
    if not template:
        return ""
    known = chat_template(subject)
    text = _rendered(subject, known, content) if known else ""
    try:
        rendered = templates.render(template.decode(errors="replace"), content, _special(subject))
    except templates.UnsafeError as error:
        raise RefusedError("uncovered", str(error)) from None
    except RefusedError:
        if known:
            return text
        raise
    return text if known else rendered


def _special(subject: LoadedSubject) -> dict[str, str]:
    """Return the texts of the tokens that begin and end a sequence."""
    found = {}
    for name in ("bos_token", "eos_token"):
        number = subject.bindings.meta(subject.model, f"tokenizer.ggml.{name}_id")
        known = number.isdecimal() and int(number) < subject.n_vocabulary
        found[name] = piece(subject, int(number)).decode(errors="replace") if known else ""
    return found


def _rendered(subject: LoadedSubject, template: bytes, content: str) -> str:
    """Return the rendered chat, or "" if llama.cpp's own renderer does not know the template."""
    llama = subject.llama
    data = content.encode()
    message = llama.llama_chat_message(role=b"user", content=data)
    capacity = 2 * len(data) + 1024
    buffer = ctypes.create_string_buffer(capacity)
    count = llama.llama_chat_apply_template(template, ctypes.pointer(message), 1, True, buffer, capacity)
    return buffer.raw[:count].decode(errors="replace") if 0 < count <= capacity else ""


def chat_template(subject: LoadedSubject) -> bytes | None:
    """Return the model's chat template if llama.cpp's own renderer knows it."""
    if not subject.bindings.renders_templates:
        return None
    template: bytes | None = subject.llama.llama_model_chat_template(subject.model, None)
    return template if template and _rendered(subject, template, "x") else None


def ends_generation(subject: LoadedSubject, token: int) -> bool:
    """Return if a token ends an answer; without a vocabulary, none does."""
    return not subject.capability.text and bool(subject.llama.llama_vocab_is_eog(subject.vocabulary, token))


def _require_vocabulary(subject: LoadedSubject) -> None:
    if subject.capability.text:
        raise RefusedError("request", subject.capability.text)


def check_tokens(subject: LoadedSubject, tokens: Sequence[int]) -> None:
    """Raise unless every id is in the vocabulary.

    Raises:
        RefusedError: One is not.
    """
    for token in tokens:
        if not 0 <= token < subject.n_vocabulary:
            # llama.cpp would read outside its tables.
            raise RefusedError("request", f"token {token} is not in the vocabulary of {subject.n_vocabulary}")
