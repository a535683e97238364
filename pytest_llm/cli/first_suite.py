"""The first suite of a model: its text, and limits from what was measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.records.metrics import find

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.reports.document import TestEntry

LOOSER = 0.3
_CHAT, _LONG = "chat", "long_prompt"
# What repeats within a third from run to run on one machine; load times do not.
_LIMITED: Mapping[str, Sequence[str]] = {
    _CHAT: (
        "prompt_tokens_per_second",
        "generation_tokens_per_second",
        "first_token_latency",
        "peak_ram",
        "peak_vram",
    ),
    _LONG: ("prompt_tokens_per_second", "first_token_latency"),
}
_DIGITS = 3
_LONG_PROMPT, _GENERATED = 640, 16  # more than one ubatch: some breaks need two
_MOST_CONTEXT = 4096


class FirstSuite(NamedTuple):
    """What the file says.

    Attributes:
        model: As the file names it.
        context: Tokens that the model was trained for; 0 if that is unknown.
        about: Lines of comment.
    """

    model: str
    context: int
    about: tuple[str, ...] = ()

    def text(self, limits: Mapping[str, Mapping[str, str]]) -> str:
        """Return the file; limits are those of each test, by metric."""
        n_ctx = min(self.context or _MOST_CONTEXT, _MOST_CONTEXT)
        lines = [
            *(f"# {each}" for each in self.about),
            f"models = [{json.dumps(self.model, ensure_ascii=False)}]",
            "",
            "[load]",
            f"n_ctx = {n_ctx}",
        ]
        long = max(1, min(_LONG_PROMPT, n_ctx - _GENERATED))
        for name, prompt, generated in ((_CHAT, min(128, long), 64), (_LONG, long, _GENERATED)):
            generated = max(2, min(generated, n_ctx - prompt))
            lines += ["", f"[tests.{name}]"]
            lines += [f"workload = {{ prompt_tokens = {prompt}, generate_tokens = {generated} }}"]
            if limits.get(name):
                lines += ["", f"[tests.{name}.limits]"]
                lines += [f'{metric} = "{bound}"' for metric, bound in limits[name].items()]
        return "\n".join(lines) + "\n"


def limits_of(tests: Sequence[TestEntry]) -> dict[str, dict[str, str]]:
    """Return the limits of each test of a first suite, looser than what was measured."""
    found: dict[str, dict[str, str]] = {}
    for each in tests:
        name = each.nodeid.rpartition("::test_")[2]
        found[name] = {
            metric: _bound(metric, each.metrics[metric].value)
            for metric in _LIMITED.get(name, ())
            if metric in each.metrics and each.metrics[metric].value > 0
        }
    return found


def _bound(metric: str, value: float) -> str:
    found = find(metric)
    loose = value / (1 + LOOSER) if found.better == "higher" else value * (1 + LOOSER)
    return found.unit.format(loose, _DIGITS)
