"""What all tests of engines share."""

from __future__ import annotations

# Else the first test that runs an inner pytest would import them for itself alone, and their parts would not
# know each other afterwards.
import httpcore2  # noqa: F401
import httpx2  # noqa: F401
