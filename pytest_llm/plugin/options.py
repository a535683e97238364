"""The options: one table, read from the command line first and the ini file second.

This module loads in every run of pytest and imports nothing but the standard library.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pytest

_EFFORTS = ("quick", "normal", "thorough")


@dataclass(frozen=True)
class Option:
    """One option: ``--llm-effort`` on the command line is ``llm_effort`` in the ini file.

    Attributes:
        name: The ini key.
        kind: The type of its value in the ini file.
        default: Where neither says anything.
        help: What it does, with unit and default.
        metavar: What its value is called.
        choices: What its value can be, if that is a short list.
    """

    name: str
    kind: Literal["bool", "string", "linelist"]
    default: Any
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.name.replace("_", "-")


OPTIONS = (
    Option("llm_bench", "bool", False, "Run benchmarks of GGUF models (default: skip them)."),
    Option("llm_bench_only", "bool", False, "Run benchmarks and nothing else (default: off)."),
    Option(
        "llm_model",
        "linelist",
        (),
        "What tests run on whose llm_model marker names no model: a catalogue name or the path of a GGUF "
        "file; may be repeated (default: none).",
        "NAME_OR_FILE",
    ),
    Option(
        "llm_candidate",
        "string",
        "llama-cpp-python",
        "The build under test, ENGINE[@WHERE]: llama-cpp-python, or llama-cpp-python@venv:PATH (default: "
        "the llama-cpp-python of this environment).",
        "BUILD",
    ),
    Option(
        "llm_effort",
        "string",
        "normal",
        "How many sessions, fresh processes each, a subject gets: quick 3, normal 5, thorough 10 (default: "
        "normal).",
        "EFFORT",
        _EFFORTS,
    ),
    Option("llm_json", "string", "", "Write the results to this file, as JSON (default: none).", "FILE"),
    Option(
        "llm_cache",
        "string",
        "",
        "Where fetched models are kept (default: PYTEST_LLM_CACHE of the environment, else the user's cache "
        "folder).",
        "DIR",
    ),
    Option(
        "llm_timeout",
        "string",
        "10 min",
        "How long a worker may take for one answer before it is ended: seconds, or a text with a unit "
        "(default: 10 min).",
        "TIME",
    ),
)


@dataclass(frozen=True)
class Settings:
    """What the options say, checked and frozen.

    Attributes:
        bench: Run benchmarks.
        only: Run nothing else.
        models: For tests that name none; paths are absolute.
        candidate: The build, as written.
        effort: "quick", "normal" or "thorough".
        json: Where results go, or None.
        cache: The cache's folder.
        timeout: Seconds.
    """

    bench: bool
    only: bool
    models: tuple[str, ...]
    candidate: str
    effort: str
    json: Path | None
    cache: Path
    timeout: float


def add_to(parser: pytest.Parser) -> None:
    """Declare every option, on the command line and in the ini file."""
    group = parser.getgroup("llm-bench", "benchmarks of GGUF models on llama.cpp")
    for option in OPTIONS:
        settings: dict[str, Any] = {"dest": option.name, "default": None, "help": option.help}
        if option.kind == "bool":
            settings["action"] = "store_true"
        else:
            settings["action"] = "append" if option.kind == "linelist" else "store"
            settings["metavar"] = option.metavar
        group.addoption(option.flag, **settings)
        default = list(option.default) if option.kind == "linelist" else option.default
        parser.addini(option.name, option.help, type=option.kind, default=default)


def any_given(config: pytest.Config) -> bool:
    """Whether the command line or the ini file says anything of ours."""
    return any(config.getoption(option.name) is not None for option in OPTIONS) or bool(_ini_keys(config))


def _ini_keys(config: pytest.Config) -> list[str]:
    """Return the keys that look like ours, of the ini file and of ``-o``."""
    keys = [text.partition("=")[0].strip() for text in config.getoption("override_ini") or ()]
    if config.inipath is not None and "llm_" in config.inipath.read_text(encoding="utf-8"):
        from pytest_llm.plugin.ini_file import keys_of

        keys += keys_of(config.inipath)
    return [key for key in keys if key.startswith("llm_")]


def _check_ini_keys(config: pytest.Config) -> None:
    """Refuse a key that looks like ours and is nobody's: as a no-op it would switch a gate off."""
    for key in _ini_keys(config):
        try:
            config.getini(key)
        except ValueError:
            from pytest_llm.errors import UnknownNameError

            known = [option.name for option in OPTIONS]
            raise UnknownNameError("ini key", key, known, fix=f"in {config.inipath}") from None


def value(config: pytest.Config, name: str) -> Any:
    """Return an option's value: the command line's, else the ini file's, else the default."""
    given = config.getoption(name)
    return config.getini(name) if given is None else given


def read(config: pytest.Config) -> Settings:
    """Check every option.

    Raises:
        UsageError: One of them makes no sense.
    """
    from pytest_llm.errors import UnitError, UnknownNameError, UsageError
    from pytest_llm.units import SECONDS

    _check_ini_keys(config)
    effort = value(config, "llm_effort")
    if effort not in _EFFORTS:
        raise UnknownNameError("--llm-effort", effort, _EFFORTS)
    try:
        timeout = SECONDS.parse(value(config, "llm_timeout"))
    except UnitError as error:
        raise UsageError(f"--llm-timeout: {error}") from None
    if not timeout:
        raise UsageError("--llm-timeout: 0 would end every worker; give seconds, '10 min' say")
    json = value(config, "llm_json")
    only = value(config, "llm_bench_only")
    return Settings(
        bench=only or value(config, "llm_bench"),
        only=only,
        models=tuple(_from_folder(config, name) for name in value(config, "llm_model")),
        candidate=value(config, "llm_candidate"),
        effort=effort,
        json=_folder(config, "llm_json") / json if json else None,
        cache=_cache(config),
        timeout=timeout,
    )


def _folder(config: pytest.Config, name: str) -> Path:
    """Return the folder that an option's relative path starts from: where it was written."""
    if config.getoption(name) is None and config.inipath is not None:
        return config.inipath.parent
    return config.invocation_params.dir


def _from_folder(config: pytest.Config, name: str) -> str:
    if "/" not in name and os.sep not in name and not name.endswith(".gguf"):
        return name
    return str(_folder(config, "llm_model") / Path(name).expanduser())


def _cache(config: pytest.Config) -> Path:
    given = value(config, "llm_cache")
    if given:
        return _folder(config, "llm_cache") / Path(given).expanduser()
    if os.environ.get("PYTEST_LLM_CACHE"):
        return Path(os.environ["PYTEST_LLM_CACHE"]).absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("pytest-llm"))
