"""The build under test: what it answers, and what becomes of loading a model with it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_llm.errors import EngineError, EngineMissingError, LoadRefusedError, ModelError
from pytest_llm.plugin.messages import message
from pytest_llm.records import LoadOptions, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_llm.engines.llama_cpp_python.client import LoadedModel
    from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
    from pytest_llm.models import ModelStore
    from pytest_llm.records import Build, BuildReference, Model

# Small, so that a load takes a moment; one thread, so that a busy machine does not matter.
_SMALL = {"n_ctx": 256, "n_batch": 128, "n_ubatch": 128, "n_threads": 1, "n_threads_batch": 1}


def not_covered(reason: str) -> NoReturn:
    """Skip a test, with the reason."""
    pytest.skip(f"not covered: {reason}")


def broken(text: str) -> NoReturn:
    """Fail a test, with nothing but a text."""
    # Not `pytest.fail`: where an error is being told, its report would tell of two.
    raise pytest.fail.Exception(text, pytrace=False) from None


@contextmanager
def told() -> Iterator[None]:
    """Let an error of the engine end the test in its own words."""
    try:
        yield
    except EngineMissingError as error:
        not_covered(str(error))
    except EngineError as error:
        broken(message(error))


@dataclass(frozen=True)
class Accepted:
    """A load that was accepted: the options as they really are, and all that llama.cpp wrote."""

    effective_options: Mapping[str, Any]
    log: str


@dataclass(frozen=True)
class Refused:
    """A load that was refused.

    Attributes:
        message: One line.
        log: llama.cpp's last lines; nothing if it was not even asked.
    """

    message: str
    log: tuple[str, ...]


class Candidate:
    """A build of llama-cpp-python, looked at from another process."""

    def __init__(
        self, engine: LlamaCppPython, reference: BuildReference, models: ModelStore, model: str
    ) -> None:
        """Remember what to ask; nothing is started yet.

        Args:
            engine: What runs the build.
            reference: The build.
            models: Where the model comes from.
            model: What to load: a small one will do.
        """
        self._reference = reference
        self._engine = engine
        self._models = models
        self._model_name = model

    def describe(self) -> Build:
        """Return what the build says of itself.

        Raises:
            EngineError: It cannot be imported.
        """
        return self._engine.describe()

    def symbols(self, module: str) -> Mapping[str, Any]:
        """Return what a module of the binding declares, see ``worker/introspection.py``."""
        found: Mapping[str, Any] = self._ask("symbols", module=module)
        return found

    @cached_property
    def names(self) -> Mapping[str, str]:
        """What the build calls each function that the worker needs, "" where it has none."""
        found: Mapping[str, str] = self._ask("names")
        return found

    @cached_property
    def structs(self) -> Mapping[str, Any]:
        """The structs that the binding declares, and where headers may lie that describe the library."""
        found: Mapping[str, Any] = self._ask("structs")
        return found

    @cached_property
    def defaults(self) -> Mapping[str, Mapping[str, float]]:
        """What llama.cpp puts into structs of parameters."""
        found: Mapping[str, Mapping[str, float]] = self._ask("defaults")
        return found

    @property
    def model(self) -> Model:
        """The model that is loaded; where there is none, the test is not covered."""
        return self._model

    def load(self, **options: Any) -> Accepted | Refused:
        """Load the model, small, with these load options besides."""
        try:
            with self.loaded(**options) as loaded:
                return Accepted(loaded.effective_options(), loaded.log())
        except LoadRefusedError as error:
            return Refused(str(error), error.log)

    @contextmanager
    def loaded(self, *, talking: bool = False, **options: Any) -> Iterator[LoadedModel]:
        """Have the model loaded, small, with these load options besides.

        Raises:
            LoadRefusedError: llama.cpp refused; what else goes wrong ends the test.
        """
        chosen = LoadOptions(**{**_SMALL, **options})
        subject = Subject(self._model_name, self._reference, chosen)
        start = self._engine.start_generation if talking else self._engine.start
        with told():
            loaded = start(subject, self._model)
        try:
            yield _load(loaded)
        finally:
            loaded.close()

    @cached_property
    def _model(self) -> Model:
        try:
            return self._models.resolve(self._model_name)
        except ModelError as error:
            not_covered(str(error))

    def _ask(self, operation: str, **arguments: str) -> Any:
        with told():
            return self._engine.ask_once(operation, **arguments)


def _load(loaded: LoadedModel) -> LoadedModel:
    try:
        loaded.load()
    except LoadRefusedError:
        raise
    except EngineError as error:
        broken(message(error))
    return loaded
