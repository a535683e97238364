"""Files of this interpreter: the standard library, and the packages that ``llama_cpp`` is made of.

Start-up files of packages are read here, and not run: they run once this process is locked in.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# What a folder of packages is read for, if it is none of the interpreter's own.
_PACKAGES = (
    "llama_cpp",
    "llama_cpp.py",
    "numpy",
    "jinja2",
    "markupsafe",
    "diskcache",
    "typing_extensions.py",
)
# Of a prefix, which may be a project's folder; nvvm and targets are CUDA's in a conda environment.
_OWN = ("bin", "lib", "lib64", "share", "nvvm", "targets", "pyvenv.cfg")
_VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"
_PATHS = re.compile(r"""(["'])(/[^"'\n]+)\1""")
_MOST_BYTES = 2**20  # of a start-up file


def readable(kept: Sequence[str]) -> Iterator[Path]:
    """Yield what may be read, with all that is below.

    Args:
        kept: Folders of which nothing but packages is read: the home folder, the project's.
    """
    yield Path(__file__).parent
    program = Path(sys.executable)
    prefixes = {Path(each) for each in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)}
    if (program.parent.parent / "pyvenv.cfg").is_file():
        prefixes.add(program.parent.parent)
    yield from (prefix / name for prefix in sorted(prefixes) for name in _OWN)
    yield from (program.parent, program.resolve().parent, Path(os.__file__).parent)
    own = [prefix / lib / _VERSION / "site-packages" for prefix in prefixes for lib in ("lib", "lib64")]
    given = [*_given(own), *(folder for site in own for folder in _added(site))]
    given += [folder for site in given for folder in _added(site)]
    further = [each for each in dict.fromkeys(given) if _packages(each)]
    for folder in further:
        yield from _packages(folder) if _holds(folder, kept) else [folder]
    for site in (*own, *further):
        yield from _linked(site)


def _given(own: Iterable[Path]) -> Iterator[Path]:
    """Yield the folders of PYTHONPATH, and the user's own folder of packages."""
    yield from (Path(each) for each in sys.path if each and Path(each) not in own)
    user = os.environ.get("PYTHONUSERBASE")
    if user:
        yield Path(user, "lib", _VERSION, "site-packages")


def _holds(folder: Path, kept: Iterable[str]) -> bool:
    inner = [Path(each).resolve() for each in kept]
    return any(folder.resolve() in (each, *each.parents) for each in inner)


def _packages(folder: Path) -> list[Path]:
    return [folder / name for name in _PACKAGES if (folder / name).exists()]


def _added(site: Path) -> Iterator[Path]:
    """Yield the folders that a folder of packages adds, by .pth files and modules of editable installs."""
    for file in _files(site):
        if file.suffix == ".pth":
            lines = _text(file).splitlines()
            yield from (site / line.strip() for line in lines if line.startswith((".", "/")))
        elif "editable" in file.name and file.suffix == ".py":
            # The paths of packages, or of files in them.
            for named in (Path(match[1]) for match in _PATHS.findall(_text(file))):
                yield from (named, *list(named.parents)[:2])


def _linked(site: Path) -> Iterator[Path]:
    """Yield the folders that packages point to that are links, or made of links."""
    for package in (site / name for name in _PACKAGES):
        for path in (package, package / "__init__.py"):
            if path.resolve() != path and path.exists():
                folder = path.resolve() if path == package else path.resolve().parent
                yield folder
                # A folder of uv's cache, in which a package's libraries are beside it.
                if any(each.suffix == ".dist-info" for each in _files(folder.parent)):
                    yield folder.parent


def _files(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _text(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            return opened.read(_MOST_BYTES)
    except OSError:
        return ""
