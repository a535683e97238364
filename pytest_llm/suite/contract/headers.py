"""Structs of a build's headers: fields from their text, layouts from a C compiler."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_COMPILERS = ("cc", "gcc", "clang")
_SECONDS = 120
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|^\s*#[^\n]*", re.DOTALL | re.MULTILINE)
_ANONYMOUS = re.compile(r"\b(?:union|struct)\s*\{([^{}]*)\}\s*;")
_FUNCTION_POINTER = re.compile(r"\(\s*\*\s*(\w+)\s*\)")
_NAME = re.compile(r"(\w+)\s*(?:\[[^\]]*\]\s*)*$")


class Place(NamedTuple):
    """The offset and size of a field, in bytes."""

    offset: int
    size: int


class Layout(NamedTuple):
    """The size of a struct and its fields, in the order of the header."""

    size: int
    fields: Mapping[str, Place]


class HeadersError(Exception):
    """The structs cannot be laid out; the message is the reason."""


def compiler() -> str:
    wanted = [each for each in (os.environ.get("CC"), *_COMPILERS) if each]
    found = next(filter(None, map(shutil.which, wanted)), None)
    if found is None:
        raise HeadersError(f"there is no C compiler ({', '.join(wanted)}) to lay the headers' structs out")
    return found


def find_header(folders: Sequence[Path]) -> Path:
    found = next((folder / "llama.h" for folder in folders if (folder / "llama.h").is_file()), None)
    if found is None:
        raise HeadersError(f"the build has no llama.h, looked for in {' and '.join(map(str, folders))}")
    return found


def fields_of(source: str, struct: str) -> list[str]:
    """Return the names of a struct's fields, with those of anonymous unions; none if it is undefined."""
    plain = _COMMENT.sub("", source)
    start = re.search(rf"\bstruct\s+{struct}\s*\{{", plain)
    if start is None:
        return []
    body = _body(plain, start.end())
    while _ANONYMOUS.search(body):
        body = _ANONYMOUS.sub(r"\1", body)
    return [name for declaration in body.split(";") for name in _declared(declaration)]


def lay_out(header: Path, structs: Mapping[str, Sequence[str]], folder: Path) -> dict[str, Layout]:
    """Compile and run a program that prints the layouts of structs; raise HeadersError if it cannot."""
    source, program = folder / "layout.c", folder / "layout"
    source.write_text(_program(header.name, structs), encoding="utf-8")
    _run(
        [compiler(), "-w", f"-I{header.parent}", "-o", str(program), str(source)],
        "the headers do not compile",
    )
    layouts: dict[str, Layout] = {}
    places: dict[str, dict[str, Place]] = {}
    for line in _run([str(program)], "the program that lays structs out does not run").splitlines():
        struct, field, offset, size = line.split()
        if field == "=":
            places[struct] = {}
            layouts[struct] = Layout(int(size), places[struct])
        else:
            places[struct][field] = Place(int(offset), int(size))
    return layouts


def _body(text: str, start: int) -> str:
    """Return the text up to the brace that closes the one before ``start``."""
    depth = 1
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return text[start:end]
    return ""


def _declared(declaration: str) -> list[str]:
    pointer = _FUNCTION_POINTER.search(declaration)
    if pointer is not None:
        return [pointer.group(1)]
    names = [_NAME.search(each) for each in declaration.strip().split(",")]
    return [name.group(1) for name in names if name is not None]


def _program(header: str, structs: Mapping[str, Sequence[str]]) -> str:
    lines = []
    for struct, fields in structs.items():
        lines.append(f'printf("{struct} = 0 %zu\\n", sizeof(struct {struct}));')
        lines += [
            f'printf("{struct} {field} %zu %zu\\n", offsetof(struct {struct}, {field}), '
            f"sizeof(((struct {struct} *)0)->{field}));"
            for field in fields
        ]
    body = "\n".join(lines)
    includes = f'#include <stddef.h>\n#include <stdio.h>\n#include "{header}"\n'
    return f"{includes}int main(void) {{\n{body}\nreturn 0;\n}}\n"


def _run(command: Sequence[str], trouble: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HeadersError(f"{trouble}: {error}") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise HeadersError(f"{trouble}: {(lines or [f'exit status {done.returncode}'])[0]}")
    return done.stdout
