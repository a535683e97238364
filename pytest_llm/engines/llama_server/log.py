"""Effective options of a server: what its log and ``/props`` confirm, and what is only asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pytest_llm.engines.llama_cpp_python.load_log import matches, message_pattern, read_messages
from pytest_llm.records.effective_options import normalize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.records import JSON

# In front of each message, unless the build can leave it out: "0.00.127.295 I ".
_PREFIX = re.compile(r"^(?:\d+\.\d{2}\.\d{3}\.\d{3} )?(?:[A-Z] )?")
# "system_info: n_threads = 2 (n_threads_batch = 2) / 2 | CPU : SSE3 = 1 | …", or behind a function's name.
_SYSTEM = re.compile(
    r"(?:.*: )?system_info: n_threads = (?P<one>\d{1,6})(?: \(n_threads_batch = (?P<batch>\d{1,6})\))? / \d+ "
    r"\| (?P<features>.*)"
)
# Of the context: "llama_context: n_batch               = 1024".
_CONTEXT = {
    name: message_pattern(rf"{name}\s*= (\d{{1,12}})")
    for name in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max")
}
_ALWAYS_CONFIRMED = {"lora", "draft_model"}
# "common_speculative_init_result: loading draft model '…'"; older: "srv load_model: loading draft model '…'".
_DRAFT = re.compile(r"(?:srv +)?\w+: loading draft model ")


def messages_of(log: str) -> list[str]:
    """Return the messages in a log, without what stands in front of each."""
    return [_PREFIX.sub("", line, count=1) for line in log.splitlines()]


def without_draft(messages: Sequence[str]) -> list[str]:
    """Return the messages on the model itself, which is loaded before the one that drafts."""
    at = next((at for at, each in enumerate(messages) if _DRAFT.match(each)), len(messages))
    return [*messages[:at]]


def features(messages: Sequence[str]) -> str:
    """Return the CPU features that a server lists before it loads; "" if it lists none."""
    system = _system(messages)
    return system["features"].strip(" |") if system else ""


def effective_options(
    asked: Mapping[str, JSON], messages: Sequence[str], props: Mapping[str, Any]
) -> dict[str, JSON]:
    """Return the load options as they really are; ``unconfirmed`` names those that nothing confirms.

    Args:
        asked: The load options.
        messages: Of the log.
        props: The answer of ``/props``.
    """
    confirmed: dict[str, JSON] = {}
    system = _system(messages)
    if system:
        confirmed["n_threads"] = int(system["one"])
        confirmed["n_threads_batch"] = int(system["batch"] or system["one"])
    for name, pattern in _CONTEXT.items():
        told = matches(pattern, messages)
        if told:
            confirmed[name] = int(told[-1][1])
    slots = props.get("total_slots")
    if type(slots) is int:
        confirmed["n_seq_max"] = slots
    confirmed |= read_messages(messages)
    found = normalize({**asked, **confirmed})
    sure = set(normalize(confirmed)) | _ALWAYS_CONFIRMED
    unconfirmed: list[JSON] = [*sorted(name for name in asked if name not in sure)]
    return {**found, "unconfirmed": unconfirmed}


def _system(messages: Sequence[str]) -> re.Match[str] | None:
    # The first: a model's text, which is logged later, could look like one.
    return next((match for match in map(_SYSTEM.fullmatch, messages) if match), None)
