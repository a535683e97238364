"""Coin of the operating system: a seed that a test or a conftest sets does not repeat it."""

from __future__ import annotations

import secrets


def toss() -> bool:
    """Return True or False, equally likely."""
    return bool(secrets.randbits(1))
