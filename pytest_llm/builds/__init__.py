"""Builds of llama.cpp side by side: one for each release or commit, made once and kept in the cache.

``identity`` says what makes two builds the same → ``store`` finds, makes, keeps and removes them, under
``locks`` → ``making`` has uv make an environment for a release, ``compiling`` has cmake make a commit's
``trees``, both by ``running`` programs that ``tied`` ends with this process → ``manifest`` is written last,
and nothing without one is ever used.
"""

from __future__ import annotations

from pytest_llm.builds.identity import Identity, identity_of
from pytest_llm.builds.manifest import Manifest
from pytest_llm.builds.source_tree import SourceTree
from pytest_llm.builds.store import BuildStore, Kept

__all__ = ["BuildStore", "Identity", "Kept", "Manifest", "SourceTree", "identity_of"]
