"""What a file must be to be believed: every way in which it may not is told apart, in one line."""

from __future__ import annotations

import functools
import json
import os
import tempfile
import time
from dataclasses import replace
from datetime import timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llm.baselines import (
    BaselineStore,
    Conditions,
    Missing,
    RecordedInvariants,
    RecordedRuns,
    Refusal,
    Series,
    file_format,
)
from pytest_llm.errors import BaselineError
from pytest_llm.records import Provenance, StoredInvariants, StoredRun, TestKey, metrics

from . import things
from .things import (
    CONDITIONS,
    FINGERPRINT,
    LATER,
    MACHINE,
    MODULE,
    OTHER_KEY,
    PROVENANCE,
    SPEED,
    a_store,
    file_of,
    files_in,
    portable_file_of,
    rewrite,
)

if TYPE_CHECKING:
    from collections.abc import Callable

AGAIN = "restore it from version control, or delete it and accept the results again"
AWAY = "move it away, or make it readable"
# A plain name, which every version of jsonschema spells alike in a path.
NAME = "test_generation"
KEY = TestKey(MODULE, NAME)
entry = functools.partial(things.entry, key=KEY)
invariants_entry = functools.partial(things.invariants_entry, key=KEY)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    a_store(tmp_path).update([entry()], "new")
    return file_of(tmp_path)


def root_of(file: Path) -> Path:
    """Return the folder of baselines that a module's file is in."""
    return file.parents[2 + MODULE.count("/")]


def refusal(file: Path) -> str:
    """What is said of a file, by all who read it; without its path."""
    store = a_store(root_of(file))
    before = file.read_bytes() if file.is_file() else b""
    told = set()
    for read in (
        lambda: store.look_up(KEY, SPEED, CONDITIONS),
        lambda: store.recorded(MODULE),
        lambda: store.update([entry()], "append"),
        lambda: store.update([entry()], "replace"),
        lambda: store.unknown([KEY]),
        lambda: store.prune([OTHER_KEY]),
    ):
        with pytest.raises(BaselineError) as caught:
            read()
        told.add(str(caught.value))
    assert not file.is_file() or file.read_bytes() == before
    (message,) = told
    assert "\n" not in message
    assert message.startswith(str(file))
    return message.removeprefix(str(file)).removeprefix(":").strip()


def changed(file: Path, *path: str | int, to: Any) -> dict[str, Any]:
    """The file's document with one value changed, its digest as it was."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    inner: Any = found
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = to
    return found


def write(file: Path, found: Any) -> None:
    file.write_text(json.dumps(found), encoding="utf-8")


VALUE = ("tests", NAME, "metrics", SPEED, "runs", 0, "value")


@pytest.mark.parametrize("length", [0, 1, 2, 100, -2])
def test_a_file_that_was_cut_off_is_told(file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])
    told = refusal(file)
    assert told.startswith("is not JSON (")
    assert told.endswith(AGAIN)


@pytest.mark.parametrize("data", [b"\xff\xfe{}", b"{" * 3, b'{"a": ' + b"9" * 5000 + b"}"])
def test_what_is_not_json_is_told(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    assert refusal(file).endswith(AGAIN)


@pytest.mark.parametrize("depth", [200, 300, 400, 490, 900, 980, 990, 1000, 3000, 100_000])
def test_json_that_is_nested_deep_is_refused(file: Path, depth: int) -> None:
    nested = "[" * depth + "]" * depth
    for text in (nested, file.read_text(encoding="utf-8").replace("118.2", nested)):
        file.write_text(text, encoding="utf-8")
        assert refusal(file).endswith(AGAIN)


def test_a_merge_conflict_is_told(file: Path) -> None:
    file.write_text("<<<<<<< HEAD\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    assert refusal(file) == f"has merge conflicts: join both sides with pytest-llm baselines merge {file}"


@pytest.mark.parametrize("data", ["[]", "1", "null", '"x"'])
def test_json_that_is_no_object_is_told(file: Path, data: str) -> None:
    file.write_text(data, encoding="utf-8")
    assert refusal(file) == f"$ is not an object; {AGAIN}"


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (VALUE, "fast", f"$.tests.{NAME}.metrics.{SPEED}.runs[0].value: 'fast' is not of type 'number'"),
        (VALUE, True, f"$.tests.{NAME}.metrics.{SPEED}.runs[0].value: True is not of type 'number'"),
        (
            VALUE,
            0,
            f"$.tests.{NAME}.metrics.{SPEED}.runs[0].value: 0 is less than or equal to the minimum",
        ),
        (VALUE, -1.5, f"$.tests.{NAME}.metrics.{SPEED}.runs[0].value: -1.5 is less than or equal to"),
        (VALUE, 10**400, "holds 1000"),
        (("tests", NAME, "metrics", SPEED, "runs"), [], f"$.tests.{NAME}.metrics.{SPEED}.runs: []"),
        (
            ("tests", NAME, "metrics", SPEED, "runs", 0, "by"),
            "me",
            f"$.tests.{NAME}.metrics.{SPEED}.runs[0]:",
        ),
        (
            ("tests", NAME, "metrics", SPEED, "runs", 0, "provenance", "recorded"),
            "today",
            f"$.tests.{NAME}.metrics.{SPEED}",
        ),
        (("tests", NAME, "metrics"), {}, f"$.tests.{NAME}.metrics: "),
        (("tests", NAME, "invariants"), {}, f"$.tests.{NAME}: "),
        (
            ("tests", NAME, "conditions", "model_sha256"),
            "55",
            f"$.tests.{NAME}.conditions.model_sha256: '55'",
        ),
        (
            ("tests", NAME, "conditions", "load_options", "n_ctx"),
            [1],
            f"$.tests.{NAME}.conditions.load_opt",
        ),
        (("tests",), [], "$.tests: [] is not of type 'object'"),
        (("machine",), None, "$.machine: None is not of type 'object'"),
        (("digest",), "short", "$.digest: 'short' does not match"),
        (("note",), "mine", "$: Additional properties are not allowed ('note' was unexpected)"),
        (("schema_version",), "1", "$.schema_version is not a version"),
        (("schema_version",), True, "$.schema_version is not a version"),
        (("schema_version",), 1.0, "$.schema_version is not a version"),
        (("schema_version",), -1, "$.schema_version is not a version"),
    ],
)
def test_a_file_edited_out_of_shape_names_the_place(
    file: Path, path: tuple[str | int, ...], value: Any, told: str
) -> None:
    write(file, changed(file, *path, to=value))
    message = refusal(file)
    assert message.startswith(told)
    assert message.endswith(AGAIN)


def test_more_runs_than_are_ever_kept_are_out_of_shape(file: Path) -> None:
    run = json.loads(file.read_text(encoding="utf-8"))["tests"][NAME]["metrics"][SPEED]["runs"][0]
    rewrite(file, changed(file, *VALUE[:-2], to=[run] * 21))
    assert f"$.tests.{NAME}.metrics.{SPEED}.runs: " in refusal(file)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (VALUE, 118.3),
        (VALUE, 118),
        (("machine", "cores"), 4),
        (("tests", NAME, "conditions", "load_options", "n_threads"), 4),
        (("tests", NAME, "metrics", SPEED, "runs", 0, "provenance", "build"), "llama-cpp-python 0.3.37"),
        (("tests", NAME, "metrics", SPEED, "unit"), "tok/min"),
        (("digest",), "0" * 32),
    ],
)
def test_a_file_edited_within_the_shape_is_refused_by_its_digest(
    file: Path, path: tuple[str | int, ...], value: Any
) -> None:
    write(file, changed(file, *path, to=value))
    assert refusal(file) == f"was edited by hand or damaged: {AGAIN}"


def test_a_file_without_a_digest_is_refused(file: Path) -> None:
    found = json.loads(file.read_text(encoding="utf-8"))
    del found["digest"]
    write(file, found)
    assert refusal(file).startswith("$: 'digest' is a required property")


def test_layout_alone_may_change(file: Path) -> None:
    write(file, json.loads(file.read_text(encoding="utf-8")))
    assert not isinstance(a_store(root_of(file)).look_up(KEY, SPEED, CONDITIONS), Missing)


def test_a_name_that_is_there_twice_is_refused(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"value": 118.2', '"value": 218.2,\n "value": 118.2'), encoding="utf-8")
    assert refusal(file) == f"holds the key 'value' twice; {AGAIN}"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_are_not_finite_are_refused(file: Path, number: str) -> None:
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("118.2", number), encoding="utf-8")
    assert refusal(file) == f"holds {number}, not a finite number; {AGAIN}"


@pytest.mark.parametrize("version", [2, 10**9])
def test_a_file_from_the_future_says_to_upgrade(file: Path, version: int) -> None:
    write(file, {"schema_version": version, "anything": "else"})
    assert refusal(file) == f"is of version {version}, this plugin reads up to 1: upgrade pytest-llm-bench"


def test_a_file_that_is_too_large_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = file.stat().st_size
    monkeypatch.setattr(file_format, "MAX_BYTES", size)
    assert a_store(root_of(file)).recorded(MODULE)
    monkeypatch.setattr(file_format, "MAX_BYTES", size - 1)
    assert refusal(file) == f"has more than {size - 1} bytes: {AWAY}"


def test_a_file_that_would_be_too_large_is_not_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()
    monkeypatch.setattr(file_format, "MAX_BYTES", len(before))
    with pytest.raises(BaselineError, match=r"would have \d+ bytes, more than \d+: split the test module$"):
        a_store(root_of(file)).update([entry(recorded=LATER)], "append")
    assert file.read_bytes() == before


def test_a_file_under_another_module_s_name_is_refused(file: Path) -> None:
    rewrite(file, changed(file, "module", to="tests.other"))
    assert refusal(file) == (
        "holds the baselines of the module 'tests.other': "
        "name it tests.other.json, or restore it from version control"
    )


def test_a_file_that_another_machine_recorded_is_refused(file: Path) -> None:
    rewrite(file, changed(file, "machine", "cpu", to="another CPU"))
    assert refusal(file) == (
        "recorded on another machine: cpu was 'another CPU', here it is 'a CPU'; record its runs on this one"
    )


def test_a_folder_or_a_pipe_in_the_file_s_place_is_told(file: Path) -> None:
    file.unlink()
    file.mkdir()
    assert refusal(file) == f"cannot be read: it is a folder, not a regular file: {AWAY}"
    file.rmdir()
    os.mkfifo(file)
    assert refusal(file) == f"cannot be read: it is a pipe, not a regular file: {AWAY}"


def test_a_portable_file_is_none_of_a_machine(file: Path) -> None:
    a_store(root_of(file)).update_invariants([invariants_entry()], "new")
    file.write_bytes(portable_file_of(root_of(file)).read_bytes())
    assert refusal(file).startswith("$: ")


def test_a_portable_file_is_guarded_in_the_same_way(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    store.update_invariants([invariants_entry({"a": 1})], "new")
    file = portable_file_of(tmp_path)
    for path, value, told in (
        (("tests", NAME, "invariants", "a"), 2, f"{file} was edited by hand or damaged: {AGAIN}"),
        (("tests", NAME, "invariants"), {}, f"{file}: $.tests.{NAME}.invariants: "),
        (("machine",), {}, f"{file}: $: Additional properties are not allowed ('machine' was unexpected)"),
    ):
        whole = file.read_bytes()
        write(file, changed(file, *path, to=value))
        for read in (
            lambda: store.look_up_invariants(KEY, CONDITIONS),
            lambda: store.update_invariants([invariants_entry({"a": 1})], "replace"),
        ):
            with pytest.raises(BaselineError) as caught:
                read()
            assert str(caught.value).startswith(told)
        file.write_bytes(whole)


def test_a_unit_that_is_another_now_is_told_and_not_appended_to(file: Path) -> None:
    metric = ("tests", NAME, "metrics", SPEED)
    rewrite(file, changed(file, *metric, "unit", to="tok/min"))
    store = a_store(root_of(file))
    assert store.look_up(KEY, SPEED, CONDITIONS) == Missing("recorded in 'tok/min', now in 'tok/s'")
    refused = store.update([entry()], "append").refused
    assert refused == (Refusal(KEY, "recorded in 'tok/min', now in 'tok/s': replace it", SPEED),)
    store.update([entry()], "replace")
    assert not isinstance(store.look_up(KEY, SPEED, CONDITIONS), Missing)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            entry(recorded="today"),
            r"recorded: 'today' does not match",
        ),
        (
            entry(conditions=replace(CONDITIONS, model_sha256="5")),
            r"model_sha256: '5' does not match",
        ),
        (entry({SPEED: 1e301}), r"value: 1e\+301 is greater than the maximum"),
        (
            entry(conditions=replace(CONDITIONS, workload={"depth": 2**64})),
            r"cannot hold this: it holds 18446744073709551616, an integer of more than 64 bits$",
        ),
    ],
)
def test_what_could_not_be_read_again_is_not_written(
    file: Path, wrong: tuple[TestKey, RecordedRuns], told: str
) -> None:
    before = file.read_bytes()
    with pytest.raises(BaselineError, match=told):
        a_store(root_of(file)).update([wrong], "replace")
    assert file.read_bytes() == before
    assert files_in(file.parent) == [file.name]


def test_a_file_older_than_any_release_is_refused(file: Path) -> None:
    write(file, {"schema_version": 0, "anything": "else"})
    assert refusal(file) == (
        "is of version 0, this plugin reads from 1 on: delete it and accept the results again"
    )


# ── any content, any damage ──────────────────────────────────────────────────────────────────────

NAMES = st.from_regex(r"[A-Za-z_]\w{0,8}(\.[A-Za-z_]\w{0,8}){0,2}", fullmatch=True)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
INTEGERS = st.integers(-(2**63), 2**64 - 1)
SCALARS = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | WORDS
FACTS = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner), max_leaves=6)
KEYS = st.builds(
    TestKey,
    module=st.sampled_from(["a", "tests.test_b"]),
    name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="["), min_size=1, max_size=8),
    parameters=WORDS | st.just(""),
)
ANY_CONDITIONS = st.builds(
    Conditions,
    model_sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    engine=WORDS,
    load_options=st.dictionaries(WORDS, SCALARS, max_size=3),
    workload=st.dictionaries(WORDS, SCALARS, max_size=3),
)
TIMES = st.datetimes(timezones=st.just(timezone.utc)).map(lambda time: time.isoformat(timespec="seconds"))
PROVENANCES = st.builds(
    Provenance, build=WORDS, llama_cpp_commit=st.just("") | WORDS, recorded=st.just("") | TIMES, plugin=WORDS
)
VALUES = st.dictionaries(
    st.sampled_from([SPEED, "load_time", "peak_ram", "first_token_latency_p95"]),
    st.floats(min_value=5e-324, max_value=1e300),
    min_size=1,
)


def one_run(values: dict[str, float], provenance: Provenance) -> dict[str, Series]:
    return {
        name: Series(metrics.find(name).unit.base, (StoredRun(value, provenance),))
        for name, value in values.items()
    }


RUNS = st.builds(RecordedRuns, ANY_CONDITIONS, st.builds(one_run, VALUES, PROVENANCES))
INVARIANTS = st.builds(
    RecordedInvariants, ANY_CONDITIONS, st.dictionaries(WORDS, FACTS, min_size=1, max_size=3), PROVENANCES
)


@given(st.dictionaries(KEYS, RUNS, min_size=1, max_size=4))
def test_any_run_survives_being_stored(entries: dict[TestKey, RecordedRuns]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = BaselineStore(Path(folder), FINGERPRINT, MACHINE).update(entries.items(), "new")
        assert not done.refused
        store = BaselineStore(Path(folder), FINGERPRINT, MACHINE)
        for key, test in entries.items():
            assert store.recorded(key.module)[key] == test
            for metric, series in test.metrics.items():
                assert store.look_up(key, metric, test.conditions) == series.runs
        assert store.unknown([]) == sorted(entries, key=lambda key: (key.module, key.name, key.parameters))
        before = {name: Path(folder, name).read_bytes() for name in files_in(Path(folder))}
        store.update(entries.items(), "replace")
        assert {name: Path(folder, name).read_bytes() for name in files_in(Path(folder))} == before


@given(st.dictionaries(KEYS, INVARIANTS, min_size=1, max_size=4))
def test_any_invariants_survive_being_stored(entries: dict[TestKey, RecordedInvariants]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = BaselineStore(Path(folder), FINGERPRINT, MACHINE).update_invariants(entries.items(), "new")
        assert not done.refused
        store = BaselineStore(Path(folder), FINGERPRINT, MACHINE)
        for key, test in entries.items():
            found = store.look_up_invariants(key, test.conditions)
            assert found == StoredInvariants(test.invariants, test.provenance)


def refused_or_harmless(whole: bytes, damaged: bytes, read: Callable[[bytes], object]) -> None:
    try:
        found = read(damaged)
    except BaselineError as error:
        assert "\n" not in str(error)  # noqa: PT017 - that nothing is raised is right as well
        return
    assert found == read(whole)


def parse(data: bytes) -> object:
    return file_format.parse(data, file_format.MACHINE, Path("x.json"))


@pytest.fixture(scope="module")
def small() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        a_store(Path(folder)).update([entry(key=TestKey(MODULE, "t"))], "new")
        return file_of(Path(folder)).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda byte: byte ^ 0x01, id="lowest bit"),
        pytest.param(lambda byte: byte ^ 0x80, id="highest bit"),
        pytest.param(lambda byte: byte ^ 0x20, id="case"),
        pytest.param(lambda byte: ord("0"), id="digit"),
        pytest.param(lambda byte: ord(" "), id="blank"),
        pytest.param(lambda byte: ord('"'), id="quote"),
        pytest.param(lambda byte: 0, id="zero"),
    ],
)
def test_a_damaged_byte_anywhere_is_refused_or_harmless(small: bytes, damage: Callable[[int], int]) -> None:
    for position, byte in enumerate(small):
        damaged = bytearray(small)
        damaged[position] = damage(byte)
        refused_or_harmless(small, bytes(damaged), parse)


@pytest.mark.slow
def test_a_byte_lost_or_doubled_anywhere_is_refused_or_harmless(small: bytes) -> None:
    for position in range(len(small)):
        refused_or_harmless(small, small[:position] + small[position + 1 :], parse)
        refused_or_harmless(small, small[: position + 1] + small[position:], parse)


@given(data=st.data())
def test_any_byte_in_any_place_is_refused_or_harmless(data: st.DataObject, small: bytes) -> None:
    position = data.draw(st.integers(0, len(small) - 1))
    damaged = bytearray(small)
    damaged[position] = data.draw(st.integers(0, 255))
    refused_or_harmless(small, bytes(damaged), parse)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BaselineError):
        parse(data)


def test_the_shape_and_the_provenance_agree(file: Path) -> None:
    stored = json.loads(file.read_text(encoding="utf-8"))["tests"][NAME]["metrics"][SPEED]["runs"][0]
    assert stored == {
        "value": 118.2,
        "note": "",
        "provenance": vars(PROVENANCE),
        "control": None,
        "verdict": None,
        "whole": None,
        "migrated": 0.0,
    }


# ── time ─────────────────────────────────────────────────────────────────────────────────────────


def seconds_to_read(folder: Path, count: int) -> float:
    store = a_store(folder)
    store.update([entry(key=TestKey(MODULE, f"test_{number}")) for number in range(count)], "new")
    times = []
    for _ in range(2):
        started = time.process_time()
        assert len(a_store(folder).recorded(MODULE)) == count
        times.append(time.process_time() - started)
    return min(times)


def test_the_time_to_read_a_file_grows_with_its_size(tmp_path: Path) -> None:
    few, many = seconds_to_read(tmp_path / "few", 20), seconds_to_read(tmp_path / "many", 160)
    assert many < 24 * few  # eight times as large; a square would be 64


HOSTILE: dict[str, Callable[[int], str]] = {
    "conflict markers": lambda n: "<<<<<<< a\n" * (n // 10),
    "conflicts": lambda n: "<<<<<<< a\n{}\n=======\n[]\n>>>>>>> b\n" * (n // 35),
    "tests without content": lambda n: (
        '{"schema_version":1,"tests":{' + "".join(f'"t{i}":{{}},' for i in range(n // 12)) + '"z":{}}}'
    ),
    "unknown keys": lambda n: (
        '{"schema_version":1,' + "".join(f'"k{i}":1,' for i in range(n // 10)) + '"z":1}'
    ),
    "runs": lambda n: (
        '{"schema_version":1,"tests":{"t":{"metrics":{"m":{"runs":[' + "{}," * (n // 3) + "1]}}}}}"
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_the_time_to_refuse_a_file_grows_with_its_size(kind: str, tmp_path: Path) -> None:
    def seconds(size: int) -> float:
        data = HOSTILE[kind](size).encode()
        times = []
        for _ in range(2):
            started = time.process_time()
            with pytest.raises(BaselineError) as caught:
                file_format.parse(data, file_format.MACHINE, tmp_path)
            times.append(time.process_time() - started)
            assert len(str(caught.value)) < 1000
        return min(times)

    small = seconds(2**15)
    assert seconds(2**18) < max(24 * small, 0.1)
    assert small < 1
