"""Values of the options: read once, checked, frozen."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

from pytest_llm.baselines import Mode
from pytest_llm.builds.reference import parse_build, read_settings
from pytest_llm.engines import DEFAULT, ENGINES
from pytest_llm.errors import UnitError, UnknownNameError, UsageError
from pytest_llm.measure.plan import SESSIONS
from pytest_llm.models.naming import is_path
from pytest_llm.plugin.options import showing, value
from pytest_llm.plugin.refusals import check_ini_keys, check_no_namesake, check_not_skipped, check_reruns
from pytest_llm.records import ALWAYS_FAILING, Commit, Verdict
from pytest_llm.records.other_tools import kind_of_model
from pytest_llm.records.units import SECONDS
from pytest_llm.system import atomic_file
from pytest_llm.system.ci import VARIABLE, is_ci
from pytest_llm.system.folders import NoCacheError, default_cache, expanded
from pytest_llm.system.sandbox import MODES, Policy, SandboxMode

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from pytest_llm.records import BuildReference, Subject

_CHOSEN = {
    "llm_drift": Verdict.DRIFT,
    "llm_missing_baseline": Verdict.NO_BASELINE,
    "llm_inconclusive": Verdict.INCONCLUSIVE,
    "llm_uncovered": Verdict.NOT_COVERED,
}
# Without a measurement they do nothing, and who gives one expects a verdict.
_ASKS = ("llm_against", "llm_aa", "llm_anchor", "llm_json", "llm_operators", "llm_instructions")
# Which fail unless the run records baselines, whatever the options say.
_UNLESS_RECORDING = {Verdict.UNRECORDED}
_WHILE_RECORDING = {Verdict.DRIFT, Verdict.NO_BASELINE, Verdict.INCONCLUSIVE}


@dataclass(frozen=True)
class Settings:
    """Values of the options.

    Attributes:
        bench: Run benchmarks.
        models: For tests that name none; paths are absolute.
        candidate: The build.
        against: The reference, or None.
        anchor: The build that stored ratios are ratios to, or None.
        aa: The candidate is its own reference; with ``against``, that is the same build.
        time_limit: Seconds for a workload; None for twice the planned time.
        budget: Seconds for the whole run; infinite if none is set.
        effort: "quick", "normal" or "thorough".
        operators: Say which operation got slower.
        instructions: Count the instructions of a decoded token.
        json: Where results go, or None.
        baselines: The folder of all baselines; None if each home has its own.
        update: How to write baselines, or None.
        failing: The verdicts that fail a test.
        fails_without_runs: A run that measures nothing fails.
        known_cache: The cache's folder; None if there is no home folder for it.
        trusts_cache: Believe hashes of models in the cache.
        timeout: Seconds.
        sandbox: How workers are locked in.
        home: Pytest's root, in which the lock file of archives lies.
    """

    bench: bool
    models: tuple[str, ...]
    candidate: BuildReference
    against: BuildReference | None
    anchor: BuildReference | None
    aa: bool
    time_limit: float | None
    budget: float
    effort: str
    operators: bool
    instructions: bool
    json: Path | None
    baselines: Path | None
    update: Mode | None
    failing: frozenset[Verdict]
    fails_without_runs: bool
    known_cache: Path | None
    trusts_cache: bool
    timeout: float
    sandbox: SandboxMode
    home: Path

    @property
    def cache(self) -> Path:
        """The cache's folder.

        Raises:
            UsageError: There is no home folder for it.
        """
        if self.known_cache is None:
            raise NoCacheError
        return self.known_cache

    @property
    def compares(self) -> bool:
        """Whether every benchmark is compared with a reference."""
        return self.aa or self.against is not None

    @property
    def keeps_output(self) -> bool:
        """Whether an output can be stored, now or from the results file."""
        return self.update is not None or self.json is not None

    def reference_of(self, subject: Subject) -> Subject | None:
        """Return what a subject is measured beside; None if it is measured alone."""
        if self.against is not None:
            return replace(subject, build=self.against)
        return subject if self.aa else None

    def anchor_of(self, subject: Subject) -> Subject | None:
        """Return what a gated subject without a reference is measured beside, or None."""
        return None if self.anchor is None else replace(subject, build=self.anchor)

    @property
    def equal_sides(self) -> bool | None:
        """True if the candidate and ``--llm-against`` must be the same build; None if only one is named."""
        return None if self.against is None else self.aa


def read(config: pytest.Config) -> Settings:
    """Check every option.

    Raises:
        UsageError: One of them makes no sense.
    """
    check_ini_keys(config)
    check_no_namesake()
    bench = value(config, "llm_bench") or value(config, "llm_bench_only")
    if not bench:
        _check_useful(config)
    effort = value(config, "llm_effort")
    if effort not in SESSIONS:
        raise UnknownNameError("--llm-effort", effort, SESSIONS)
    against = value(config, "llm_against")
    aa = value(config, "llm_aa")
    candidate = _build(config, "llm_candidate")
    reference = _build(config, "llm_against") if against else None
    anchor = _build(config, "llm_anchor") if value(config, "llm_anchor") else None
    for flag, other in (("--llm-against", reference), ("--llm-anchor", anchor)):
        _check_one_engine(flag, other, candidate)
    update = _update(config)
    if bench:
        check_reruns(config)
        check_not_skipped(config)
    if update:
        _check_update(config, measures=bench, compares=bool(against or aa))
    if reference == candidate and not aa:
        raise UsageError(
            f"--llm-against {reference} is the candidate: name another build, or measure the noise with "
            "--llm-aa"
        )
    return Settings(
        bench=bench,
        models=tuple(_from_folder(config, name) for name in value(config, "llm_model")),
        candidate=candidate,
        against=reference,
        anchor=anchor,
        aa=aa,
        time_limit=_limit(config, "llm_time_limit"),
        budget=_limit(config, "llm_budget") or math.inf,
        effort=effort,
        operators=value(config, "llm_operators"),
        instructions=value(config, "llm_instructions"),
        json=_json(config, measures=bench and not showing(config)),
        baselines=_folder_of(config, "llm_baselines") if _is_named(config, "llm_baselines") else None,
        update=update,
        failing=_failing(config, update),
        fails_without_runs=_fails(config, "llm_none_measured"),
        known_cache=_cache(config, needed=bench and not showing(config)),
        trusts_cache=value(config, "llm_trust_cache"),
        timeout=_seconds(config, "llm_timeout", "would end every worker"),
        sandbox=_sandbox(config, measures=bench and not showing(config)),
        home=config.rootpath,
    )


def _check_useful(config: pytest.Config) -> None:
    """Refuse options that ask for a measurement where nothing is measured; an ini key asks for none."""
    given = next((name for name in _ASKS if config.getoption(name)), None)
    if given is not None:
        flag = f"--{given.replace('_', '-')}"
        raise UsageError(
            f"{flag} needs --llm-bench: without it, benchmarks are skipped; give both, or set {given} in the "
            "ini file, where runs without --llm-bench ignore it"
        )


def _check_one_engine(flag: str, other: BuildReference | None, candidate: BuildReference) -> None:
    # What measures a commit is chosen by what it is compared with.
    sides = [each for each in (candidate, other) if each is not None]
    fixed = {each.engine for each in sides if not (isinstance(each, Commit) and each.engine == DEFAULT)}
    if other is not None and len(fixed) > 1 and not all(ENGINES[each].as_caller for each in fixed):
        raise UsageError(
            f"{flag} {other}: {other.engine} does not time what {candidate.engine}, the candidate's engine, "
            "does, so their speeds cannot be compared: give two builds of one engine"
        )


def _build(config: pytest.Config, name: str) -> BuildReference:
    settings = read_settings(value(config, "llm_build_settings"), "--llm-build-settings")
    return parse_build(value(config, name), _folder(config, name), settings, value(config, "llm_archive_url"))


def _seconds(config: pytest.Config, name: str, nothing: str) -> float:
    flag = f"--{name.replace('_', '-')}"
    try:
        seconds = SECONDS.parse(value(config, name))
    except UnitError as error:
        raise UsageError(f"{flag}: {error}") from None
    if not seconds:
        raise UsageError(f"{flag}: 0 {nothing}; give seconds, '10 min' say")
    return seconds


def _limit(config: pytest.Config, name: str) -> float | None:
    return _seconds(config, name, "would measure nothing") if value(config, name) else None


def _sandbox(config: pytest.Config, *, measures: bool) -> SandboxMode:
    mode: SandboxMode = value(config, "llm_sandbox")
    if mode not in MODES:
        raise UnknownNameError("--llm-sandbox", mode, MODES)
    lacking = Policy(mode).lacking
    if measures and mode == "strict" and lacking:
        raise UsageError(
            f"--llm-sandbox=strict: workers cannot be locked in whole here: {lacking}; measure on a newer "
            "Linux, or take --llm-sandbox=on, which does what this system can"
        )
    return mode


def _folder(config: pytest.Config, name: str) -> Path:
    """Return the base of an option's relative path: the ini file's folder or the current one."""
    if config.getoption(name) is None and config.inipath is not None:
        return config.inipath.parent
    return config.invocation_params.dir


def _from_folder(config: pytest.Config, name: str) -> str:
    path = _folder(config, "llm_model") / expanded(name)
    if not is_path(name) or (kind_of_model(name) and not path.exists()):
        return name
    return str(path)


def _json(config: pytest.Config, *, measures: bool) -> Path | None:
    given = value(config, "llm_json")
    if not given:
        return None
    path = _folder(config, "llm_json") / expanded(given)
    if path.is_dir():
        raise UsageError(f"--llm-json: {path} is a folder; name a file in it")
    if measures and (reason := atomic_file.obstacle(path)):
        raise UsageError(f"--llm-json: {path} cannot be written ({reason}); name another file")
    return path


def _folder_of(config: pytest.Config, name: str) -> Path | None:
    """Return the folder that an option names, or None; it need not exist."""
    given = value(config, name)
    if not given:
        return None
    path = _folder(config, name) / expanded(given)
    if path.exists() and not path.is_dir():
        raise UsageError(f"--{name.replace('_', '-')}: {path} is not a folder; name another")
    return path


def _is_named(config: pytest.Config, name: str) -> bool:
    """Return if the command line sets an option, also with ``-o`` or in the file of ``-c``."""
    overridden = {text.partition("=")[0].strip() for text in config.getoption("override_ini") or ()}
    return config.getoption(name) is not None or name in overridden or bool(config.option.inifilename)


def _update(config: pytest.Config) -> Mode | None:
    mode = value(config, "llm_update_baselines")
    if not mode:
        return None
    if mode not in get_args(Mode):
        raise UnknownNameError("--llm-update-baselines", mode, get_args(Mode))
    if is_ci(os.environ):
        raise UsageError(
            f"--llm-update-baselines: CI never writes a baseline (CI={os.environ[VARIABLE]} is set in the "
            "environment): keep the results of --llm-json, and let a person take them in with pytest-llm "
            "baselines accept"
        )
    found: Mode = mode
    return found


def _check_update(config: pytest.Config, *, measures: bool, compares: bool) -> None:
    """Refuse to write baselines without runs of one build alone."""
    if compares:
        raise UsageError(
            "--llm-update-baselines stores runs of one build alone: leave --llm-against and --llm-aa out"
        )
    if not measures and config.getoption("llm_update_baselines"):
        raise UsageError("--llm-update-baselines stores what --llm-bench measures: add --llm-bench")


def _failing(config: pytest.Config, update: Mode | None) -> frozenset[Verdict]:
    """Return the verdicts that fail a test; while a baseline is recorded, uncertain ones do not."""
    failing = set(ALWAYS_FAILING) if update else {*ALWAYS_FAILING, *_UNLESS_RECORDING}
    for name, verdict in _CHOSEN.items():
        if _fails(config, name) and not (update and verdict in _WHILE_RECORDING):
            failing.add(verdict)
    return frozenset(failing)


def _fails(config: pytest.Config, name: str) -> bool:
    choice = value(config, name)
    if choice not in ("warn", "fail"):
        raise UnknownNameError(f"--{name.replace('_', '-')}", choice, ("warn", "fail"))
    return bool(choice == "fail")


def _cache(config: pytest.Config, *, needed: bool) -> Path | None:
    given = _folder_of(config, "llm_cache")
    if given is not None:
        return given
    try:
        return default_cache(os.environ)
    except NoCacheError:
        if needed:
            raise
        return None
