"""Releases of llama-cpp-python, from what whoever installs packages lists."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from pytest_llm.builds.released import newest_release, released_versions
from pytest_llm.errors import UsageError


def test_the_newest_release_has_the_highest_number_and_is_no_trial() -> None:
    assert newest_release(["0.3.9", "0.3.10", "0.3.11rc1", "0.2.90", "not a version"]) == "0.3.10"
    with pytest.raises(UsageError, match="has no release of llama-cpp-python"):
        newest_release(["0.3.11rc1"])


class Pip:
    """Stands for pip, and notes how it was called."""

    def __init__(self, output: str = "", errors: str = "") -> None:
        self._answer = output, errors
        self.command: list[str] = []
        self.environment: dict[str, str] = {}

    def __call__(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        self.command, self.environment = command, options["env"]
        return subprocess.CompletedProcess(command, 0, *self._answer)


def test_pip_lists_them() -> None:
    pip = Pip("llama-cpp-python (0.3.2)\nAvailable versions: 0.3.2, 0.3.1\n  INSTALLED: 0.3.1\n")
    assert released_versions({}, pip) == ["0.3.2", "0.3.1"]
    assert pip.command[-3:] == ["index", "versions", "llama-cpp-python"]


def test_the_index_of_uv_is_pip_s_where_pip_has_none() -> None:
    pip = Pip("Available versions: 1")
    released_versions({"UV_INDEX_URL": "a mirror"}, pip)
    assert pip.environment["PIP_INDEX_URL"] == "a mirror"
    released_versions({"UV_INDEX_URL": "a mirror", "PIP_INDEX_URL": "another"}, pip)
    assert pip.environment["PIP_INDEX_URL"] == "another"


def test_what_pip_says_instead_is_told_with_the_way_out() -> None:
    with pytest.raises(UsageError, match="cannot be listed: ERROR: no way; name the builds themselves"):
        released_versions({}, Pip(errors="ERROR: no\n way\n"))
