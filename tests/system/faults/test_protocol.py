"""A worker that misbehaves at any request ends with one clear error, and takes nothing with it."""

from __future__ import annotations

import gc
import signal
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from pytest_llm.engines.llama_cpp_python.operations import OPERATIONS
from pytest_llm.errors import WorkerAnswerError, WorkerDiedError, WorkerHungError
from tests.faults import Fault, fault, faults
from tests.system.faults.scripted import MISBEHAVIOURS, SILENCES, Misbehaviour, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.records import JSON

pytestmark = pytest.mark.quick
_THEN = {
    WorkerAnswerError: "the worker is ended: its answer *cannot be trusted*, and why",
    WorkerHungError: "the worker is ended after `--llm-timeout`",
    WorkerDiedError: "its end is named with what it means, and the last lines of its log",
}
# More than a pipe takes.
_LONG = "p" * 2**21


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """No process, no open file and no temporary file is left after a test."""
    gc.collect()  # what earlier tests left open would be closed meanwhile, and its numbers taken again
    before = _left()
    yield
    assert _left() == before


def _left() -> tuple[set[int], list[str]]:
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    return children, sorted(each.name for each in Path("/proc/self/fd").iterdir())


def arguments_of(op: str) -> dict[str, JSON]:
    """What a request needs for its answer to have a length."""
    needed: dict[str, dict[str, JSON]] = {
        "top_logprobs": {"prompt": "a", "top_k": 1},
        "embed": {"texts": []},
    }
    return needed.get(op, {})


def misbehave(op: str, how: Misbehaviour, folder: Path) -> None:
    also: dict[str, JSON] = {"content": _LONG} if how is SILENCES["stops reading"] else {}
    with closing(start(folder, how.code, how.timeout, reads=how.reads)) as worker:
        with pytest.raises(how.error) as caught:
            worker.ask(op, **arguments_of(op), **also)
        assert type(caught.value) is how.error
        assert how.reason in str(caught.value)
        assert str(caught.value).isprintable()
        assert all(line.isprintable() for line in caught.value.log)
        if isinstance(caught.value, WorkerDiedError | WorkerHungError):
            assert OPERATIONS[op].doing in str(caught.value)
            with pytest.raises(how.error) as again:  # it stays ended
                worker.ask(op, **arguments_of(op))
            assert again.value is caught.value
            assert not _runs(worker.pid)


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@faults(
    [
        Fault(f"a worker that {each.happens}", _THEN.get(each.error, "the message is shown without them"))
        for each in MISBEHAVIOURS.values()
    ]
)
@pytest.mark.parametrize("how", MISBEHAVIOURS.values(), ids=MISBEHAVIOURS)
def test_a_worker_that_misbehaves_is_ended_and_named(how: Misbehaviour, tmp_path: Path) -> None:
    misbehave("load", how, tmp_path)


@fault(
    "a worker that answers one request twice", "the second answer is not taken for that of the next request"
)
@pytest.mark.parametrize("pause", [0, 0.05])
def test_a_second_answer_is_no_answer_to_the_next_request(pause: float, tmp_path: Path) -> None:
    code = (
        f"""send('{{"id": NUMBER, "ok": 1}}\\n'); time.sleep({pause}); send('{{"id": NUMBER, "ok": 2}}\\n')"""
    )
    with closing(start(tmp_path, code)) as worker:
        assert worker.ask("generate_steps", steps=1) == 1
        time.sleep(2 * pause)
        with pytest.raises(WorkerAnswerError, match=r"it came before the request|it answers another request"):
            worker.ask("generate_steps", steps=2)


@fault(
    "Ctrl-C or a time limit of a test in the middle of a request",
    "the worker is ended, so that no later request gets its answer",
)
def test_a_request_that_is_broken_off_ends_the_worker(tmp_path: Path) -> None:
    code = """time.sleep(0.3); send('{"id": NUMBER, "ok": 1}\\n')"""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with closing(start(tmp_path, code)) as worker:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(KeyboardInterrupt):
                worker.ask("generate_steps", steps=1)
            with pytest.raises(WorkerDiedError, match="a request was broken off while generating"):
                worker.ask("generate_steps", steps=2)
            assert not worker.alive
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
@pytest.mark.parametrize("op", OPERATIONS)
def test_the_same_holds_for_every_request(op: str, tmp_path: Path) -> None:
    for how in MISBEHAVIOURS.values():
        misbehave(op, how, tmp_path)


def test_every_request_of_the_worker_has_a_row_here() -> None:
    from pytest_llm.engines.llama_cpp_python.process import WORKER

    source = (WORKER / "serve.py").read_text(encoding="utf-8")
    tables = source.partition("# Requests by name")[2].partition("class Server")[0]
    named = {line.split('"')[1] for line in tables.splitlines() if line.startswith('    "')}
    named |= {line.split("do_")[1].split("(")[0] for line in source.splitlines() if "    def do_" in line}
    assert named == {*OPERATIONS}
