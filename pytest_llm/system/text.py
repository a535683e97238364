"""Text from outside, for messages."""

from __future__ import annotations


def one_line(text: object) -> str:
    """Return text on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
