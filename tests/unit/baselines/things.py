"""What the tests of baselines are made of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_llm.baselines import BaselineStore, Conditions, RecordedInvariants, RecordedRuns, Series
from pytest_llm.errors import UnknownNameError
from pytest_llm.records import Provenance, StoredRun, TestKey, metrics

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_llm.records import JSON

FINGERPRINT = "0123456789ab"
MACHINE: dict[str, JSON] = {"cpu": "a CPU", "cores": 2, "memory_gib": 24, "system": "Linux x86_64"}
MODULE = "tests/regression/test_speed.py"
KEY = TestKey(MODULE, "TestSpeed::test_generation", "q4-[2048]")
OTHER_KEY = TestKey(MODULE, "test_prompt")
SPEED = "generation_tokens_per_second"
CONDITIONS = Conditions(
    model_sha256="5" * 64,
    engine="llama-cpp-python",
    load_options={"n_ctx": 2048, "n_threads": 2, "flash_attn": "auto", "rope_freq_base": 0.0},
    workload={"prompt_tokens": 128, "generate_tokens": 64, "depth": 0, "parallel": 1},
)
LATER = "2026-11-22T14:00:00+00:00"
PROVENANCE = Provenance("llama-cpp-python 0.3.36", "0c1e570", "2026-11-22T13:19:39+00:00", "0.1.0")


def a_store(folder: Path, fingerprint: str = FINGERPRINT) -> BaselineStore:
    return BaselineStore(folder, fingerprint, MACHINE)


def entry(
    values: Mapping[str, float] | None = None,
    *,
    key: TestKey = KEY,
    conditions: Conditions = CONDITIONS,
    recorded: str = PROVENANCE.recorded,
    provenance: Provenance = PROVENANCE,
    notes: Mapping[str, str] | None = None,
) -> tuple[TestKey, RecordedRuns]:
    """One new run of a test."""
    provenance = replace(provenance, recorded=recorded)
    series = {
        name: Series(_unit(name), (StoredRun(value, provenance, (notes or {}).get(name, "")),))
        for name, value in ({SPEED: 118.2} if values is None else values).items()
    }
    return key, RecordedRuns(conditions, series)


def _unit(metric: str) -> str:
    try:
        return metrics.find(metric).unit.base
    except UnknownNameError:
        return ""


def invariants_entry(
    invariants: Mapping[str, Any] | None = None,
    *,
    key: TestKey = KEY,
    conditions: Conditions = CONDITIONS,
    provenance: Provenance = PROVENANCE,
) -> tuple[TestKey, RecordedInvariants]:
    """New invariants of a test."""
    new = {"weights_bytes": 91_000_000} if invariants is None else invariants
    return key, RecordedInvariants(conditions, new, provenance)


def turned(items: Mapping[str, JSON]) -> dict[str, JSON]:
    """The same mapping in the opposite order."""
    return dict(reversed(list(items.items())))


def with_option(name: str, value: Any) -> Conditions:
    return replace(CONDITIONS, load_options={**CONDITIONS.load_options, name: value})


def file_of(folder: Path, module: str = MODULE) -> Path:
    return folder / "machines" / FINGERPRINT / f"{module}.json"


def portable_file_of(folder: Path, module: str = MODULE) -> Path:
    return folder / "portable" / f"{module}.json"


def sealed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the digest that its content should have, computed apart from the package."""
    content = {name: value for name, value in document.items() if name != "digest"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return {**content, "digest": hashlib.sha256(text.encode()).hexdigest()[:32]}


def rewrite(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(sealed(document)), encoding="utf-8")


def files_in(folder: Path) -> list[str]:
    """Every file, by its path below the folder, but for the locks, which stay."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in found if path.name != ".lock")
