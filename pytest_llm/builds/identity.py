"""Identity of builds: two with the same identity are one build."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sysconfig
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from pytest_llm.builds.package_index import package_index
from pytest_llm.errors import UsageError
from pytest_llm.records import Archive, Commit, Release

if TYPE_CHECKING:
    from pytest_llm.records import BuildReference

_READABLE = 48  # characters, in the name of a folder
_LONGEST_COMMIT = 12  # in the name of a folder; the rest is in the hash
_LLAMA_CPP = "llama.cpp"
_BINDING = "llama-cpp-python"

# An environment with the binding, the sources of a commit, the server of a release of the binding, or what an
# archive holds.
Kind: TypeAlias = Literal["environment", "tree", "server", "archive"]


@dataclass(frozen=True)
class Identity:
    """A release or a commit of llama.cpp, its CMake settings, where it comes from, and where it runs."""

    engine: str  # "llama-cpp-python" or "llama-server" of a release, "llama.cpp" of a commit
    version: str  # of the release; the commit in full; the tag of an archive
    settings: tuple[str, ...]  # CMake's ``-DNAME=VALUE``, in the order of the names
    platform: str  # "linux-x86_64"
    python: str  # the interpreter's kind: "cpython-311-x86_64-linux-gnu"; "" where none matters
    index: tuple[str, ...] = ()  # the package index, unless it is uv's default; the URL of an archive

    @property
    def kind(self) -> Kind:
        if self.engine == _LLAMA_CPP:
            return "tree"
        if self.engine == _BINDING:
            return "environment"
        return "server" if self.version[0].isdigit() else "archive"

    @property
    def title(self) -> str:
        """As in "llama-cpp-python@0.3.36", "llama.cpp@0c1e57098f3a[-DGGML_NATIVE=OFF]"."""
        return str(Release(self.engine, self._short, self.settings))

    @property
    def requirement(self) -> str:
        """The package that a release is made from."""
        return f"{_BINDING}=={self.version}"

    @property
    def key(self) -> str:
        """The name of its folder: readable, with a hash of the whole identity.

        All are of one length, so that two builds of the store run at paths of equal length.
        """
        settings = re.sub(r"[^\w.=]+", "_", " ".join(each[2:] for each in self.settings), flags=re.ASCII)
        whole = json.dumps(asdict(self), sort_keys=True)
        digest = hashlib.sha256(whole.encode()).hexdigest()[:12]
        readable = "-".join(each for each in (self.engine, self._short, settings) if each)
        return f"{readable[:_READABLE]:-<{_READABLE}}-{digest}"

    @property
    def _short(self) -> str:
        return self.version[:_LONGEST_COMMIT] if self.kind == "tree" else self.version


def identity_of(reference: BuildReference) -> Identity:
    """Return the identity here, under this interpreter; ``UsageError`` if it is not made here.

    The same release of another package index is another build: nothing says that it holds the same.
    """
    if isinstance(reference, Commit):
        return Identity(_LLAMA_CPP, reference.commit, reference.settings, sysconfig.get_platform(), "")
    if isinstance(reference, Archive):
        url = (reference.url,)
        return Identity(reference.engine, reference.tag, (), sysconfig.get_platform(), "", url)
    if not isinstance(reference, Release):
        raise UsageError(f"{reference} cannot be made: name a release such as 0.3.36, or git:REF:CHECKOUT")
    python = sysconfig.get_config_var("SOABI") or sysconfig.get_python_version()
    return Identity(
        reference.engine,
        reference.version,
        reference.settings,
        sysconfig.get_platform(),
        str(python) if reference.engine == _BINDING else "",
        package_index(os.environ),
    )
