"""Homes: the folders that hold the baselines and the table of models of the tests in them.

The home of a test follows from its file, so that every call of pytest finds the same one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.baselines import BaselineStore
from pytest_llm.errors import LLMBenchError, UsageError
from pytest_llm.machine import fingerprint
from pytest_llm.models import ModelStore, builtin_entries, read_project
from pytest_llm.models.adapters import with_adapters
from pytest_llm.models.opened import check_content, check_unchanged
from pytest_llm.models.progress import silent
from pytest_llm.models.sources import is_named
from pytest_llm.plugin.progress import progress_of
from pytest_llm.records import DraftModel
from pytest_llm.system import ini_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pytest

    from pytest_llm.models.catalogue import LoadOption
    from pytest_llm.models.gguf.header import Header
    from pytest_llm.models.progress import Show
    from pytest_llm.plugin.settings import Settings
    from pytest_llm.records import Model, Subject

# The names of the folders that packages are installed in.
_INSTALLED = {"site-packages", "dist-packages"}


@dataclass(frozen=True)
class Home:
    """The baselines and the models of the tests in a folder.

    Attributes:
        folder: The folder of pytest's ini file.
        name: Its path from pytest's rootdir; "" for rootdir itself.
        baselines_folder: Where the store is.
    """

    folder: Path
    name: str
    baselines_folder: Path
    _models: Models

    @cached_property
    def baselines(self) -> BaselineStore:
        """The store, made at first use: it reads the fingerprint of the machine."""
        return BaselineStore(self.baselines_folder, fingerprint.fingerprint(), fingerprint.parts())

    def check_model(self, model: str) -> None:
        """Check a name or path without fetching anything; raise UsageError or ModelMissingError."""
        self._models.store(self.folder).check(model)

    def normalize_model(self, model: str) -> str:
        """Return the name of a model that is unique in this run."""
        return self._models.normalize(self.folder, self.name, model)

    def default_load_options(self, model: str) -> Mapping[str, LoadOption]:
        """Return the load options of the table of models."""
        return self._models.store(self.folder).default_load_options(model)


class Models:
    """The models of all homes, each by one name in a run: two homes may use a name for two models."""

    def __init__(
        self, cache: Path | None, root: Path, *, trusts_cache: bool = False, show: Show = silent
    ) -> None:
        """Read no table yet.

        Args:
            cache: Folder for fetched models; None if there is none, so that nothing can be resolved.
            root: Paths below it are shown relative to it.
            trusts_cache: See :class:`.ModelStore`.
            show: Takes lines of progress.
        """
        self.show = show
        self._cache = cache
        self._root = root
        self._trusts_cache = trusts_cache
        self._stores: dict[Path, ModelStore] = {}
        self._named: dict[str, tuple[ModelStore, str]] = {}

    def store(self, home: Path) -> ModelStore:
        """Return the models of a home.

        Raises:
            UsageError: Its table of models makes no sense.
        """
        if home not in self._stores:
            table = read_project(home / "pyproject.toml")
            entries = {**builtin_entries(), **table}
            self._stores[home] = ModelStore(
                self._cache, entries, home, trusts_cache=self._trusts_cache, show=self.show
            )
        return self._stores[home]

    def normalize(self, home: Path, home_name: str, model: str) -> str:
        """Return the unique name of a model that a test of a home names; it must have been checked."""
        store = self.store(home)
        name = store.normalize(model)
        if is_named(name):
            return name
        if store.has(name):
            for unique in (name, f"{name} of {home_name or home}"):
                other = self._named.setdefault(unique, (store, name))
                if other[0] is store or other[0].is_same(store, name):
                    return unique
        return self.store(self._root).normalize(str(home / name))

    def resolve(self, unique: str) -> Model:
        """Return the model of a unique name; see :meth:`ModelStore.resolve`."""
        store, name = self._named.get(unique, (self.store(self._root), unique))
        return replace(store.resolve(name), name=unique)

    def header(self, unique: str) -> tuple[int, Header] | None:
        """Return bytes and header of a model that is here; see :meth:`ModelStore.header`."""
        store, name = self._named.get(unique, (self.store(self._root), unique))
        return store.header(name)

    def resolve_subject(self, subject: Subject) -> Model:
        """Return the model of a subject with the adapters and the draft model of its load options."""
        model = with_adapters(self.resolve(subject.model), subject.load_options.lora, self.resolve)
        named = subject.load_options.draft_model
        if not named:
            return model
        draft = self.resolve(named)
        return replace(model, draft=DraftModel(named, draft.path, draft.sha256, draft.opened))

    def check_unchanged(self, subjects: Iterable[Subject]) -> None:
        """Check the files of the models that were measured, by their content unless the cache is trusted.

        Raises:
            ModelHashError: One changed.
        """
        for model in {self.resolve_subject(each) for each in subjects}:
            if self._trusts_cache:
                check_unchanged(model)
            else:
                check_content(model, self.show)


class Homes:
    """The homes of the tests of one run.

    Attributes:
        models: Of all homes.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        """Read nothing yet.

        Args:
            config: For rootdir, and for what the command line names.
            settings: The folders of the cache and of the baselines.
        """
        self._root = _root(config)
        self._settings = settings
        start = config.invocation_params.dir
        paths = [Path(os.path.abspath(start / each.partition("::")[0])) for each in config.args]  # noqa: PTH100
        self._named = [each if each.is_dir() else each.parent for each in paths if each.exists()]
        self._pyargs = bool(config.option.pyargs)
        self._homes: dict[Path, Home] = {}
        self._found: dict[Path, Home] = {}  # by the folders of test files
        self.models = Models(
            settings.known_cache,
            self._root,
            trusts_cache=settings.trusts_cache,
            show=lambda line: progress_of(config).preparing(line),
        )

    @property
    def root(self) -> Home:
        """The home of installed tests: pytest's rootdir."""
        return self._made(self._root)

    def of(self, file: Path) -> Home:
        """Return the home of a test file.

        Raises:
            UsageError: An ini file cannot be read, or the table of models makes no sense.
        """
        return self._of_folder(file.parent)

    def _of_folder(self, folder: Path) -> Home:
        if folder not in self._found:
            self._found[folder] = self._made(self._folder(folder))
        return self._found[folder]

    def named(self) -> list[Home]:
        """Return the homes of the files and folders that the command line names, rootdir by default."""
        return list(dict.fromkeys(map(self._of_folder, self._named))) or [self.root]

    def called(self, name: str) -> Home:
        """Return the home with this name, one of those used."""
        return next(each for each in self._homes.values() if each.name == name)

    def module(self, file: Path) -> str:
        """Return the name of a test file in its home: its path, or the name of a package's module."""
        folder = self.of(file).folder
        if file.is_relative_to(folder) and not self._is_of_package(file.parent):
            return file.relative_to(folder).as_posix()
        return _package_name(file)

    def place(self, file: Path) -> str:
        """Return the path of a test file from rootdir, or the name of a package's module."""
        if self._is_of_package(file.parent):
            return _package_name(file)
        return Path(os.path.relpath(file, self._root)).as_posix()

    def check(self, models: Sequence[str]) -> None:
        """Check what the homes of the command line hold, and the default models, which one of them must know.

        Raises:
            UsageError: A table of models makes no sense, or a model is unknown or missing.
        """
        homes = self.named()
        for home in homes:
            self.models.store(home.folder)
        for model in models:
            problems = [each for each in (_problem(home, model) for home in homes) if each is not None]
            if len(problems) == len(homes):
                raise UsageError(f"--llm-model: {problems[0]}")

    def knowing(self, model: str, files: Iterable[Path]) -> Home:
        """Return the home whose model a fixture of the whole run names; it belongs to no one test.

        Args:
            model: Name or path.
            files: The test files of the run.

        Raises:
            LLMBenchError: No home knows the model, its file is missing, or two homes have two such models.
        """
        homes = list(dict.fromkeys([*self.named(), *map(self.of, files)]))
        problems = {home: _problem(home, model) for home in homes}
        known = {home.normalize_model(model): home for home in homes if problems[home] is None}
        if len(known) > 1:
            names = " and ".join(str(home.folder) for home in known.values())
            raise UsageError(f"{model} is another model in {names}: give the path of its file")
        if not known:
            raise next(each for each in problems.values() if each is not None)
        return next(iter(known.values()))

    def _is_of_package(self, folder: Path) -> bool:
        """Return if test files in a folder belong to a package, installed or linked to, and to no project."""
        if is_installed(folder):
            return True
        return self._pyargs and not any(folder.is_relative_to(each) for each in (self._root, *self._named))

    def _folder(self, folder: Path) -> Path:
        if self._is_of_package(folder):
            return self._root
        return ini_file.home(folder) or self._root

    def _made(self, folder: Path) -> Home:
        if folder in self._homes:
            return self._homes[folder]
        name = "" if folder == self._root else Path(os.path.relpath(folder, self._root)).as_posix()
        self._homes[folder] = Home(folder, name, self._baselines(folder), self.models)
        return self._homes[folder]

    def _baselines(self, folder: Path) -> Path:
        if self._settings.baselines is not None:
            return self._settings.baselines
        found = ini_file.baselines(folder)
        if found.exists() and not found.is_dir():
            raise UsageError(f"{found} is not a folder: move it away, or name another with --llm-baselines")
        return found


def line(home: Home) -> str:
    """Return the line of pytest's header that names a home."""
    return f"llm-bench home: {home.folder} (baselines in {home.baselines_folder})"


def _problem(home: Home, model: str) -> LLMBenchError | None:
    try:
        home.check_model(model)
    except LLMBenchError as error:
        return error
    return None


def is_installed(path: Path) -> bool:
    """Return if a file or folder is part of an installed package."""
    return not _INSTALLED.isdisjoint(path.parts)


def _package_name(file: Path) -> str:
    root = file.parent
    if is_installed(file):
        root = next(each for each in file.parents if each.name in _INSTALLED)
    else:
        while (root / "__init__.py").is_file():
            root = root.parent
    return ".".join(file.relative_to(root).with_suffix("").parts)


def _root(config: pytest.Config) -> Path:
    """Return rootdir; with ``-c``, which moves it to the file that it names, the home of the call."""
    if config.option.inifilename and not config.option.rootdir:
        return ini_file.home(config.invocation_params.dir) or config.rootpath
    return config.rootpath
