"""Models that tests generate with: each loads once, and none stays loaded while something is measured."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from pytest_llm.checks import unmet
from pytest_llm.errors import EngineError, LoadRefusedError, NoModelNamedError, UsageError
from pytest_llm.records.generation import Completion, GGUFModel, Greedy, Position, Sampling, Token

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_llm.plugin.homes import Models
    from pytest_llm.records import JSON, Passage, Subject
    from pytest_llm.records.protocols import Engine, Progress


class _ReloadingModel(GGUFModel):
    """A model whose process starts when it is used; one that ended is started again by the next call."""

    def __init__(self, start: Callable[[], GGUFModel], check: Callable[[GGUFModel], None]) -> None:
        self._start = start
        self._check = check
        self._process: GGUFModel | None = None
        self.load()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.alive

    @property
    def pid(self) -> int:
        with self._loaded() as process:
            return process.pid

    def load(self) -> float:
        """Load the model unless it is loaded; return the seconds that took."""
        if self.alive:
            return 0.0
        self.close()
        process = self._start()
        try:
            seconds = process.load()
            self._check(process)
        except BaseException:
            process.close()
            raise
        self._process, self.info, self.build = process, process.info, process.build
        return seconds

    @contextmanager
    def _loaded(self) -> Iterator[GGUFModel]:
        if self._process is None:
            self.load()
        assert self._process is not None
        try:
            yield self._process
        except EngineError:
            if not self.alive:
                self.close()  # so that the next call starts another one
            raise

    def effective_options(self) -> Mapping[str, JSON]:
        with self._loaded() as process:
            return process.effective_options()

    def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        with self._loaded() as process:
            return process.tokenize(text, add_special=add_special, parse_special=parse_special)

    def detokenize(self, tokens: Sequence[int]) -> str:
        with self._loaded() as process:
            return process.detokenize(tokens)

    def top_logprobs(self, prompt: str | Sequence[int], k: int = 20) -> list[Position]:
        with self._loaded() as process:
            return process.top_logprobs(prompt, k)

    def open_stream(
        self, prompt: str | Sequence[int], max_tokens: int, sampling: Sampling
    ) -> Generator[Token, None, Completion]:
        with self._loaded() as process:
            return (yield from process.open_stream(prompt, max_tokens, sampling))

    def token_ids(self, contents: Sequence[bytes]) -> Sequence[Sequence[int]]:
        with self._loaded() as process:
            return process.token_ids(contents)

    def render_chat(self, content: str) -> str:
        with self._loaded() as process:
            return process.render_chat(content)

    def greedy(self, prompt: str, count: int) -> Greedy:
        with self._loaded() as process:
            return process.greedy(prompt, count)

    def embeddings(self, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        with self._loaded() as process:
            return process.embeddings(texts)

    def write_logits(self, path: Path, passages: Sequence[Passage], generate: int) -> Greedy:
        with self._loaded() as process:
            return process.write_logits(path, passages, generate)

    def write_copy(self, target: Path, file_type: int = 0) -> None:
        with self._loaded() as process:
            process.write_copy(target, file_type)

    def close(self) -> None:
        """End the process; a later call starts it again."""
        if self._process is not None:
            self._process.close()
            self._process = None


class LoadedModels:
    """Every model that a test generates with, loaded once."""

    def __init__(
        self, models: Models, engine: Callable[[Subject, Progress], Engine], *, drift_fails: bool
    ) -> None:
        """Begin with nothing loaded; the function returns the engine of a subject."""
        self._models = models
        self._engine = engine
        self._drift_fails = drift_fails
        self._loaded: dict[Subject, _ReloadingModel] = {}

    def get(self, subject: Subject, progress: Progress) -> GGUFModel:
        """Return a loaded subject; one whose process ended is loaded again.

        Raises:
            LLMBenchError: It cannot be loaded.
        """
        if subject not in self._loaded:
            start, check = partial(self._start, subject, progress), partial(self._check, subject)
            self._loaded[subject] = _ReloadingModel(start, check)
        self._loaded[subject].load()
        return self._loaded[subject]

    def _start(self, subject: Subject, progress: Progress) -> GGUFModel:
        model = self._models.resolve_subject(subject)
        return self._engine(subject, progress).start_generation(subject, model)

    def _check(self, subject: Subject, loaded: GGUFModel) -> None:
        """Raise ``LoadRefusedError`` if a load option is not in effect, unless drift is accepted."""
        found = unmet.unmet_options(subject.load_options, loaded.effective_options())
        if self._drift_fails and unmet.verdict(found) is not None:
            raise LoadRefusedError(f"{subject.build}: {unmet.sentence(found)} ({unmet.next_step(found)})")

    def release(self) -> None:
        """End every process; the next call of a model starts it again."""
        for loaded in self._loaded.values():
            loaded.close()


class ModelLoader:
    """Loads models by name, as the fixture ``llm_load`` does."""

    def __init__(self, load: Callable[[str, Mapping[str, object]], GGUFModel], models: Sequence[str]) -> None:
        """Take what loads a model, and the models of ``--llm-model``."""
        self._load = load
        self._models = models

    def __call__(self, name_or_path: str = "", **load_options: object) -> GGUFModel:
        """Return a loaded model; equal arguments return the same one.

        Args:
            name_or_path: As in the marker ``llm_model``; without it, the model of ``--llm-model``.
            load_options: As in the marker ``llm_model``.

        Raises:
            LLMBenchError: It cannot be loaded, or there is no such model or load option.
        """
        if not isinstance(name_or_path, str):
            raise UsageError(f"llm_load: {name_or_path!r} is neither a name nor a path")
        if not name_or_path and len(self._models) != 1:
            raise NoModelNamedError(
                "llm_load: which model? name one, or give --llm-model NAME_OR_FILE once: llm_load('NAME')"
            )
        return self._load(name_or_path or self._models[0], load_options)
