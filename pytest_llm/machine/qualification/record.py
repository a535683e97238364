"""Records of a qualification, and their file: ``<cache>/qualified/<fingerprint>.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping  # noqa: TC003 - the codec reads annotations
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pytest_llm.errors import DataError, DataMissingError, UsageError
from pytest_llm.records import Verdict
from pytest_llm.records.schema import NonNegative  # noqa: TC001
from pytest_llm.records.serialization import DecodeError, decode, encode
from pytest_llm.stats.sequential import TAU
from pytest_llm.system import atomic_file, regular_file, strict_json

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1
_MAX_BYTES = 2**20


@dataclass(frozen=True)
class CheckFigures:
    """The result of a check for one metric.

    Attributes:
        metric: Its name.
        verdict: By the rule of "quick".
        log_ratios: One a session: positive is slower.
        change: Of the metric itself, as a ratio less 1.
        interval: Of the change; None with too few sessions.
        mde: The loss that would have been called with 95 % power; None if none would have been.
    """

    metric: str
    verdict: Verdict
    log_ratios: tuple[float, ...]
    change: float | None
    interval: tuple[float, float] | None
    mde: float | None


@dataclass(frozen=True)
class Result:
    """The result of one check.

    Attributes:
        check: Its name.
        reasons: Why it did not pass, a clause for each metric; none if it did.
        figures: One for each metric.
    """

    check: str
    reasons: tuple[str, ...]
    figures: tuple[CheckFigures, ...]

    @property
    def passed(self) -> bool:
        """Whether it passed."""
        return not self.reasons

    @property
    def is_open(self) -> bool:
        """Whether it failed by inconclusive verdicts alone, so that more sessions may let it pass."""
        return not self.passed and len(self.reasons) == [each.verdict for each in self.figures].count(
            Verdict.INCONCLUSIVE
        )


@dataclass(frozen=True)
class ShamPair:
    """Bias between one pair of equal builds.

    Attributes:
        kind: What differed: "path and environment".
        log_ratios: One a session, by the name of the metric: positive is slower.
    """

    kind: str
    log_ratios: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class LabelBias:
    """The spread of what belongs to a side of a pair and not to its code.

    Attributes:
        tau: Its standard deviation, in logarithms of time.
        pairs: From which it was estimated.
        left_out: Kinds of pairs that could not be made here, each with its reason.
    """

    tau: NonNegative
    pairs: tuple[ShamPair, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Qualification:
    """The results of all checks on one machine.

    Attributes:
        fingerprint: Of the machine.
        when: In ISO 8601 with the offset from UTC, to the second.
        plugin: The version of this package.
        build: The build, with its commit.
        model: Its name, as asked for.
        model_sha256: Of its file.
        results: Of each check that ran, in order.
        checks: The names of all that had to pass.
        bias: What sham pairs showed; None if a check did not pass before.
    """

    fingerprint: str
    when: str
    plugin: str
    build: str
    model: str
    model_sha256: str
    results: tuple[Result, ...]
    checks: tuple[str, ...]
    bias: LabelBias | None = None

    @property
    def qualified(self) -> bool:
        """Whether every check ran and passed, and the label-bound bias was measured."""
        return self._all_passed and self.bias is not None

    @property
    def _all_passed(self) -> bool:
        return {each.check for each in self.results if each.passed} >= set(self.checks)

    def reason(self) -> str:
        """Say which check did not pass, and why; "" if all did."""
        failed = [f"{each.check}: {'; '.join(each.reasons)}" for each in self.results if not each.passed]
        if failed:
            return failed[0]
        if not self._all_passed:
            return "not every check ran"
        return "" if self.qualified else "no sham pair was measured"


@dataclass(frozen=True)
class Standing:
    """Whether a machine is qualified.

    Attributes:
        since: When it was, in ISO 8601; None if it is not.
        reason: Why it is not; "" if it is.
        found: What was seen on it; None if nothing was.
    """

    since: str | None
    reason: str = ""
    found: Qualification | None = None

    @property
    def tau(self) -> float:
        """The spread of label-bound bias on the machine; a guess if it is not qualified."""
        bias = None if self.since is None or self.found is None else self.found.bias
        return TAU if bias is None else bias.tau


def path_of(cache: Path, fingerprint: str) -> Path:
    """Return the file of a machine."""
    return cache / "qualified" / f"{fingerprint}.json"


def read(cache: Path, fingerprint: str) -> Standing:
    """Return whether a machine is qualified; a file that cannot be used means that it is not."""
    path = path_of(cache, fingerprint)
    try:
        data = regular_file.read(path, limit=_MAX_BYTES)
    except DataMissingError:
        return Standing(None, "never tried")
    except DataError as error:
        return Standing(None, str(error))
    try:
        found = _decode(strict_json.loads(data, limit=_MAX_BYTES, what=path), fingerprint)
    except _OtherFileError as error:
        return Standing(None, f"{path} is {error}")
    except (ValueError, DataError, DecodeError):
        return Standing(None, f"{path} is damaged")
    return Standing(found.when if found.qualified else None, found.reason(), found)


def write(cache: Path, found: Qualification) -> Path:
    """Store a qualification in place of an older one; return the file.

    Raises:
        UsageError: It cannot be written.
    """
    path = path_of(cache, found.fingerprint)
    text = json.dumps({"schema_version": VERSION, **encode(found)}, indent=1, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_file.replace_own(path, text.encode())
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); name another --cache") from error
    return path


class _OtherFileError(Exception):
    """A sound file, but of another version or machine."""


def _decode(document: object, fingerprint: str) -> Qualification:
    if not isinstance(document, dict):
        raise ValueError
    version = document.pop("schema_version", None)
    if isinstance(version, int) and version > VERSION:
        raise _OtherFileError(
            f"of version {version}, this plugin reads up to {VERSION}: upgrade pytest-llm-bench"
        )
    if version != VERSION:
        raise ValueError
    found = decode(Qualification, document)
    if datetime.fromisoformat(found.when).tzinfo is None or not found.checks:
        raise ValueError
    if found.fingerprint != fingerprint:
        raise _OtherFileError(f"of another machine, {found.fingerprint}")
    return found
