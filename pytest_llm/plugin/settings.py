"""What the options say: read once, checked, frozen."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
import pytest

from pytest_llm.engines import parse_build
from pytest_llm.errors import UnitError, UnknownNameError, UsageError
from pytest_llm.plan import SESSIONS
from pytest_llm.plugin.benchmark_record import is_disabled
from pytest_llm.plugin.options import OPTIONS, ini_keys, value
from pytest_llm.units import SECONDS

if TYPE_CHECKING:
    from pytest_llm.records import BuildReference


@dataclass(frozen=True)
class Settings:
    """What the options say, checked and frozen.

    Attributes:
        bench: Run benchmarks.
        disabled: Run them in one session and judge no limit: pytest-benchmark's --benchmark-disable.
        models: For tests that name none; paths are absolute.
        candidate: The build.
        effort: "quick", "normal" or "thorough".
        json: Where results go, or None.
        cache: The cache's folder.
        timeout: Seconds.
    """

    bench: bool
    disabled: bool
    models: tuple[str, ...]
    candidate: BuildReference
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
    _check_no_namesake()
    effort = value(config, "llm_effort")
    if effort not in SESSIONS:
        raise UnknownNameError("--llm-effort", effort, SESSIONS)
    try:
        timeout = SECONDS.parse(value(config, "llm_timeout"))
    except UnitError as error:
        raise UsageError(f"--llm-timeout: {error}") from None
    if not timeout:
        raise UsageError("--llm-timeout: 0 would end every worker; give seconds, '10 min' say")
    bench = value(config, "llm_bench") or value(config, "llm_bench_only")
    if bench:
        _check_alone(config)
    return Settings(
        bench=bench,
        disabled=is_disabled(config),
        models=tuple(_from_folder(config, name) for name in value(config, "llm_model")),
        candidate=parse_build(value(config, "llm_candidate"), _folder(config, "llm_candidate")),
        effort=effort,
        json=_json(config),
        cache=_cache(config),
        timeout=timeout,
    )


def _folder(config: pytest.Config, name: str) -> Path:
    """Return the folder that an option's relative path starts from: where it was written."""
    if config.getoption(name) is None and config.inipath is not None:
        return config.inipath.parent
    return config.invocation_params.dir


def _from_folder(config: pytest.Config, name: str) -> str:
    if "/" not in name and os.sep not in name and not name.lower().endswith(".gguf"):
        return name
    return str(_folder(config, "llm_model") / Path(name).expanduser())


def _json(config: pytest.Config) -> Path | None:
    given = value(config, "llm_json")
    if not given:
        return None
    path = _folder(config, "llm_json") / Path(given).expanduser()
    if path.is_dir():
        raise UsageError(f"--llm-json: {path} is a folder; name a file in it")
    return path


def _cache(config: pytest.Config) -> Path:
    given = value(config, "llm_cache")
    if given:
        path = _folder(config, "llm_cache") / Path(given).expanduser()
        if path.exists() and not path.is_dir():
            raise UsageError(f"--llm-cache: {path} is not a folder; name another")
        return path
    if os.environ.get("PYTEST_LLM_CACHE"):
        return Path(os.environ["PYTEST_LLM_CACHE"]).absolute()
    return Path(platformdirs.user_cache_dir("pytest-llm"))


def _check_alone(config: pytest.Config) -> None:
    """Refuse to measure in several processes at once: each would measure the others' load."""
    if config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        raise UsageError(
            "--llm-bench cannot measure under pytest-xdist, where tests run beside each other: add -n 0"
        )


def _check_no_namesake() -> None:
    """Refuse to work beside the distribution whose import package has the name of this one."""
    with suppress(PackageNotFoundError):
        distribution("pytest-llm")
        raise UsageError(
            "the distribution pytest-llm is installed as well, and its package pytest_llm overwrites "
            "parts of this one: uninstall pytest-llm, then reinstall pytest-llm-bench"
        )


def _check_ini_keys(config: pytest.Config) -> None:
    """Refuse a key that looks like ours and is nobody's: as a no-op it would switch a gate off."""
    for key in ini_keys(config):
        known = [option.name for option in OPTIONS]
        try:
            config.getini(key)
        except (pytest.UsageError, TypeError, ValueError) as error:  # which one, depends on pytest's version
            if key in known:
                raise UsageError(f"ini key {key}: {error}") from None
            if isinstance(error, ValueError):
                where = f"in {config.inipath}" if config.inipath else "given with -o"
                raise UnknownNameError("ini key", key, known, fix=where) from None
