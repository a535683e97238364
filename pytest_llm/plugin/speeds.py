"""Speeds that earlier runs of a project measured, kept in pytest's cache for the next plan."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING

from pytest_llm.machine import fingerprint
from pytest_llm.measure.duration import Measured
from pytest_llm.records.metrics import EMBEDDING_SPEED

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

    from pytest_llm.records import Run, Subject

_KEY = "llm-bench/speeds"
_NAMES = ("prompt_tokens_per_second", "generation_tokens_per_second")


class Speeds:
    """Known speeds of subjects on this machine, of whichever build was measured last."""

    def __init__(self, cache: pytest.Cache | None) -> None:
        """Read nothing yet; without a cache, nothing is known or noted."""
        self._cache = cache

    def of(self, subject: Subject) -> Mapping[str, Measured]:
        """Return what was measured of a subject last, by workload."""
        kept = self._kept().get(self._name(subject))
        found = {name: _measured(each) for name, each in kept.items()} if isinstance(kept, dict) else {}
        return {name: each for name, each in found.items() if each is not None}

    def note(self, subject: Subject, run: Run) -> None:
        """Keep what a run shows of a subject."""
        names = [EMBEDDING_SPEED] * 2 if run.workload.embed else _NAMES
        prompt, step = (run.measurements[each].value if each in run.measurements else 0.0 for each in names)
        if self._cache is None or not prompt or not step:
            return
        kept, name = self._kept(), self._name(subject)
        of_subject = kept.get(name)
        seconds = [1 / prompt, run.workload.parallel / step]
        kept[name] = {**(of_subject if isinstance(of_subject, dict) else {}), str(run.workload): seconds}
        self._cache.set(_KEY, kept)

    @cached_property
    def _machine(self) -> str:
        return fingerprint.fingerprint()

    def _name(self, subject: Subject) -> str:
        """Return a name of the machine, the engine, the model and the load options."""
        options = sorted(asdict(subject.load_options).items())
        text = f"{self._machine} {subject.build.engine} {subject.model} {options}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _kept(self) -> dict[str, object]:
        kept = {} if self._cache is None else self._cache.get(_KEY, {})
        return kept if isinstance(kept, dict) else {}


def _measured(kept: object) -> Measured | None:
    if not (isinstance(kept, list) and len(kept) == 2):
        return None
    numbers = [each for each in kept if isinstance(each, float) and math.isfinite(each) and each >= 0]
    return Measured(*numbers) if len(numbers) == 2 and numbers[0] > 0 else None
