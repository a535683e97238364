"""What each mode writes and refuses, what is kept, and that equal content is equal bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.baselines import (
    BaselineStore,
    Conditions,
    Missing,
    RecordedRuns,
    Refusal,
    Updated,
)
from pytest_llm.errors import BaselineError
from pytest_llm.records import (
    LoadOptions,
    Provenance,
    StoredInvariants,
    TestKey,
)
from tests.bare import RUN, SUBJECT

from .things import (
    CONDITIONS,
    FINGERPRINT,
    KEY,
    LATER,
    MACHINE,
    MODULE,
    OTHER_KEY,
    PROVENANCE,
    SPEED,
    a_store,
    entry,
    file_of,
    files_in,
    invariants_entry,
    portable_file_of,
    turned,
    with_option,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.baselines.records import Mode

MODES: tuple[Mode, ...] = ("new", "append", "replace")


@pytest.fixture
def store(tmp_path: Path) -> BaselineStore:
    return a_store(tmp_path)


def values(store: BaselineStore, metric: str = SPEED, key: TestKey = KEY) -> list[float]:
    test = store.recorded(key.module).get(key)
    return [run.value for run in test.metrics[metric].runs] if test and metric in test.metrics else []


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_stores_what_was_never_stored(store: BaselineStore, mode: Mode) -> None:
    done = store.update([entry()], mode)
    assert done == Updated(written=((KEY, SPEED),))
    found = store.look_up(KEY, SPEED, CONDITIONS)
    assert not isinstance(found, Missing)
    assert store.recorded(MODULE)[KEY].conditions == CONDITIONS
    assert [(run.value, run.provenance) for run in found] == [(118.2, PROVENANCE)]


def test_how_a_value_was_read_is_kept_beside_it(store: BaselineStore, tmp_path: Path) -> None:
    vram = entry({SPEED: 118.2, "peak_vram": 6e9}, notes={"peak_vram": "per process"})
    store.update([vram], "new")
    told = {
        metric: [run.note for run in series.runs]
        for metric, series in a_store(tmp_path).recorded(MODULE)[KEY].metrics.items()
    }
    assert told == {SPEED: [""], "peak_vram": ["per process"]}
    assert file_of(tmp_path).read_text(encoding="utf-8").count('"note": "per process"') == 1


def test_new_adds_metrics_without_runs_and_refuses_those_with(store: BaselineStore) -> None:
    store.update([entry()], "new")
    done = store.update([entry({SPEED: 1.0, "load_time": 2.0})], "new")
    assert done.written == ((KEY, "load_time"),)
    assert done.refused == (Refusal(KEY, "has 1 of them already: append or replace", SPEED, stored=True),)
    assert values(store) == [118.2]
    assert values(store, "load_time") == [2.0]


def test_append_adds_the_newest_last(store: BaselineStore) -> None:
    for value in (3.0, 1.0, 2.0):
        store.update([entry({SPEED: value})], "append")
    assert values(store) == [3.0, 1.0, 2.0]


def test_the_last_20_runs_of_each_metric_are_kept(store: BaselineStore) -> None:
    store.update([entry({"load_time": 0.5})], "append")
    for value in range(1, 26):
        store.update([entry({SPEED: float(value)})], "append")
        assert len(values(store)) == min(value, 20)
    assert values(store) == [float(value) for value in range(6, 26)]
    assert values(store, "load_time") == [0.5]


def test_a_run_that_is_stored_already_is_not_counted_twice(store: BaselineStore) -> None:
    run = entry({SPEED: 118.2, "load_time": 0.5})
    store.update([run], "append")
    done = store.update([run], "append")
    assert done == Updated(refused=(Refusal(KEY, f"already stored: it is the run of {PROVENANCE.recorded}"),))
    assert values(store) == [118.2]


@pytest.mark.parametrize(
    "other",
    [
        entry(recorded=LATER),
        entry(provenance=replace(PROVENANCE, build="llama-cpp-python 0.3.35")),
        entry(provenance=replace(PROVENANCE, llama_cpp_commit="4df29be")),
        entry({SPEED: 118.3}),
    ],
    ids=["another time", "another version", "another commit", "another value"],
)
def test_a_run_that_differs_in_anything_is_another_one(
    store: BaselineStore, other: tuple[TestKey, RecordedRuns]
) -> None:
    store.update([entry()], "append")
    store.update([other], "append")
    assert len(values(store)) == 2


def test_runs_of_old_files_that_do_not_say_when_they_were_made_are_told_apart_by_nothing(
    store: BaselineStore,
) -> None:
    for _ in range(2):
        store.update([entry(recorded="")], "append")
    assert len(values(store)) == 2


def test_the_same_run_replaces_itself_and_counts_once(store: BaselineStore) -> None:
    store.update([entry()], "append")
    store.update([entry(), entry()], "replace")
    assert values(store) == [118.2]


@pytest.mark.parametrize("mode", ["new", "append"])
def test_other_conditions_refuse_the_whole_entry_and_name_the_part(store: BaselineStore, mode: Mode) -> None:
    store.update([entry()], "new")
    other = entry({SPEED: 1.0, "load_time": 2.0}, conditions=with_option("n_threads", 4))
    done = store.update([other], mode)
    assert done == Updated(refused=(Refusal(KEY, "recorded with n_threads=2, now 4: replace it"),))
    assert values(store) == [118.2]
    assert values(store, "load_time") == []


def test_replace_drops_all_metrics_of_the_test_and_takes_other_conditions(store: BaselineStore) -> None:
    store.update([entry({SPEED: 1.0, "load_time": 2.0}), entry(key=OTHER_KEY)], "new")
    four = with_option("n_threads", 4)
    store.update([entry({SPEED: 9.0}, conditions=four)], "replace")
    assert values(store) == [9.0]
    assert values(store, "load_time") == []
    assert store.recorded(MODULE)[KEY].conditions == four
    assert values(store, key=OTHER_KEY) == [118.2]


def test_a_test_given_twice_to_replace_keeps_both_runs(store: BaselineStore) -> None:
    store.update([entry({SPEED: 5.0})], "new")
    store.update([entry({SPEED: 1.0}), entry({SPEED: 2.0})], "replace")
    assert values(store) == [1.0, 2.0]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({SPEED: 0.0}, f"{SPEED} is 0, not above 0"),
        ({SPEED: -1.0}, f"{SPEED} is -1, not above 0"),
        ({"load_time": 0.0}, "load_time is 0, not above 0"),
        ({SPEED: float("nan")}, f"{SPEED} is nan, not a finite number"),
        ({SPEED: 1.0, "load_time": float("inf")}, "load_time is inf, not a finite number"),
        ({"speeed": 1.0}, "unknown metric 'speeed'"),
    ],
)
def test_values_that_cannot_be_refuse_the_entry_and_keep_what_is_there(
    store: BaselineStore, mode: Mode, given: dict[str, float], reason: str
) -> None:
    store.update([entry()], "new")
    done = store.update([entry(given), entry(key=OTHER_KEY)], mode)
    assert done.written == ((OTHER_KEY, SPEED),)
    (refusal,) = done.refused
    assert refusal.key == KEY
    assert refusal.reason.startswith(reason)
    assert values(store) == [118.2]


def test_an_entry_without_values_is_refused(store: BaselineStore) -> None:
    done = store.update([entry({})], "replace")
    assert done.refused == (Refusal(KEY, "has no values"),)


@pytest.mark.parametrize("name", ["", "test[a]"])
def test_a_test_whose_name_could_be_taken_for_another_s_is_refused(store: BaselineStore, name: str) -> None:
    key = TestKey(MODULE, name, "b")
    done = store.update([entry(key=key)], "new")
    assert done.refused == (Refusal(key, f"the test's name {name!r} cannot be stored"),)


def test_sizes_may_be_0_where_speeds_may_not(store: BaselineStore) -> None:
    store.update([entry({"peak_ram": 0.0})], "new")
    assert values(store, "peak_ram") == [0.0]


def test_a_refused_update_writes_no_file(store: BaselineStore, tmp_path: Path) -> None:
    store.update([entry({SPEED: 0.0})], "new")
    assert files_in(tmp_path) == []
    store.update([entry()], "new")
    before = file_of(tmp_path).stat().st_ino
    assert store.update([entry()], "new").refused
    assert file_of(tmp_path).stat().st_ino == before


@pytest.mark.parametrize(
    "module",
    [
        *("", "..", "a/../b", "./a", "a//b", "a/", "a\\b", "/etc/passwd", "a.", "a ", "a\n", "a\0", "a:b"),
        *("m" * 201, "m/" * 501 + "m", ".lock/a", ".write-1"),
    ],
)
def test_a_module_whose_name_cannot_be_a_file_s_is_refused(
    store: BaselineStore, tmp_path: Path, module: str
) -> None:
    with pytest.raises(BaselineError, match=r"its name cannot be a file's$"):
        store.update([entry(key=TestKey(module, "test"))], "new")
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    "module", ["test_a.py", "a.b.c", "tests/unit/test-a.py", "a b/.hidden/test_modèle.py", "a/b..py"]
)
def test_a_module_is_the_path_of_its_file(store: BaselineStore, tmp_path: Path, module: str) -> None:
    store.update([entry(key=TestKey(module, "test"))], "new")
    assert file_of(tmp_path, module).is_file()
    assert store.modules() == [module]


@pytest.mark.parametrize("fingerprint", ["", "..", "a/b", "a b"])
def test_a_fingerprint_that_cannot_be_a_folder_s_name_is_refused(tmp_path: Path, fingerprint: str) -> None:
    with pytest.raises(BaselineError, match=r"cannot be a folder's name$"):
        a_store(tmp_path, fingerprint)


def test_equal_content_is_equal_bytes_in_whatever_order_it_came(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    other_way = replace(
        CONDITIONS,
        load_options=turned(CONDITIONS.load_options),
        workload=turned(CONDITIONS.workload),
    )
    a_store(one).update([entry({SPEED: 1.0, "load_time": 2.0}), entry(key=OTHER_KEY)], "new")
    other = BaselineStore(two, FINGERPRINT, turned(MACHINE))
    other.update([entry(key=OTHER_KEY)], "append")
    other.update([entry({"load_time": 2.0}, conditions=other_way)], "new")
    other.update([entry({SPEED: 1.0}, conditions=other_way)], "new")
    assert file_of(one).read_bytes() == file_of(two).read_bytes()


def test_a_file_is_sorted_and_has_a_line_for_each_value(store: BaselineStore, tmp_path: Path) -> None:
    store.update([entry(), entry(key=OTHER_KEY)], "new")
    text = file_of(tmp_path).read_text(encoding="utf-8")
    document = json.loads(text)
    assert text == json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    assert list(document["tests"]) == ["TestSpeed::test_generation[q4-[2048]]", "test_prompt"]
    assert document["machine"] == MACHINE


def test_a_new_run_changes_only_its_own_lines_and_the_digest(store: BaselineStore, tmp_path: Path) -> None:
    store.update([entry(), entry(key=OTHER_KEY)], "new")
    before = file_of(tmp_path).read_text(encoding="utf-8").splitlines()
    store.update([entry(recorded=LATER)], "append")
    after = file_of(tmp_path).read_text(encoding="utf-8").splitlines()
    assert len(after) - len(before) == 14
    gone = [line for line in before if line not in after]
    assert [line.split(":")[0].strip() for line in gone] == ['"digest"']


def test_modules_are_stored_apart(store: BaselineStore, tmp_path: Path) -> None:
    elsewhere = TestKey("tests.test_b", "test_prompt")
    done = store.update([entry(key=elsewhere), entry(), entry(key=OTHER_KEY)], "new")
    assert [key for key, _ in done.written] == [elsewhere, KEY, OTHER_KEY]
    assert store.modules() == ["tests.test_b", MODULE]
    assert set(store.recorded("tests.test_b")) == {elsewhere}
    assert set(store.recorded(MODULE)) == {KEY, OTHER_KEY}


# ── removing ─────────────────────────────────────────────────────────────────────────────────────


def test_unknown_tests_are_listed_and_pruned_from_runs_and_facts(
    store: BaselineStore, tmp_path: Path
) -> None:
    renamed, with_facts = TestKey("tests.old", "test_a"), TestKey(MODULE, "test_facts")
    store.update([entry(), entry(key=OTHER_KEY), entry(key=renamed)], "new")
    store.update_invariants([invariants_entry(), invariants_entry(key=with_facts)], "new")
    assert store.unknown([KEY]) == [renamed, with_facts, OTHER_KEY]
    assert set(store.recorded(MODULE)) == {KEY, OTHER_KEY}
    assert store.prune([KEY]) == [renamed, with_facts, OTHER_KEY]
    assert store.unknown([KEY]) == []
    assert set(store.recorded(MODULE)) == {KEY}
    assert isinstance(store.look_up_invariants(KEY, CONDITIONS), StoredInvariants)
    assert files_in(tmp_path) == [f"machines/{FINGERPRINT}/{MODULE}.json", f"portable/{MODULE}.json"]


def test_pruning_leaves_files_alone_in_which_everything_is_known(
    store: BaselineStore, tmp_path: Path
) -> None:
    store.update([entry()], "new")
    before = file_of(tmp_path).stat().st_ino
    assert store.prune([KEY]) == []
    assert file_of(tmp_path).stat().st_ino == before


def test_pruning_without_any_known_test_is_refused(store: BaselineStore) -> None:
    store.update([entry()], "new")
    with pytest.raises(BaselineError, match="no test is known, so every baseline would be removed"):
        store.prune([])
    assert set(store.recorded(MODULE)) == {KEY}


def test_pruning_leaves_other_machines_alone(tmp_path: Path) -> None:
    a_store(tmp_path, "other").update([entry(key=OTHER_KEY)], "new")
    assert a_store(tmp_path).prune([KEY]) == []
    assert set(a_store(tmp_path, "other").recorded(MODULE)) == {OTHER_KEY}


# ── facts ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", MODES)
def test_facts_are_found_as_they_were_stored(tmp_path: Path, mode: Mode) -> None:
    invariants: dict[str, Any] = {
        "tokens": [1, 2, 3],
        "effective_options": {"flash_attn": "on", "n_seq_max": None},
        "x": 0.1,
    }
    done = a_store(tmp_path, "one").update_invariants([invariants_entry(invariants)], mode)
    assert done == Updated(written=((KEY, "effective_options"), (KEY, "tokens"), (KEY, "x")))
    found = a_store(tmp_path, "two").look_up_invariants(KEY, CONDITIONS)
    assert found == StoredInvariants(invariants, PROVENANCE)
    assert portable_file_of(tmp_path).is_file()


@pytest.mark.parametrize("mode", ["new", "append"])
def test_new_facts_are_added_equal_ones_stay_others_are_refused(store: BaselineStore, mode: Mode) -> None:
    store.update_invariants([invariants_entry({"a": 1, "b": [1, 2]})], "new")
    done = store.update_invariants([invariants_entry({"a": 1, "b": [1, 3], "c": "new"})], mode)
    assert done.written == ((KEY, "c"),)
    assert done.refused == (Refusal(KEY, "another value is stored: replace it", "b"),)
    found = store.look_up_invariants(KEY, CONDITIONS)
    assert isinstance(found, StoredInvariants)
    assert found.invariants == {"a": 1, "b": [1, 2], "c": "new"}


@pytest.mark.parametrize("mode", ["new", "append"])
def test_a_fact_of_parts_grows_by_new_ones_unless_an_old_one_is_another(
    store: BaselineStore, mode: Mode
) -> None:
    store.update_invariants([invariants_entry({"effective_options": {"a": 1, "b": 2}})], "new")
    assert store.update_invariants([invariants_entry({"effective_options": {"a": 1}})], mode) == Updated()
    grown = store.update_invariants([invariants_entry({"effective_options": {"a": 1, "c": 3}})], mode)
    assert grown == Updated(written=((KEY, "effective_options"),))
    done = store.update_invariants([invariants_entry({"effective_options": {"a": 9, "d": 4}})], mode)
    assert done.refused == (Refusal(KEY, "another value is stored: replace it", "effective_options"),)
    found = store.look_up_invariants(KEY, CONDITIONS)
    assert isinstance(found, StoredInvariants)
    assert found.invariants == {"effective_options": {"a": 1, "b": 2, "c": 3}}


def test_how_clear_greedy_tokens_were_stays_as_it_was_recorded_with_them(store: BaselineStore) -> None:
    def add(**invariants: Any) -> tuple[list[str], list[str]]:
        found = store.update_invariants([invariants_entry(invariants)], "append")
        return [name for _, name in found.written], [each.name for each in found.refused]

    assert add(greedy_output=[1, 2]) == (["greedy_output"], [])
    assert add(greedy_output=[1, 3], greedy_leads=[0.5, 0.1]) == ([], ["greedy_output"])
    assert add(greedy_output=[1, 2], greedy_leads=[0.5, 0.1]) == (["greedy_leads"], [])
    assert add(greedy_output=[1, 2], greedy_leads=[0.4, 0.2]) == ([], [])


def test_replacing_facts_drops_the_old_ones(store: BaselineStore) -> None:
    store.update_invariants([invariants_entry({"a": 1, "b": 2})], "new")
    later = replace(PROVENANCE, plugin="0.2.0")
    store.update_invariants([invariants_entry({"b": 3}, provenance=later)], "replace")
    assert store.look_up_invariants(KEY, CONDITIONS) == StoredInvariants({"b": 3}, later)


def test_facts_under_other_conditions_are_refused(store: BaselineStore) -> None:
    store.update_invariants([invariants_entry({"a": 1})], "new")
    done = store.update_invariants(
        [invariants_entry({"c": 1}, conditions=with_option("n_ctx", 4096))], "append"
    )
    assert done == Updated(refused=(Refusal(KEY, "recorded with n_ctx=2048, now 4096: replace it"),))


def test_facts_compare_as_the_json_that_they_become(store: BaselineStore) -> None:
    store.update_invariants([invariants_entry({"a": (1, (2,))})], "new")
    assert store.update_invariants([invariants_entry({"a": (1, (2,))})], "new") == Updated()
    found = store.look_up_invariants(KEY, CONDITIONS)
    assert isinstance(found, StoredInvariants)
    assert found.invariants == {"a": [1, [2]]}


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), {1, 2}, b"x"])
def test_facts_that_are_no_json_are_refused(store: BaselineStore, value: Any) -> None:
    store.update_invariants([invariants_entry({"a": 1})], "new")
    (refusal,) = store.update_invariants([invariants_entry({"b": value, "c": 1})], "replace").refused
    assert refusal.key == KEY
    assert refusal.reason.startswith("is not JSON: ")
    found = store.look_up_invariants(KEY, CONDITIONS)
    assert isinstance(found, StoredInvariants)
    assert found.invariants == {"a": 1}


def test_an_entry_without_facts_is_refused(store: BaselineStore) -> None:
    done = store.update_invariants([invariants_entry({})], "new")
    assert done.refused == (Refusal(KEY, "has no invariants"),)


def test_half_a_character_is_refused_and_what_was_there_stays(store: BaselineStore, tmp_path: Path) -> None:
    store.update_invariants([invariants_entry({"a": 1})], "new")
    before = portable_file_of(tmp_path).read_bytes()
    with pytest.raises(BaselineError, match=r"cannot hold this: .*surrogates not allowed$"):
        store.update_invariants([invariants_entry({"b": "\ud800"})], "new")
    assert portable_file_of(tmp_path).read_bytes() == before
    assert files_in(tmp_path) == [f"portable/{MODULE}.json"]


# ── from a run ───────────────────────────────────────────────────────────────────────────────────


def test_conditions_and_provenance_are_made_from_a_run(store: BaselineStore) -> None:
    run = replace(RUN, subject=replace(SUBJECT, load_options=LoadOptions(n_threads=2)))
    conditions = Conditions.of(run)
    now = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone(timedelta(hours=2)))
    provenance = Provenance.of(run.build, now, "0.1.0")
    assert provenance.recorded == "2026-01-02T03:04:05+02:00"
    assert provenance.build == "llama-cpp-python 0.3.36"
    store.update([entry({SPEED: 1.0}, conditions=conditions, provenance=provenance)], "new")
    assert not isinstance(store.look_up(KEY, SPEED, Conditions.of(run)), Missing)
    newer = replace(run, build=replace(run.build, version="0.3.37", llama_cpp_commit="1234567"))
    assert not isinstance(store.look_up(KEY, SPEED, Conditions.of(newer)), Missing)
    faster = replace(run, subject=replace(run.subject, load_options=LoadOptions(n_threads=4)))
    missing = store.look_up(KEY, SPEED, Conditions.of(faster))
    assert missing == Missing("recorded with n_threads=2, now 4")
