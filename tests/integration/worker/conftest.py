"""Tests about processes: a stand-in of llama.cpp in a real worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project


@pytest.fixture
def project(worker: Project) -> Project:
    return worker


@pytest.fixture
def reference(reference_environment: str) -> str:
    return reference_environment
