"""``pytest-llm overhead``: what Ollama, LM Studio or text-generation-webui cost over llama-server."""

from __future__ import annotations

import os
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.builds.provider import Provider
from pytest_llm.checks.overhead import Cost, costs, lines, not_split, settings_apart
from pytest_llm.cli import command, project
from pytest_llm.engines import LLAMA_SERVER
from pytest_llm.errors import EngineError, UsageError
from pytest_llm.machine import fingerprint
from pytest_llm.machine.environment import measurement_context
from pytest_llm.measure import TimeLimits
from pytest_llm.measure.inside import server_inside, without_tool
from pytest_llm.measure.plan import SESSIONS
from pytest_llm.measure.variants import measure_variants
from pytest_llm.plugin.declared import fitted, read_load_options, read_workload
from pytest_llm.plugin.homes import Models
from pytest_llm.records import Campaign, LoadOptions, Subject
from pytest_llm.records.side import Side
from pytest_llm.reports.progress import ProgressDisplay
from pytest_llm.stats.sequential import rule_for
from pytest_llm.system.lock import PATIENCE, MeasuringLock, lock_path

if TYPE_CHECKING:
    import argparse

    from pytest_llm.measure.inside import SeenInside
    from pytest_llm.records import BuildReference, Run
    from pytest_llm.records.protocols import Engine
    from pytest_llm.stats.differences import Difference

_TEXT = command.Text(
    summary="what a tool around llama.cpp costs over llama-server",
    more="Measures whole requests of both on the same file, in turns, and a third server with the flags of "
    "the llama-server inside of the tool, which splits the difference into wrapper and settings.",
    statuses="0; 1 if the difference could not be split",
    example="pytest-llm overhead ollama ollama:llama3.1:8b",
)
_TIMEOUT = 600.0
_REQUESTS = 3  # of each, a session


def add_to(parser: argparse.ArgumentParser) -> None:
    command.describe(parser, _TEXT, _overhead)
    add = parser.add_argument
    add("tool", metavar="TOOL", help="a build: ollama, lmstudio, textgen, each alone or @http://HOST:PORT")
    add("model", metavar="MODEL", help="name, path or source of a model")
    add("--against", metavar="BUILD", default=LLAMA_SERVER, help="the server (default: llama-server on PATH)")
    add("--load", metavar="OPTION=VALUE", action="append", default=[], help="load options; may be repeated")
    add("--prompt", metavar="N", type=int, default=128, help="tokens of the prompt (default: 128)")
    add("--generate", metavar="N", type=int, default=64, help="tokens to generate (default: 64)")
    add("--effort", choices=[*SESSIONS], default="normal", help="how many sessions (default: normal)")
    command.add_cache_to(parser, "which holds models and builds")


def _overhead(arguments: argparse.Namespace) -> command.Answer:
    from pytest_llm.cli.compare import _values

    here = Path.cwd()
    home, cache = project.home(here), project.cache(arguments.cache, here)
    models = Models(cache, home, show=command.on_progress)
    models.store(home).check(arguments.model)
    workload = read_workload({"prompt_tokens": arguments.prompt, "generate_tokens": arguments.generate})
    cores = fingerprint.usable_cores()
    given = {name: values[0] for name, values in map(_values, arguments.load)}
    defaults = LoadOptions(n_ctx=2048, n_threads=cores, n_threads_batch=cores)
    options = fitted(read_load_options(given, defaults, "--load"), workload)
    tool, server = (project.build(each, here) for each in (arguments.tool, arguments.against))
    if server.engine != LLAMA_SERVER or tool.engine == LLAMA_SERVER:
        raise UsageError("name a tool, and llama-server with --against: pytest-llm overhead ollama MODEL")
    name = models.normalize(home, "", arguments.model)
    subjects = [Subject(name, each, options) for each in (tool, server)]
    lock = MeasuringLock(lock_path(os.environ))
    with closing(Provider(cache, _TIMEOUT, "on", home=home)) as provider:

        def side(subject: Subject) -> Side:
            engine = provider.engine(subject.build, command.on_progress)
            return Side(subject, models.resolve_subject(subject), engine)

        lock.acquire(PATIENCE, command.on_progress)
        try:
            ours, theirs = map(side, subjects)
            inside = server_inside(ours)

            def engine_of(build: BuildReference) -> Engine:
                return provider.engine(build, command.on_progress)

            servers = without_tool(theirs, inside, engine_of) if inside is not None else (theirs,)
            sides = (ours, *servers)
            campaign = Campaign(
                subjects[0],
                (workload,),
                rule_for(arguments.effort, 1).looks[0],
                subjects[1],
                requests={workload: _REQUESTS},
            )
            context = measurement_context(ProgressDisplay(command.on_progress), TimeLimits(), time.monotonic)
            found = measure_variants(campaign, sides, rule_for(arguments.effort, 1), context)[workload]
        finally:
            lock.release()
    if isinstance(found, EngineError):
        raise found
    bare = found[1].candidate if inside is not None else None
    return _answer(found[0].candidate, found[0].reference, bare, inside)


def _answer(tool: Run, server: Run, bare: Run | None, inside: SeenInside | None) -> command.Answer:
    found = costs(tool, server, bare)
    asked = asdict(server.subject.load_options)
    apart = settings_apart(tool.effective_options, {**asked, **server.effective_options})
    told = [
        f"{tool.build} against {server.build}, {tool.model.name}, {len(tool.sessions)} sessions",
        *(f"  {each}" for each in lines(found)),
        f"  settings that differ: {', '.join(apart) or 'none that is known'}",
    ]
    if inside is None:
        told.append(f"  {not_split(tool.subject.build.engine)}")
    else:
        told.append(f"  the server inside was started with: {' '.join(inside.server.flags)}")
    document = {
        "tool": str(tool.build),
        "server": str(server.build),
        "costs": [_document(each) for each in found],
        "settings": apart,
        "flags": list(inside.server.flags) if inside is not None else None,
    }
    return command.Answer(int(inside is None), told, document)


def _document(cost: Cost) -> dict[str, Any]:
    def of(found: Difference | None) -> dict[str, Any] | None:
        return None if found is None else {"seconds": found.mean, "interval": found.interval}

    return {
        "what": cost.what,
        "tool": cost.tool,
        "server": cost.server,
        "total": of(cost.total),
        "wrapper": of(cost.wrapper),
        "settings": of(cost.settings),
    }
