"""Words that most vocabularies have as one token each, behind a space."""

from __future__ import annotations

# fmt: off
WORDS = (
    "river", "stone", "garden", "winter", "letter", "window", "music", "silver", "answer", "water",
    "morning", "journey", "paper", "village", "copper", "quiet", "market", "number", "bridge", "summer",
    "house", "table", "school", "signal", "people", "light", "forest", "color", "engine", "story",
)
# fmt: on
