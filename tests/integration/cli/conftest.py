"""What the tests of the command share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .things import Command

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def baselines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The commands of ``pytest-llm baselines`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Command(tmp_path, capsys)
