"""Invariants: what a loaded subject shows on every machine of its kind.

What a release does not tell is left out, never guessed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from pytest_llm.errors import NotCoveredError, RequestFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.records import JSON
    from pytest_llm.records.generation import Greedy


# Accents, other scripts, an emoji of two code points, digits, runs of spaces: where tokenizers went apart.
_TEXT = "Naïve café, 東京の天気、Привет! 🦙👍🏽 3.14159 == 22/7\n\n\tdef f(x):   return x ** 2\n"
_PROMPT = "The capital of France is"
_TOKENS = 12
# Of a lead in nats.
_DIGITS = 3

_MIB = 2**20
_MOSTLY = 0.5
# No options: how many threads this machine has and lets work, the buffers that its CPU features call for, and
# the size of a graph, which every release builds otherwise.
_NO_OPTIONS = {
    "n_threads",
    "n_threads_batch",
    "threads_at_work",
    "buffers_mib",
    "graph_nodes",
    "weights_bytes",
    "memory",
    "locked_bytes",
    "unconfirmed",
}


class Described(Protocol):
    """A loaded subject, as far as its invariants are asked for."""

    def effective_options(self) -> Mapping[str, JSON]:
        """Return the load options as they really are."""

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Return the token ids of a text."""

    def greedy(self, prompt: str, count: int) -> Greedy:
        """Return the tokens that follow a prompt greedily."""

    def graphs_reused(self) -> int | None:
        """Return how often a decode used the graph of the one before; None if nothing counts it."""


def invariants_of(subject: Described) -> dict[str, JSON]:
    """Return the invariants of a loaded subject.

    Returns:
        ``weights_bytes``, ``kv_bytes``, ``effective_options`` by name, ``token_ids`` of a fixed text, and
        ``greedy_output``, the token ids after a fixed prompt, with ``greedy_leads``, the lead of each over
        the next likeliest token in nats. Among the options is ``graph_reuse``: how many of these decodes used
        the compute graph of the one before ("on", "off" or "partly").

    Raises:
        EngineError: The worker died or hung.
    """
    effective_options = subject.effective_options()
    options = {name: each for name, each in effective_options.items() if name not in _NO_OPTIONS}
    found: dict[str, JSON] = {"effective_options": options}
    if "weights_bytes" in effective_options:
        found["weights_bytes"] = effective_options["weights_bytes"]
    kv_bytes = _kv_bytes(effective_options)
    if kv_bytes is not None:
        found["kv_bytes"] = kv_bytes
    try:
        found["token_ids"] = list(subject.tokenize(_TEXT, add_special=True, parse_special=True))
        before = subject.graphs_reused()
        output = subject.greedy(_PROMPT, _TOKENS)
        found["greedy_output"] = list(output.tokens)
        options |= _graph_reuse(before, subject.graphs_reused(), len(output.tokens) - 1)
        found |= _leads(output)
    except (RequestFailedError, NotCoveredError):
        pass  # no tokenizer, no next token, or no room for a few of them: the workloads will tell
    return found


def _kv_bytes(effective_options: Mapping[str, JSON]) -> int | None:
    buffers = effective_options.get("buffers_mib")
    if not isinstance(buffers, dict):
        return None
    sizes = [size for name, size in buffers.items() if name.endswith(" KV") and isinstance(size, float)]
    return round(sum(sizes) * _MIB) if sizes else None


def _leads(output: Greedy) -> dict[str, JSON]:
    """Return the leads, rounded: rounding decides between two tokens of nearly equal logits."""
    if not output.leads or not all(map(math.isfinite, output.leads)):
        return {}
    return {"greedy_leads": [round(each, _DIGITS) for each in output.leads]}


def _graph_reuse(before: int | None, after: int | None, decodes: int) -> dict[str, JSON]:
    if before is None or after is None or decodes < 1:
        return {}
    # Some are always built, after a prompt say, and which ones depends on the release: so no exact count.
    share = (after - before) / decodes
    return {"graph_reuse": "on" if share >= _MOSTLY else "partly" if share else "off"}
