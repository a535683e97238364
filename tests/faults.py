"""Faults that a run survives: each test names those that it lets happen, and the docs list them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Test = TypeVar("Test", bound="Callable[..., object]")

# Modules with such tests, in the order of the table.
MODULES = (
    "tests.system.faults.test_protocol",
    "tests.system.faults.test_flood",
    "tests.integration.worker.test_log_text",
    "tests.system.faults.test_forged_log",
    "tests.system.faults.test_shrunken_model",
    "tests.integration.cli.test_hostile_text",
    "tests.integration.engines.test_llama_bench",
    "tests.integration.worker.test_run_faults",
)


class Fault(NamedTuple):
    """What happens, and how the run goes on or ends."""

    happens: str
    then: str


# Tests of other parts, by module and name.
ELSEWHERE = {
    "tests.system.faults.test_worker_deaths": {
        "test_a_worker_killed_for_memory_says_what_to_do": Fault(
            "a worker that the kernel kills because memory runs out", "the message says so, and what to lower"
        ),
    },
    "tests.system.faults.test_orphans": {
        "test_a_worker_ends_with_its_killed_parent_while_it": Fault(
            "SIGKILL of pytest while a worker loads, decodes or waits", "the worker ends as well"
        ),
    },
    "tests.system.test_kills": {
        "test_what_is_killed_leaves_no_process_no_lock_and_no_half_file": Fault(
            "SIGKILL, SIGTERM or SIGINT at a random moment of a run, build, download or bisect",
            "no process, no lock and no half file is left, and the next run is green",
        ),
    },
    "tests.system.sandbox.test_forbidden": {
        "test_a_locked_in_worker_cannot_and_a_free_one_can": Fault(
            "a worker that forks, runs programs, opens sockets, or reads and writes what is not its own",
            "each fails",
        ),
    },
    "tests.integration.models.test_replaced": {
        "test_a_file_that_is_swapped_by_a_rename_between_two_sessions_is_an_error": Fault(
            "a model file replaced between two sessions", "an error that names the file; nothing is compared"
        ),
        "test_bytes_written_through_an_old_mapping_are_an_error": Fault(
            "a model file rewritten through an old mapping", "an error that names the file"
        ),
    },
    "tests.system.faults.test_hostile_models": {
        "test_the_bytes_that_were_hashed_are_loaded_whatever_has_the_name": Fault(
            "a model file replaced between hashing and loading", "the bytes that were hashed are loaded"
        ),
        "test_weights_that_would_crash_llama_cpp_are_refused_before_it_sees_them": Fault(
            "a model with weights that crash llama.cpp", "it is refused before llama.cpp sees it"
        ),
    },
    "tests.integration.models.test_store": {
        "test_a_process_killed_while_it_fetches_leaves_nothing_that_is_trusted": Fault(
            "SIGKILL while a model is fetched", "what was fetched is not used"
        ),
    },
    "tests.integration.baselines.test_writing": {
        "test_a_full_disk_is_told_and_the_old_file_stays": Fault(
            "a full disk, when baselines are written", "one line that says so; the old file stays"
        ),
        "test_a_read_only_file_system_is_told": Fault(
            "a read-only disk, when baselines are written", "one line that says so"
        ),
    },
    "tests.integration.engines.test_llama_bench": {
        "test_a_crash_is_told_with_what_it_was_doing": Fault(
            "a llama-bench that crashes", "its end is named, with what it was doing"
        ),
        "test_a_program_that_hangs_is_ended": Fault(
            "a llama-bench that never answers", "it is ended after `--llm-timeout`"
        ),
        "test_an_answer_that_is_none_is_told": Fault(
            "a llama-bench that answers garbage or nothing", "its answer *cannot be read*, and why"
        ),
    },
    "tests.integration.worker.test_two_runs": {
        "test_the_second_waits_and_says_for_whom_and_then_measures": Fault(
            "two runs at once", "the second waits until the first has measured"
        ),
        "test_a_holder_that_is_killed_frees_it": Fault(
            "SIGKILL of the first of two runs", "the second goes on at once"
        ),
    },
    "tests.integration.test_option_llm_json": {
        "test_a_clock_that_is_set_back_loses_nothing": Fault(
            "a wall clock that is set back during a run", "the results are written"
        ),
    },
}


def fault(happens: str, then: str) -> Callable[[Test], Test]:
    """Name a fault that a test lets happen."""
    return faults([Fault(happens, then)])


def faults(several: list[Fault]) -> Callable[[Test], Test]:
    """Name the faults that a parametrized test lets happen."""

    def named(test: Test) -> Test:
        test.__dict__.setdefault("faults", []).extend(several)
        return test

    return named


def rows() -> Iterator[tuple[str, Fault]]:
    """Yield every fault, after the file and the name of its test."""
    for name in MODULES:
        module = importlib.import_module(name)
        path = f"{name.replace('.', '/')}.py"
        for test in vars(module).values():
            if getattr(test, "__module__", "") == name:
                for each in getattr(test, "faults", []):
                    yield f"{path}::{test.__name__}", each
    for name, tests in ELSEWHERE.items():
        module = importlib.import_module(name)
        for test_name, each in tests.items():
            assert callable(getattr(module, test_name)), test_name
            yield f"{name.replace('.', '/')}.py::{test_name}", each
