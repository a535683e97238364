"""Why there is nothing to compare with, in one line that names the part."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.baselines import Conditions, Missing
from pytest_llm.errors import UnknownNameError
from pytest_llm.records import TestKey

from .things import (
    CONDITIONS,
    FINGERPRINT,
    KEY,
    MODULE,
    OTHER_KEY,
    SPEED,
    a_store,
    entry,
    file_of,
    invariants_entry,
    turned,
    with_option,
)

if TYPE_CHECKING:
    from pathlib import Path

HEX_6 = "6" * 64


def reason(missing: object) -> str:
    assert isinstance(missing, Missing)
    assert "\n" not in missing.reason
    return missing.reason


def test_an_empty_folder_says_which_machine_has_nothing_and_where(tmp_path: Path) -> None:
    assert reason(a_store(tmp_path).look_up(KEY, SPEED, CONDITIONS)) == (
        f"{tmp_path / 'machines'} has none of {MODULE} for this machine ({FINGERPRINT}) or any other; "
        "--llm-update-baselines=new stores this run"
    )
    assert list(tmp_path.iterdir()) == []


def test_other_machines_that_have_the_module_are_named(tmp_path: Path) -> None:
    for fingerprint in ("fff", "eee"):
        a_store(tmp_path, fingerprint).update([entry()], "new")
    a_store(tmp_path, "ddd").update([entry(key=TestKey("other", "test"))], "new")
    assert reason(a_store(tmp_path).look_up(KEY, SPEED, CONDITIONS)).endswith(
        ", only for eee, fff; --llm-update-baselines=new stores this run"
    )


def test_a_test_that_was_never_recorded_is_told(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    store.update([entry()], "new")
    for key in (OTHER_KEY, replace(KEY, parameters="q8"), replace(KEY, parameters="")):
        told = reason(store.look_up(key, SPEED, CONDITIONS))
        assert told == "this test was never recorded on this machine"


def test_a_metric_that_was_not_recorded_is_told(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    store.update([entry()], "new")
    assert reason(store.look_up(KEY, "load_time", CONDITIONS)) == "recorded without load_time"


def test_a_metric_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="generation_tokens_per_second"):
        a_store(tmp_path).look_up(KEY, "generation_tokens_per_secnd", CONDITIONS)


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (
            replace(CONDITIONS, model_sha256=HEX_6),
            "recorded with the model of SHA-256 555555555555…, now 666666666666…",
        ),
        (
            replace(CONDITIONS, engine="llama-server"),
            "recorded with the engine llama-cpp-python, now llama-server",
        ),
        (with_option("n_threads", 4), "recorded with n_threads=2, now 4"),
        (with_option("flash_attn", "on"), "recorded with flash_attn=auto, now on"),
        (with_option("swa_full", True), "recorded without swa_full, now swa_full=True"),
        (
            replace(CONDITIONS, load_options={"n_ctx": 2048, "n_threads": 2, "rope_freq_base": 0.0}),
            "recorded with flash_attn=auto, now without",
        ),
        (
            replace(CONDITIONS, workload={**CONDITIONS.workload, "depth": 512}),
            "recorded with depth=0, now 512",
        ),
    ],
)
def test_conditions_that_differ_are_named_recorded_value_first(
    tmp_path: Path, now: Conditions, told: str
) -> None:
    store = a_store(tmp_path)
    store.update([entry()], "new")
    store.update_invariants([invariants_entry()], "new")
    assert reason(store.look_up(KEY, SPEED, now)) == told
    assert reason(store.look_up_invariants(KEY, now)) == told


def test_the_first_part_that_differs_is_named_in_a_fixed_order() -> None:
    now = Conditions(
        model_sha256=HEX_6,
        engine="ollama",
        load_options={"a": 1, "n_threads": 4, "n_ctx": 1, "flash_attn": "on", "rope_freq_base": 1.0},
        workload={"depth": 1, "prompt_tokens": 1, "generate_tokens": 1, "parallel": 2},
    )
    told = []
    # Each part in turn is made the recorded one, so that the next one comes first.
    parts: list[tuple[str, str | None]] = [("model_sha256", None), ("engine", None)]
    parts += [("load_options", name) for name in ("a", "flash_attn", "n_ctx", "n_threads", "rope_freq_base")]
    parts += [("workload", name) for name in ("depth", "generate_tokens", "parallel", "prompt_tokens")]
    for part, name in parts:
        told.append(CONDITIONS.difference(now))
        recorded: Any = getattr(CONDITIONS, part)
        if name is not None:
            here = dict(getattr(now, part))
            here.pop(name)
            recorded = {**here, **({name: recorded[name]} if name in recorded else {})}
        now = replace(now, **{part: recorded})
    assert [each.removeprefix("recorded with").split("=")[0].split()[-1] for each in told[2:]] == [
        name for _, name in parts[2:]
    ]
    assert told[0].startswith("recorded with the model")
    assert told[1].startswith("recorded with the engine")
    assert CONDITIONS.difference(now) == ""


def test_equal_conditions_in_another_order_are_found(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    store.update([entry()], "new")
    other_way = replace(CONDITIONS, load_options=turned(CONDITIONS.load_options))
    assert not isinstance(store.look_up(KEY, SPEED, other_way), Missing)


def test_missing_facts_are_told(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    told = reason(store.look_up_invariants(KEY, CONDITIONS))
    assert told == f"no invariants of {MODULE} in {tmp_path / 'portable'}"
    store.update_invariants([invariants_entry(key=OTHER_KEY)], "new")
    assert (
        reason(store.look_up_invariants(KEY, CONDITIONS)) == "no invariants of this test were ever recorded"
    )


def test_what_another_process_stored_meanwhile_is_seen(tmp_path: Path) -> None:
    here, there = a_store(tmp_path), a_store(tmp_path)
    assert isinstance(here.look_up(KEY, SPEED, CONDITIONS), Missing)
    for count in range(1, 4):
        there.update([entry(recorded=f"2026-11-22T13:00:0{count}+00:00")], "append")
        found = here.look_up(KEY, SPEED, CONDITIONS)
        assert not isinstance(found, Missing)
        assert len(found) == count
    file_of(tmp_path).unlink()
    assert isinstance(here.look_up(KEY, SPEED, CONDITIONS), Missing)
