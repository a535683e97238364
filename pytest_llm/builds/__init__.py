"""Builds of llama.cpp side by side: one for each release or commit, made once and kept in the cache.

``reference`` reads what the user writes → ``identity`` says what makes two builds the same → ``store`` finds,
makes, keeps and removes them, under ``locks`` → ``release`` has uv make an environment, ``commit`` has cmake
compile a checkout → ``manifest`` is written last, and nothing without one is ever used. ``provider`` gives
engines of any build.
"""

from __future__ import annotations

from pytest_llm.builds.commit import SourceTree
from pytest_llm.builds.identity import Identity, identity_of
from pytest_llm.builds.manifest import Manifest
from pytest_llm.builds.store import BuildStore, StoredBuild

__all__ = ["BuildStore", "Identity", "Manifest", "SourceTree", "StoredBuild", "identity_of"]
