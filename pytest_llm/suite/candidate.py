"""The build under test."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_llm import engines
from pytest_llm.builds.provider import Provider
from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.errors import EngineError, EngineMissingError, LoadRefusedError, ModelError
from pytest_llm.plugin.messages import message
from pytest_llm.plugin.progress import progress_of
from pytest_llm.plugin.state import bench_of
from pytest_llm.records import LoadOptions, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_llm.engines.llama_cpp_python.client import LoadedModel
    from pytest_llm.plugin.homes import Models
    from pytest_llm.records import Build, BuildReference, Model

_MODEL = "smollm2-135m"
# Small, so that loading is quick; one thread, so that a busy machine does not matter.
_SMALL = {"n_ctx": 256, "n_batch": 128, "n_ubatch": 128, "n_threads": 1, "n_threads_batch": 1}


def not_covered(reason: str) -> NoReturn:
    pytest.skip(f"not covered: {reason}")


def broken(text: str, log: tuple[str, ...] = ()) -> NoReturn:
    """Fail a test with a text and llama.cpp's last lines, without a traceback."""
    # pytest.fail would also report the exception that is being handled.
    raise pytest.fail.Exception("\n  | ".join([text, *log]), pytrace=False) from None


@contextmanager
def engine_errors_end_the_test() -> Iterator[None]:
    """Turn an error of the engine into a failed or skipped test with the same message."""
    try:
        yield
    except EngineMissingError as error:
        not_covered(str(error))
    except EngineError as error:
        broken(message(error))


@dataclass(frozen=True)
class Accepted:
    """An accepted load: the effective options, and llama.cpp's messages about devices and buffers."""

    effective_options: Mapping[str, Any]
    messages: Sequence[str]


@dataclass(frozen=True)
class Refused:
    """A refused load: a message of one line, and llama.cpp's last lines if it was asked at all."""

    message: str
    log: tuple[str, ...]


class Candidate:
    """A build of llama-cpp-python in another process. Engine errors end the test."""

    def __init__(self, engine: LlamaCppPython, reference: BuildReference, models: Models, model: str) -> None:
        self._reference = reference
        self._engine = engine
        self._models = models
        self._model_name = model
        self._missing: dict[str, EngineMissingError] = {}

    def describe(self) -> Build:
        """Return the build's description; raise EngineError if it cannot be imported."""
        return self._engine.describe()

    def symbols(self, module: str) -> Mapping[str, Any]:
        """Return the functions that a module of the binding declares, see ``worker/introspection.py``."""
        return self._ask("symbols", module=module)

    @cached_property
    def names(self) -> Mapping[str, str]:
        """The build's name of each function that the worker needs; "" if it has none."""
        return self._ask("names")

    @cached_property
    def structs(self) -> Mapping[str, Any]:
        """The structs that the binding declares, and the folders of the library's headers."""
        return self._ask("structs")

    @cached_property
    def defaults(self) -> Mapping[str, Mapping[str, float]]:
        """llama.cpp's default values of parameter structs."""
        return self._ask("defaults")

    @cached_property
    def model(self) -> Model:
        """The model to load; without one, the test is not covered."""
        try:
            return self._models.resolve(self._model_name)
        except ModelError as error:
            not_covered(str(error))

    def load(self, **options: Any) -> Accepted | Refused:
        """Load the model with small defaults and these load options."""
        try:
            with self.loaded(**options) as loaded:
                return Accepted(loaded.effective_options(), loaded.messages())
        except LoadRefusedError as error:
            return Refused(str(error), error.log)

    @contextmanager
    def loaded(self, *, generation: bool = False, **options: Any) -> Iterator[LoadedModel]:
        """Keep the model loaded with small defaults and these options; raise LoadRefusedError if refused."""
        chosen = LoadOptions(**{**_SMALL, **options})
        subject = Subject(self._model_name, self._reference, chosen)
        start = self._engine.start_generation if generation else self._engine.start
        with self._asked("load"):
            loaded = start(subject, self.model)
        try:
            try:
                loaded.load()
            except LoadRefusedError:
                raise
            except EngineError as error:
                broken(message(error))
            yield loaded
        finally:
            loaded.close()

    def _ask(self, operation: str, **arguments: str) -> Mapping[str, Any]:
        with self._asked(" ".join([operation, *arguments.values()])):
            found: Mapping[str, Any] = self._engine.ask_once(operation, **arguments)
        return found

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        with engine_errors_end_the_test():
            if what in self._missing:  # no process is started for each of a hundred tests to say so
                raise self._missing[what]
            try:
                yield
            except EngineMissingError as error:
                self._missing[what] = error
                raise


@contextmanager
def candidate_of(config: pytest.Config) -> Iterator[Candidate]:
    """Provide the build of ``--llm-candidate``, made first if necessary."""
    bench = bench_of(config)
    reference = bench.settings.candidate
    if reference.engine != engines.DEFAULT:
        not_covered(f"this suite tests builds of {engines.DEFAULT}, the candidate is {reference}")
    model = (*bench.settings.models, _MODEL)[0]
    settings = bench.settings
    how = settings.timeout, settings.sandbox
    with closing(Provider(settings.cache, *how, home=settings.home)) as provider:
        with engine_errors_end_the_test():
            engine = provider.engine(reference, progress_of(config).preparing)
        if not isinstance(engine, LlamaCppPython):
            not_covered(f"{engines.DEFAULT} cannot load the library of {reference}")
        yield Candidate(engine, reference, bench.homes.models, model)
