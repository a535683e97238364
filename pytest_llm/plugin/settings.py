"""What the options say: read once, checked, frozen."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from pytest_llm.errors import UnitError, UnknownNameError, UsageError
from pytest_llm.plan import SESSIONS
from pytest_llm.plugin.options import OPTIONS, ini_keys, value
from pytest_llm.units import SECONDS

if TYPE_CHECKING:
    import pytest


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


def read(config: pytest.Config) -> Settings:
    """Check every option.

    Raises:
        UsageError: One of them makes no sense.
    """
    _check_ini_keys(config)
    effort = value(config, "llm_effort")
    if effort not in SESSIONS:
        raise UnknownNameError("--llm-effort", effort, SESSIONS)
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
    return Path(platformdirs.user_cache_dir("pytest-llm"))


def _check_ini_keys(config: pytest.Config) -> None:
    """Refuse a key that looks like ours and is nobody's: as a no-op it would switch a gate off."""
    for key in ini_keys(config):
        try:
            config.getini(key)
        except ValueError:
            known = [option.name for option in OPTIONS]
            raise UnknownNameError("ini key", key, known, fix=f"in {config.inipath}") from None
