"""Chat templates, which are programs of the model's author, rendered in a sandbox with limits.

As llama-cpp-python renders them for its users: by jinja2 with an immutable sandbox.
"""

from __future__ import annotations

import datetime
import importlib
import re
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bindings import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 2.0
MAX_BYTES = 2**20  # of a template, and elements of a value that it computes
MAX_RENDERED = 2**17  # characters; an answer holds them all, escaped
MAX_MEMORY = 2**28  # bytes that rendering may add to the process
_MAX_BITS = 4096  # of a power
# Older ones have holes in their sandbox: CVE-2024-56201, CVE-2024-56326, CVE-2025-27516.
_OLDEST = (3, 1, 6)
# Templates may write the day, and what they write is compared with what they wrote before.
_TODAY = datetime.datetime(2025, 1, 1)


class UnsafeError(Exception):
    """A template reaches for an attribute that the sandbox keeps from it."""


class _TooLongError(BaseException):
    """A template takes too long; what it calls cannot catch this."""


def render(template: str, content: str, special: dict[str, str]) -> str:
    """Return a template around a user's message.

    Args:
        template: The model's.
        content: The message.
        special: ``bos_token`` and ``eos_token``.

    Raises:
        UnsafeError: The template reaches for what the sandbox keeps from it.
        RefusedError: There is no jinja2 that is safe, or the template is broken, or exceeds a limit.
    """
    jinja2 = _jinja2()
    if len(template.encode()) > MAX_BYTES:
        raise _not_rendered(f"it has more than {MAX_BYTES} bytes")
    try:
        with _limits():
            made = _environment(jinja2).from_string(template)
            pieces, size = [], 0
            for piece in made.generate(
                messages=[{"role": "user", "content": content}], add_generation_prompt=True, **special
            ):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_RENDERED:
                    raise _not_rendered(f"it renders more than {MAX_RENDERED} characters")
            return _text("".join(pieces))
    except jinja2.exceptions.SecurityError as error:
        raise UnsafeError(_text(f"the chat template is not rendered: {error}")) from None
    except _TooLongError:
        raise _not_rendered(f"it takes more than {SECONDS:g} s") from None
    except MemoryError:
        raise _not_rendered(f"it takes more than {MAX_MEMORY >> 20} MiB") from None
    except RefusedError:
        raise
    except Exception as error:  # a template can raise anything
        raise _not_rendered(f"{type(error).__name__}: {error}"[:200]) from None


def _not_rendered(reason: str) -> RefusedError:
    message = f"the chat template is not rendered: {' '.join(reason.split())}"
    return RefusedError("uncovered", _text(message))


def _text(found: str) -> str:
    """Return a text without halves of surrogate pairs, which can be neither printed nor stored."""
    return found.encode(errors="replace").decode()


def _jinja2() -> Any:
    try:
        module = importlib.import_module("jinja2")
        importlib.import_module("jinja2.sandbox")
        importlib.import_module("jinja2.ext")
    except ImportError:
        raise _not_rendered(f"{sys.executable} has no jinja2: install jinja2>=3.1.6 there") from None
    version = str(getattr(module, "__version__", "of an unknown version"))
    if tuple(map(int, re.findall(r"\d+", version)[:3])) < _OLDEST:
        raise _not_rendered(
            f"{sys.executable} has jinja2 {version}, whose sandbox has holes: install jinja2>=3.1.6 there"
        )
    return module


def _environment(jinja2: Any) -> Any:
    class Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):  # type: ignore[misc]
        intercepted_binops = frozenset({"*", "**"})

        def unsafe_undefined(self, value: object, attribute: str) -> Any:
            # jinja2 itself raises only if the attribute is used.
            raise jinja2.exceptions.SecurityError(
                f"it reaches for the attribute {attribute!r} of {type(value).__name__}"
            )

        def call_binop(self, _context: Any, operator: str, left: Any, right: Any) -> Any:
            return (_power if operator == "**" else _product)(left, right)

    made = Environment(
        trim_blocks=True, lstrip_blocks=True, autoescape=False, extensions=["jinja2.ext.loopcontrols"]
    )
    made.globals["raise_exception"] = _raise
    made.globals["strftime_now"] = _TODAY.strftime
    return made


def _product(left: Any, right: Any) -> Any:
    for sequence, count in ((left, right), (right, left)):
        if hasattr(sequence, "__len__") and isinstance(count, int) and len(sequence) * count > MAX_BYTES:
            raise ValueError(f"a product of more than {MAX_BYTES} elements")
    return left * right


def _power(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > _MAX_BITS:
        raise ValueError(f"a power of more than {_MAX_BITS} bits")
    return left**right


def _raise(message: str) -> None:
    raise ValueError(message)


@contextmanager
def _limits() -> Iterator[None]:
    """Limit the time and the memory that this process may use meanwhile."""

    def end(*_: object) -> None:
        raise _TooLongError

    with _memory_limit():
        before = signal.signal(signal.SIGALRM, end)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


@contextmanager
def _memory_limit() -> Iterator[None]:
    used = re.search(r"VmData:\s*(\d+) kB", _status())
    if used is None:
        yield
        return
    import resource  # some systems have none

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = int(used[1]) * 1024 + MAX_MEMORY
    allowed = [each for each in (soft, wanted) if each != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(allowed), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _status() -> str:
    try:
        return Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
