"""What was predicted of memory beside what llama.cpp wrote, in lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llm.records.units import BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TITLES = {"weights": "weights", "kv": "KV cache", "recurrent": "recurrent state"}
_PLACES = {"host": "", "device": " on the device"}


def lines(tests: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each way in which a model was loaded, of which both were known.

    Args:
        tests: Entries of a results file.
    """
    told = [_line(test) for test in tests if test["memory"]]
    return list(dict.fromkeys(line for line in told if line))


def _line(test: Mapping[str, Any]) -> str:
    parts = [
        f"{title}{where} {BYTES.format(each['logged'][place])} "
        f"(predicted {BYTES.format(each['predicted'][place])})"
        for name, title in _TITLES.items()
        for each in (test["memory"].get(name),)
        if each and each["logged"] and each["predicted"]
        for place, where in _PLACES.items()
        if each["logged"][place] or each["predicted"][place]
    ]
    if not parts:
        return ""
    return f"memory of {test['model']['name']}, n_ctx={test['load_options']['n_ctx']}: {', '.join(parts)}"
