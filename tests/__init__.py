"""Tests in layers: unit, integration and system."""

from pathlib import Path

TESTS = Path(__file__).parent
REPOSITORY = TESTS.parent
STAND_IN = TESTS / "stand_in"
