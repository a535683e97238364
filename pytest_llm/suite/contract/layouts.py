"""Differences between the structs of binding and headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llm.suite.contract.headers import Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.suite.contract.headers import Layout

# [name, offset, size, fields of the field's own type], as the worker sends it.
Field = list[Any]


def differences(struct: str, fields: Sequence[Field], size: int, layout: Layout) -> list[str]:
    """Return a line per missing field, for the first moved field, and per field of another width."""
    ours = places(fields, layout)
    lines = [f"{struct}.{name}: the headers have no such field" for name in ours if name not in layout.fields]
    lines += [
        f"{struct}.{name}: the binding lacks it, the headers have it{_after(name, layout)}"
        for name in layout.fields
        if name not in ours
    ]
    both = {name: place for name, place in ours.items() if name in layout.fields}
    moved = [name for name, place in both.items() if place.offset != layout.fields[name].offset]
    for name in moved[:1]:
        others = f"; {len(moved) - 1} behind it lie elsewhere, too" if moved[1:] else ""
        theirs = layout.fields[name].offset
        lines.append(f"{struct}.{name} lies at byte {both[name].offset}, in the headers at {theirs}{others}")
    lines += [
        f"{struct}.{name} takes {place.size} bytes, in the headers {layout.fields[name].size}"
        for name, place in both.items()
        if place.size != layout.fields[name].size
    ]
    if size != layout.size:
        lines.append(f"{struct} takes {size} bytes, in the headers {layout.size}")
    return lines


def places(fields: Sequence[Field], layout: Layout) -> dict[str, Place]:
    """Return the places of the binding's fields.

    A named union of the binding that is anonymous in C counts as its members.
    """
    found: dict[str, Place] = {}
    for name, offset, size, inner in fields:
        if name not in layout.fields and any(each[0] in layout.fields for each in inner):
            found.update(places(inner, layout))
        else:
            found[name] = Place(offset, size)
    return found


def _after(name: str, layout: Layout) -> str:
    names = list(layout.fields)
    place = names.index(name)
    return f" after {names[place - 1]}" if place else " first of all"


def unusual_defaults(values: Mapping[str, float], expected: Mapping[str, tuple[float, ...]]) -> list[str]:
    """Return a line per default that no release of llama.cpp has had."""
    return [
        f"{name} is {values[name]:g}, expected {' or '.join(f'{each:g}' for each in usual)}"
        for name, usual in expected.items()
        if name in values and not any(abs(values[name] - each) <= 1e-6 for each in usual)
    ]
