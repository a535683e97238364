"""The stand-in of llama.cpp, in workers that are locked in."""

from tests.integration.conftest import stand_in_environment  # noqa: F401 - a fixture
