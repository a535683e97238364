"""Recipes by the kind of a build."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.builds.archive import PrebuiltArchive
from pytest_llm.builds.commit import CheckedOutTree
from pytest_llm.builds.release import Environment
from pytest_llm.builds.server import ReleasedServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_llm.builds.identity import Identity, Kind
    from pytest_llm.builds.recipe import Recipe

_RECIPES: Mapping[Kind, Recipe] = {
    "environment": Environment(),
    "tree": CheckedOutTree(),
    "server": ReleasedServer(),
    "archive": PrebuiltArchive(),
}


def recipe_of(identity: Identity) -> Recipe:
    return _RECIPES[identity.kind]
