"""What a tool around llama.cpp costs: in time, and split into the wrapper and the settings it chose."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.checks.format import percent
from pytest_llm.engines import ENGINES
from pytest_llm.stats.differences import Difference, difference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.checks.findings import Finding
    from pytest_llm.records import JSON, Run, Session

_MILLISECONDS = 1e3


class Cost(NamedTuple):
    """Seconds that a tool takes longer than a bare server.

    Attributes:
        what: "a token", "the first token".
        tool: Seconds of the tool.
        server: Seconds of the server.
        total: Tool less server.
        wrapper: Tool less the server with the tool's flags; None where those are not known.
        settings: The server with the tool's flags less the server.
    """

    what: str
    tool: float
    server: float
    total: Difference
    wrapper: Difference | None = None
    settings: Difference | None = None


def costs(tool: Run, server: Run, inside: Run | None) -> list[Cost]:
    """Return what a tool costs, by the requests of sessions that all took part in.

    Args:
        tool: The runs of the tool.
        server: Of a server that this process started.
        inside: Of a server with the flags of the one inside of the tool.
    """
    found = []
    for what, read in (("a token", _token_seconds), ("the first token", _first_seconds)):
        ours, theirs = ([read(each) for each in run.sessions] for run in (tool, server))
        own = [read(each) for each in inside.sessions] if inside is not None else None
        found.append(
            Cost(
                what,
                median(ours),
                median(theirs),
                difference(ours, theirs),
                None if own is None else difference(ours, own),
                None if own is None else difference(own, theirs),
            )
        )
    return found


def _token_seconds(session: Session) -> float:
    """Return the median over requests of the mean seconds of a token, as a chunk may hold several."""
    gaps = session.series["inter_token"].values
    requests = len(session.series["first_token"].values)
    each = len(gaps) // requests
    return median(sum(gaps[at : at + each]) / each for at in range(0, len(gaps), each))


def _first_seconds(session: Session) -> float:
    return median(session.series["first_token"].values)


def lines(found: Sequence[Cost]) -> list[str]:
    """Return a sentence on each cost: "a token takes 2.10 ms longer (1.95 … 2.25), +10.6 %: wrapper …"."""
    told = []
    for cost in found:
        share = percent(cost.total.mean / cost.server)
        split = ""
        if cost.wrapper is not None and cost.settings is not None:
            split = f": wrapper {_signed(cost.wrapper)}, settings {_signed(cost.settings)}"
        told.append(
            f"{cost.what}: {_plain(cost.server)} → {_plain(cost.tool)}, {_signed(cost.total)}, {share}{split}"
        )
    return told


def notes(finding: Finding) -> list[str]:
    """Return what a tool costs over another engine that it was measured beside, split where that is known."""
    tool, inside = finding.run, finding.inside
    server = inside.reference if inside is not None else _other_engine(finding)
    if tool is None or server is None or any(not _streams(each) for each in (tool, server)):
        return []
    apart = settings_apart(tool.effective_options, server.effective_options)
    told = lines(costs(tool, server, inside.candidate if inside is not None else None))
    told += [f"settings that differ: {', '.join(apart)}"] if apart else []
    wraps = _wrapped_by(_engine(tool)) == _engine(server)
    return [*told, not_split(_engine(tool))] if wraps and inside is None else told


def _other_engine(finding: Finding) -> Run | None:
    """Return the reference's run if that is on another engine: two systems are compared, not two builds."""
    pairs = [each.run for each in finding.comparisons if each.run.candidate is finding.run]
    apart = [each.reference for each in pairs if _engine(each.reference) != _engine(each.candidate)]
    return apart[0] if apart else None


def _engine(run: Run) -> str:
    return run.subject.build.engine


def _wrapped_by(engine: str) -> str:
    entry = ENGINES.get(engine)  # a results file may be of other plugins
    return entry.wraps if entry is not None else ""


def not_split(engine: str) -> str:
    """Return why the cost of an engine is not split, and what would change that."""
    if wraps := _wrapped_by(engine):
        return f"the {wraps} inside cannot be seen, so this is not split: run on its machine, as its user"
    return f"{engine} starts no llama-server, so this is not split into wrapper and settings"


def _streams(run: Run) -> bool:
    return bool(run.sessions) and all(each.series.get("inter_token") for each in run.sessions)


def settings_apart(tool: Mapping[str, JSON], server: Mapping[str, JSON]) -> list[str]:
    """Return the settings of a tool that a server has otherwise: "n_batch 2048 → 512".

    What a tool leaves to llama.cpp is no setting of its own.
    """
    return [
        f"{name} {server[name]} → {value}"
        for name, value in tool.items()
        if name in server and value not in (server[name], "auto")
    ]


def _plain(seconds: float) -> str:
    return f"{seconds * _MILLISECONDS:.2f} ms"


def _signed(found: Difference) -> str:
    text = f"{found.mean * _MILLISECONDS:+.2f} ms"
    if found.interval is not None:
        low, high = (f"{each * _MILLISECONDS:+.2f}" for each in found.interval)
        text += f" ({low} … {high})"
    return text.replace("-", "−")
