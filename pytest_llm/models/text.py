"""Texts of others, made fit for a message of one line."""

from __future__ import annotations


def one_line(text: object) -> str:
    """Fold white space, and drop what would steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
