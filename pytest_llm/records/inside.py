"""The llama-server that a tool has started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pytest_llm.records.subject import JSON


@dataclass(frozen=True)
class ServerInside:
    """A process of llama-server.

    Attributes:
        program: Its path.
        flags: Its arguments, without those that say where it listens and which model it has.
        options: The load options that the flags state.
        commit: Of llama.cpp, as it tells it; "" if it does not.
        model: The path of the file that it has loaded; "" if that is not known.
    """

    program: str
    flags: tuple[str, ...]
    options: Mapping[str, JSON] = field(default_factory=dict)
    commit: str = ""
    model: str = ""


@runtime_checkable
class HasServerInside(Protocol):
    """A subject whose model is in a server that another program has started."""

    @property
    def inside(self) -> ServerInside | None:
        """That server, after ``load``; None where it cannot be seen."""
