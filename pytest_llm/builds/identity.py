"""What makes two builds the same."""

from __future__ import annotations

import hashlib
import json
import re
import sysconfig
from dataclasses import asdict, dataclass

from pytest_llm.errors import UsageError
from pytest_llm.records import BuildReference

_LONGEST_SETTINGS = 48  # characters, in the name of a folder


@dataclass(frozen=True)
class Identity:
    """A release, what it is compiled with, and where it runs.

    Attributes:
        engine: "llama-cpp-python".
        version: Of the release.
        settings: CMake's ``-DNAME=VALUE``, in the order of the names.
        platform: "linux-x86_64".
        python: The interpreter's kind: "cpython-311-x86_64-linux-gnu".
    """

    engine: str
    version: str
    settings: tuple[str, ...]
    platform: str
    python: str

    @property
    def reference(self) -> BuildReference:
        """The build as a user writes it."""
        return BuildReference(self.engine, "release", self.version, self.settings)

    @property
    def requirement(self) -> str:
        """What uv is asked for."""
        return f"{self.engine}=={self.version}"

    @property
    def key(self) -> str:
        """The name of its folder: to be read, and with a hash of all that makes it this one."""
        settings = re.sub(r"[^\w.=]+", "_", " ".join(each[2:] for each in self.settings), flags=re.ASCII)
        whole = json.dumps(asdict(self), sort_keys=True)
        digest = hashlib.sha256(whole.encode()).hexdigest()[:12]
        return "-".join(
            each for each in (self.engine, self.version, settings[:_LONGEST_SETTINGS], digest) if each
        )


def identity_of(reference: BuildReference) -> Identity:
    """Return what a release is on this platform, under this interpreter.

    Raises:
        UsageError: It is no release, so that there is nothing to make.
    """
    if reference.kind != "release":
        raise UsageError(f"{reference} is no release, so it is not ours to make: name one, as 0.3.36")
    python = sysconfig.get_config_var("SOABI") or sysconfig.get_python_version()
    return Identity(
        reference.engine, reference.where, reference.settings, sysconfig.get_platform(), str(python)
    )
