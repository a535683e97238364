"""``pytest-llm agree``: whether an adapter's picture of a tool holds for the one that runs here."""

from __future__ import annotations

import random
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.builds.provider import Provider
from pytest_llm.cli import command, project
from pytest_llm.engines import DEFAULT
from pytest_llm.engines.servers.client import AnswerError
from pytest_llm.engines.servers.engine import ServerEngine
from pytest_llm.engines.servers.prompts import Prompts
from pytest_llm.errors import EngineError, UsageError
from pytest_llm.machine import fingerprint
from pytest_llm.plugin.homes import Models
from pytest_llm.records import Installed, LoadOptions, Subject

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from pytest_llm.engines.servers.endpoint import Endpoint
    from pytest_llm.records import Model

_TEXT = command.Text(
    summary="check an adapter against the tool that runs here",
    more="Asks Ollama, LM Studio, text-generation-webui or another server for everything that measuring it "
    "rests on, with a small model, and says what is otherwise than expected. It takes a minute.",
    statuses="0 if all agrees, 1 if something differs",
    example="pytest-llm agree ollama smollm2-135m",
)
_TIMEOUT = 600.0
_PROMPT, _TOKENS = 48, 24
_SENTENCE = "The quick brown fox jumps over the lazy dog, and the river flows on to the sea."


def add_to(parser: argparse.ArgumentParser) -> None:
    command.describe(parser, _TEXT, _agree)
    parser.add_argument("tool", metavar="TOOL", help="a build: ollama, lmstudio, textgen, openai@URL")
    parser.add_argument("model", metavar="MODEL", help="name, path or source of a model")
    command.add_cache_to(parser, "which holds models")


def _agree(arguments: argparse.Namespace) -> command.Answer:
    here = Path.cwd()
    home, cache = project.home(here), project.cache(arguments.cache, here)
    models = Models(cache, home, show=command.on_progress)
    models.store(home).check(arguments.model)
    cores = fingerprint.usable_cores()
    options = LoadOptions(n_ctx=1024, n_threads=cores, n_threads_batch=cores)
    build = project.build(arguments.tool, here)
    subject = Subject(models.normalize(home, "", arguments.model), build, options)
    model = models.resolve_subject(subject)
    with closing(Provider(cache, _TIMEOUT, "on", home=home)) as provider:
        engine = provider.engine(build, command.on_progress)
        if not isinstance(engine, ServerEngine):
            raise UsageError(f"{build} is measured in a process of its own: name a tool, such as ollama")
        counted = _own_count(provider, subject, model)
        checks = _Checks()
        with closing(engine.connect()) as endpoint:
            _ask(engine, endpoint, model, options, counted, checks)
    failed = [told for _, told, good in checks.found if not good]
    lines = [f"{'ok     ' if good else 'differs'} {name}: {told}" for name, told, good in checks.found]
    last = "agrees" if not failed else f"differs in {len(failed)} of {len(checks.found)}"
    document = {
        "checks": [{"name": name, "told": told, "agrees": good} for name, told, good in checks.found],
        "agrees": not failed,
    }
    return command.Answer(int(bool(failed)), [*lines, f"{build}: {last}"], document)


class _Checks:
    """What was asked, and what became of it."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str, bool]] = []

    def check(self, name: str, ask: Callable[[], tuple[str, bool]]) -> bool:
        """Note an answer; one that is an error differs. Return if it is as expected."""
        try:
            told, good = ask()
        except (EngineError, AnswerError) as error:
            told, good = str(error), False
        self.found.append((name, told, good))
        return good


def _ask(
    engine: ServerEngine,
    endpoint: Endpoint,
    model: Model,
    options: LoadOptions,
    counted: int | None,
    checks: _Checks,
) -> None:
    before: list[str] = []

    def inventory() -> tuple[str, bool]:
        before.extend(endpoint.inventory())
        return f"{len(before)} before", True

    if not checks.check("version", lambda: (str(endpoint.describe()), True)):
        return
    checks.check("what it has", inventory)

    def load() -> tuple[str, bool]:
        endpoint.load(model, options)
        told = ", ".join(f"{name}={value}" for name, value in endpoint.effective_options().items())
        return f"{model.name}{f', with {told}' if told else ''}", True

    if not checks.check("load", load):
        return
    _ask_for_tokens(endpoint, counted, checks)

    def left() -> tuple[str, bool]:
        endpoint.release()
        engine.close()
        after = [*endpoint.inventory()]
        more, fewer = sorted({*after} - {*before}), sorted({*before} - {*after})
        told = [*(f"{each} is left" for each in more), *(f"{each} is gone" for each in fewer)]
        return ", ".join(told) or "as before", not told

    checks.check("what it has afterwards", left)


def _ask_for_tokens(endpoint: Endpoint, counted: int | None, checks: _Checks) -> None:
    prompts = Prompts(endpoint.count, random.Random(1))

    def count() -> tuple[str, bool]:
        theirs = endpoint.count(_SENTENCE)
        if counted is None:
            return f"{theirs} tokens; llama-cpp-python is not here to count them as well", True
        return f"{theirs} tokens, {counted} by llama.cpp", theirs == counted

    def fit() -> tuple[str, bool]:
        found = prompts.fit(_PROMPT)
        return f"a text of {_PROMPT} tokens{'' if found else ' cannot be made of words'}", found

    checks.check("tokens of a text", count)
    if not checks.check("prompts of so many tokens", fit):
        return

    def stream() -> tuple[str, bool]:
        answer = endpoint.stream(prompts.write(), _PROMPT, _TOKENS)
        usage = answer.usage
        rising = all(one <= other for one, other in pairwise(answer.arrivals))
        good = len(answer.arrivals) == _TOKENS and usage.prompt in (None, _PROMPT) and rising
        return (
            f"{len(answer.arrivals)} of {_TOKENS} tokens, the first after {answer.arrivals[0] * 1e3:.1f} ms; "
            f"by its count {usage.generated}, prompt {usage.prompt}",
            good,
        )

    def again() -> tuple[str, bool]:
        text = prompts.write()
        first, second = (endpoint.stream(text, _PROMPT, 1).arrivals[0] for _ in range(2))
        other = endpoint.stream(prompts.write(), _PROMPT, 1).arrivals[0]
        return (
            f"a prompt sent twice took {second / first:.2f} times as long to its first token, a fresh one "
            f"{other / first:.2f} times",
            True,
        )

    checks.check("a streamed answer", stream)
    checks.check("cached prompts", again)
    checks.check("greedy text", lambda: (repr(endpoint.greedy("The capital of France is", 8)), True))


def _own_count(provider: Provider, subject: Subject, model: Model) -> int | None:
    """Return how many tokens llama.cpp makes of the sentence; None without llama-cpp-python."""
    build = Installed(DEFAULT)
    own = Subject(subject.model, build, LoadOptions(n_ctx=256))
    try:
        with closing(provider.engine(build, command.on_progress).start_generation(own, model)) as loaded:
            return len(loaded.tokenize(_SENTENCE))
    except EngineError:
        return None
