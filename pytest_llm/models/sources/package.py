"""Model file in a wheel of a package index."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from pytest_llm.errors import ModelFetchError, UsageError
from pytest_llm.system.text import one_line

# A package URL (https://github.com/package-url/purl-spec). The name starts with a letter or digit, so that an
# installer cannot take it for an option.
_PURL = re.compile(
    r"pkg:pypi/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)"
    r"@(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)#(?P<path>.+)"
)

_TOOL_SECONDS = 3600
_ORNAMENTS = " \t\r×╰├─▶│·"  # that installers draw around their messages


@dataclass(frozen=True)
class PackagedFile:
    """One file of one exact version of a package, by its path in the wheel."""

    name: str
    version: str
    path: PurePosixPath
    needs_pin = True

    @classmethod
    def parse(cls, text: str, _root: Path) -> PackagedFile:
        match = _PURL.fullmatch(text)
        if match is None or not text.isprintable():
            form = "pkg:pypi/NAME@VERSION#PATH_IN_WHEEL"
            raise UsageError(f"the source {text!r} is not of the form {form}")
        path = PurePosixPath(match["path"])
        if path.is_absolute() or ".." in path.parts or "\\" in match["path"]:
            raise UsageError(f"the source {text!r} has a path that leaves the wheel")
        # Names that start with a dot are reserved for the cache.
        if not path.name or path.name.startswith("."):
            raise UsageError(f"the source {text!r} does not end in the name of a file")
        return cls(match["name"], match["version"], path)

    @property
    def filename(self) -> str:
        return self.path.name

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"

    def beside(self, filename: str, /) -> PackagedFile:
        return replace(self, path=self.path.with_name(filename))

    def in_place(self) -> Path | None:
        """Return the file of the installed package, if exactly this version is installed."""
        return installed_file(self.name, self.version, self.path)

    def fetch(self, destination: Path, /) -> None:
        target = destination.parent / "wheel"
        self._install(target)
        file = target / self.path
        if not file.is_file():
            raise ModelFetchError(f"the wheel of {self.requirement} has no file {self.path}")
        if file.is_symlink():
            # uv can link into its own cache, which may be cleared at any time.
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
    """Return a file of an installed package if it has exactly that version."""
    from importlib.metadata import PackageNotFoundError, distribution  # slow to import

    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    file = Path(str(found.locate_file(path)))
    return file if found.version == version and file.is_file() else None


def installer() -> list[str] | None:
    """Return the command that installs wheels, of uv or of this environment's pip, or None."""
    from importlib.util import find_spec

    # uv sets $UV for the programs that it runs.
    uv = shutil.which(os.environ.get("UV") or "uv") or shutil.which("uv")
    if uv is not None:
        options = ["--quiet", "--no-progress", "--color", "never", "--python", sys.executable]
        return [uv, "pip", "install", *options]
    if find_spec("pip") is not None:
        options = ["--quiet", "--no-input", "--no-color", "--disable-pip-version-check"]
        return [sys.executable, "-m", "pip", "install", *options]
    return None


def last_words(output: str) -> str:
    """Return the last 60 words of a tool's output on one line."""
    lines = [line.strip(_ORNAMENTS) for line in output.splitlines()]
    words = one_line(" ".join(lines)).split()
    return " ".join(words[-60:]) or "no output"
