"""Text from outside - models, programs, files - made safe to show.

A terminal obeys control characters, bidirectional overrides reorder what a reader sees, and CI runners obey
commands in a log: GitHub ``::name::`` at the beginning of a line and ``##[name]`` anywhere, Azure ``##vso[``,
TeamCity ``##teamcity[``.
"""

from __future__ import annotations

import re
from typing import Any

LONGEST = 500  # characters of one piece of text, in a message or a line of a log
LONGEST_LINE = 4000  # of a whole message, or a line of a report
_LONGEST_VALUE = 60  # of a value that somebody wrote

_GITHUB = (
    "add-mask|add-matcher|add-path|debug|echo|endgroup|error|group|notice|remove-matcher|save-state|set-env"
    "|set-output|stop-commands|warning"
)
_COMMANDS = re.compile(
    rf"#(?=#\[|#vso\[|#teamcity\[)|\A\s*:(?=:)|:(?=:(?:{_GITHUB})\b[^:]*::)", re.IGNORECASE
)
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_MARKDOWN = re.compile(r"[\\`*\[\]<|]")
_LEFT_OUT = "[…]"


def clean(text: object, limit: int = LONGEST) -> str:
    r"""Return a text on one line, of at most ``limit`` characters, that no terminal and no CI runner obeys.

    What cannot be printed is shown as an escape, ``\x1b``; a text that is too long keeps both ends.
    """
    written = str(text)
    if len(written) > limit:
        kept = max(0, limit - len(_LEFT_OUT))
        written = written[: kept - kept // 3] + _LEFT_OUT + written[len(written) - kept // 3 :]
    if not written.isprintable():
        written = "".join(map(_printable, written))
    return without_commands(written)


def without_commands(text: str) -> str:
    """Return a text in which no CI runner finds a command."""
    return _COMMANDS.sub(lambda found: f"{found[0]} ", text)


def visible(value: Any) -> Any:
    """Return a JSON value whose texts and names have escapes in the place of hidden characters."""
    if isinstance(value, str):
        return _HIDDEN.sub(lambda found: _escape(found[0]), value)
    if isinstance(value, list):
        return [visible(each) for each in value]
    if isinstance(value, dict):
        return {visible(name): visible(each) for name, each in value.items()}
    return value


def clean_lines(text: str) -> str:
    """Return a text of several lines with each of them cleaned."""
    return "\n".join(clean(line, LONGEST_LINE) for line in text.split("\n"))


def json_without_commands(text: str) -> str:
    """Return the same JSON, written so that no CI runner finds a command in it."""
    return text.replace("##", r"#\u0023")


def is_plain(text: str) -> bool:
    """Return if a name has no control characters, direction marks or halves of surrogate pairs."""
    return not _HIDDEN.search(text) and "\n" not in text and "\t" not in text


def one_line(text: object, limit: int = LONGEST) -> str:
    """Return a cleaned text without superfluous spaces."""
    return " ".join(clean(text, limit).split())


def markdown(text: object) -> str:
    """Return a cleaned text in which Markdown sees no link, image, code, table or HTML."""
    return _MARKDOWN.sub(r"\\\g<0>", one_line(text, LONGEST_LINE))


def quoted(text: object, limit: int = LONGEST) -> str:
    """Return a cleaned text in quotation marks."""
    return f"'{clean(text, limit)}'"


def as_written(value: object) -> str:
    """Return a value as Python writes it, cleaned and short."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"
    return clean(text, _LONGEST_VALUE)


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    if character.isspace():
        return " "
    return _escape(character)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
