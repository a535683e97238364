"""A pair of a tool and a server, and a third one in the same sessions: a server with the tool's own flags."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.measure.limits import Stopwatch
from pytest_llm.measure.sessions import measure, run_sessions
from pytest_llm.measure.variants import VariantsState
from pytest_llm.models.copies import model_at
from pytest_llm.records import Command, PairedRun
from pytest_llm.records.inside import HasServerInside
from pytest_llm.records.side import Side

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_llm.errors import EngineError
    from pytest_llm.measure.rounds import MeasurementContext
    from pytest_llm.records import BuildReference, Campaign, Claim, Gate, Model, Workload
    from pytest_llm.records.inside import ServerInside
    from pytest_llm.records.protocols import Engine
    from pytest_llm.stats.sequential import Rule


class Split(NamedTuple):
    """What sessions of three show.

    Attributes:
        pair: The tool and the server; or the error that ended it.
        inside: A server with the tool's flags, and the same server; None if there is none.
    """

    pair: PairedRun | EngineError
    inside: PairedRun | None


class SeenInside(NamedTuple):
    """The server that a tool has started, and the model as it lies in the tool's own store."""

    server: ServerInside
    model: Model


def server_inside(tool: Side) -> SeenInside | None:
    """Return the server that a tool has started for its model; None where it or its files cannot be seen.

    Raises:
        EngineError: The tool does not load the model.
        ModelHashError: It has loaded other bytes.
    """
    with closing(tool.start()) as loaded:
        if not isinstance(loaded, HasServerInside):
            return None
        loaded.load()
        inside = loaded.inside
    if inside is None or not os.access(inside.program, os.X_OK):  # in a container, say
        return None
    model = model_at(tool.model, inside.model)
    return SeenInside(inside, model) if model is not None else None


def without_tool(
    server: Side, seen: SeenInside, engine_of: Callable[[BuildReference], Engine]
) -> tuple[Side, Side]:
    """Return two servers of our own: with the flags of one inside of a tool, and the one that was asked for.

    Both load the tool's very file: a copy of equal content may be faster or slower
    (``models/copies.py``).
    """
    build = Command(server.subject.build.engine, (seen.server.program, *seen.server.flags))
    alike = Side(replace(server.subject, build=build), seen.model, engine_of(build))
    return alike, server._replace(model=seen.model)


def measure_pair(
    campaign: Campaign,
    sides: tuple[Side, Side],
    rule: Rule,
    context: MeasurementContext,
    earlier: Sequence[tuple[PairedRun, Gate | Claim]],
    engine_of: Callable[[BuildReference], Engine] | None,
) -> Mapping[Workload, Split]:
    """Run sessions of a pair until it is decided; of a tool and a server, with a third one in them.

    Args:
        campaign: Of the pair.
        sides: The candidate and its reference.
        rule: See :func:`~pytest_llm.measure.sessions.measure`; so are the next two.
        context: Probes, clock, coin and limits.
        earlier: The questions of campaigns before this one.
        engine_of: Makes the third; None unless the candidate is a tool with the reference's engine inside.

    Raises:
        EngineError: An engine does not start, or refuses to load its subject.
    """
    inside = server_inside(sides[0]) if engine_of is not None else None
    if inside is None or engine_of is None:
        alone = measure(campaign, sides, rule, context, earlier)
        return {workload: Split(pair, None) for workload, pair in alone.items()}
    servers = without_tool(sides[1], inside, engine_of)
    return _measure_split(campaign, (sides[0], *servers), rule, context, earlier)


def _measure_split(
    campaign: Campaign,
    sides: tuple[Side, Side, Side],
    rule: Rule,
    context: MeasurementContext,
    earlier: Sequence[tuple[PairedRun, Gate | Claim]],
) -> Mapping[Workload, Split]:
    watch = Stopwatch(campaign, context.limits, context.clock)
    state = _SplitState(campaign, sides, rule, watch, context.control, earlier)
    run_sessions(campaign, state, context)
    found: dict[Workload, Split] = {}
    for workload, pairs in state.found().items():
        found[workload] = Split(*pairs) if isinstance(pairs, tuple) else Split(pairs, None)
    return found


class _SplitState(VariantsState):
    """Of three, the tool and the server are asked about, and nothing else."""

    asked_about = 1
