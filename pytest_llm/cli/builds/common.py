"""What the commands of the group share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.builds import identity_of
from pytest_llm.builds.provider import build_store
from pytest_llm.cli import project
from pytest_llm.records.serialization import encode

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pytest_llm.builds import BuildStore, Identity, Kept, Manifest
    from pytest_llm.records import BuildReference

BUILD_HELP = (
    "a release, or a commit of a checkout of llama.cpp, with optional CMake settings: 0.3.36, "
    "'0.3.36[-DGGML_AVX2=OFF]', git:master~3:../llama.cpp"
)


def store_of(arguments: argparse.Namespace) -> BuildStore:
    """Return the builds of the cache that is meant.

    Raises:
        UsageError: The ini file cannot be read.
    """
    return build_store(project.cache(arguments.cache, Path.cwd()))


def asked(texts: Sequence[str]) -> dict[Identity, BuildReference]:
    """Return which builds are meant, each once.

    Raises:
        UsageError: One of them is none that can be made.
    """
    found = [project.build(each, Path.cwd()) for each in texts]
    return {identity_of(each): each for each in found}


def made_document(manifest: Manifest) -> dict[str, Any]:
    """Return what there is to say of a build that was made."""
    return {"build": manifest.identity.title, **encode(manifest)}


def kept_document(kept: Kept) -> dict[str, Any]:
    """Return what there is to say of a folder."""
    made = {} if kept.manifest is None else made_document(kept.manifest)
    return {"folder": str(kept.folder), "state": kept.state, "bytes": kept.bytes, **made}


def said_line(manifest: Manifest) -> str:
    """Return what a build says of itself: its commit, and what it was compiled for and by."""
    said = manifest.said
    return ", ".join(each for each in (str(said), said.compiled_with) if each)
