"""Package index of a release, and what else in the environment chooses its archive.

uv reads no configuration file when it makes a build, and none of pip's variables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.system.build_environment import bare_places

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DEFAULT = "UV_DEFAULT_INDEX"
# Variables that name places, the older names of some, and those that choose between archives.
_OLDER = {"UV_INDEX_URL": _DEFAULT, "UV_EXTRA_INDEX_URL": "UV_INDEX"}
_PLACES = (_DEFAULT, "UV_INDEX", "UV_FIND_LINKS")
_CHOICES = (
    "UV_INDEX_STRATEGY",
    "UV_NO_BINARY",
    "UV_NO_BINARY_PACKAGE",
    "UV_NO_BUILD",
    "UV_NO_BUILD_PACKAGE",
    "UV_NO_INDEX",
    "UV_PRERELEASE",
)


def package_index(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return where uv looks for packages, as ``NAME=VALUE``, without passwords; nothing if none is set."""
    return tuple(f"{name}={value}" for name, value in _found(environ) if value)


def _found(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in _PLACES:
        older = next(old for old, new in _OLDER.items() if new == name) if name in _OLDER.values() else name
        written = environ.get(name) or environ.get(older) or ""
        yield name, " ".join(bare_places(written))
    for name in _CHOICES:
        yield name, environ.get(name, "").strip()
