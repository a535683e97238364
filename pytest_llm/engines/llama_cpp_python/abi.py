"""ABI check: whether a library can stand in for the one that a binding came with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def mismatch(own: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return how another library's structs differ from those of the binding, "" if no difference shows.

    Both are answers of the worker's ``layouts``: the binding with its own library, and with the other.
    A default that a release changed looks like a moved field, and is refused as well.
    """
    for function, expected in own.items():
        found = other.get(function)
        if found is None:
            return f"it has no {function}"
        if found["bytes"] != expected["bytes"]:
            return (
                f"its {function} writes {found['bytes']} bytes, that of the binding's own library "
                f"{expected['bytes']}"
            )
        for field, value in expected["fields"].items():
            if found["fields"].get(field) != value:
                return (
                    f"the binding reads {field} = {found['fields'].get(field)} from its {function}, and "
                    f"{value} from that of its own library: the fields of the struct have moved, or a "
                    "default has changed"
                )
    return ""
