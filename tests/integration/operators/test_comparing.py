"""Two builds in turns, each a stand-in that repeats what the real programs printed."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.checks.operators import ProfilingContext, Work, compare
from pytest_llm.checks.operators.explain import lines
from pytest_llm.errors import BuildError
from pytest_llm.stats.operators import least_repetitions, operator_changes

from .conftest import SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.checks.operators.programs import CaseTime
    from pytest_llm.records import OperatorRun

    from .conftest import Desk

MATMUL = "MUL_MAT q4_1 576×1536, n=1"
HEAD = "MUL_MAT q8_0 576×49152, n=1"


def named(run: OperatorRun) -> list[str]:
    """Which operators differ."""
    return [str(each.case) for each in operator_changes(run) if each.differs]


def test_the_operation_that_was_slowed_is_named_and_nothing_else(
    desk: Desk, work: Work, context: ProfilingContext
) -> None:
    run = compare(desk.tree("b", slower={"q4_1": 1.4}), desk.tree("a"), work, context)

    assert run.shapes == "model"
    repeated = [str(each.case) for each in operator_changes(run)]
    assert HEAD in repeated
    assert named(run) == [each for each in repeated if "q4_1" in each]
    assert re.match(rf"generation: {MATMUL} takes (3[5-9]|4\d)\.\d % more time", lines(run)[0])


def test_nothing_is_named_where_a_build_is_compared_with_itself(
    desk: Desk, work: Work, context: ProfilingContext
) -> None:
    run = compare(desk.tree("b"), desk.tree("a", seed=1), work, context)

    assert named(run) == []
    assert len(operator_changes(run)) == 4
    assert lines(run)[0].startswith("generation: of ")


def test_the_most_expensive_operations_are_compared(
    desk: Desk, work: Work, context: ProfilingContext
) -> None:
    run = compare(desk.tree("b"), desk.tree("a"), work, context)

    costs = [each.case.nodes * max(each.first) for each in run.times]
    assert costs == sorted(costs, reverse=True)
    assert [(str(each.case), each.case.nodes) for each in run.times[:2]] == [(HEAD, 1), (MATMUL, 60)]
    repeated = [bool(each.candidate) for each in run.times]
    assert repeated == sorted(repeated, reverse=True)


def test_sides_take_turns_in_the_order_of_the_coin(desk: Desk, work: Work, context: ProfilingContext) -> None:
    compare(desk.tree("b"), desk.tree("a"), work, context)

    who = [side for side, _ in desk.asked]
    assert who == list(itertools.islice(itertools.cycle("baab"), len(who)))


@pytest.mark.parametrize("seconds", [60.0, 120.0, 300.0])
def test_the_time_is_kept_and_used(desk: Desk, work: Work, context: ProfilingContext, seconds: float) -> None:
    run = compare(desk.tree("b"), desk.tree("a"), work, replace(context, seconds=seconds))

    repeated = [each for each in run.times if each.candidate]
    assert {len(each.candidate) for each in repeated} == {least_repetitions(len(repeated))}
    assert run.seconds <= seconds
    more = len(repeated) + 1
    look = 2 * SECONDS * len(run.times)
    longer = 2 * SECONDS * more * least_repetitions(more)
    assert more > len(run.times) or longer > 0.9 * (seconds - look)


def test_a_comparison_that_takes_longer_than_it_looked_is_cut_off(
    desk: Desk, work: Work, context: ProfilingContext
) -> None:
    # Each process takes longer than the one before.
    slowing = replace(context, clock=lambda: 0.02 * len(desk.asked) ** 2)

    run = compare(desk.tree("b"), desk.tree("a"), work, slowing)

    assert run.seconds < context.seconds + 5.0  # no case is begun that is not expected to fit
    assert operator_changes(run)
    assert "nothing is certain in the time that was left" in lines(run)[0]


def test_what_there_was_no_time_to_look_at_is_told(desk: Desk, work: Work, context: ProfilingContext) -> None:
    run = compare(desk.tree("b"), desk.tree("a"), work, replace(context, seconds=20.0))

    assert run.not_covered == ("no time was left for 7 cheaper ones",)


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ({"crash": ["FLASH_ATTN_EXT"]}, "test-backend-ops was ended by SIGILL (the candidate)"),
        ({"without": ["FLASH_ATTN_EXT"]}, "the candidate does not support it"),
    ],
)
def test_a_case_that_one_side_cannot_do_is_told_and_costs_no_other(
    desk: Desk, work: Work, context: ProfilingContext, does: dict[str, list[str]], reason: str
) -> None:
    run = compare(desk.tree("b", **does), desk.tree("a"), work, replace(context, seconds=300.0))

    told = [each for each in run.not_covered if each.startswith("FLASH_ATTN_EXT ")]
    assert told
    assert all(each.endswith(f": {reason}") for each in told)
    assert {each.case.operator for each in run.times} >= {"MUL_MAT", "RMS_NORM"}
    assert "FLASH_ATTN_EXT" not in {each.case.operator for each in run.times}


def test_operations_that_are_numbered_otherwise_are_renumbered(
    desk: Desk, work: Work, context: ProfilingContext
) -> None:
    run = compare(desk.tree("b"), desk.tree("a", renumbered=3), work, context)

    assert [str(each.case) for each in run.times[:2]] == [HEAD, MATMUL]
    assert run.not_covered == ()


def test_what_the_builds_take_for_different_operations_is_left_out(
    desk: Desk, work: Work, context: ProfilingContext
) -> None:
    def perf(program: Path, *others: Any) -> list[CaseTime]:
        timed = desk.perf(program, *others)
        one = program.parent.parent.name == "a"
        return [each._replace(operator="DUP") if one and each.operator == "ADD" else each for each in timed]

    run = compare(desk.tree("b"), desk.tree("a"), work, replace(context, perf=perf))

    assert run.not_covered == ("ADD f32 576: the builds run it as ADD and DUP",)


def test_a_benchmark_that_reads_no_file_is_measured_on_built_in_shapes(
    desk: Desk, work: Work, context: ProfilingContext
) -> None:
    run = compare(desk.tree("b", slower={"q4_1": 1.4}), desk.tree("a", old=True), work, context)

    assert run.shapes == "built in"
    assert run.not_covered == ("the model's own shapes: the benchmark of a does not measure them",)
    assert {str(each.case) for each in run.times} == {
        "MUL_MAT q4_1 14336×4096, n=1",
        "MUL_MAT q8_0 14336×4096, n=1",
        "FLASH_ATTN_EXT f16 64×4096×8, n=1",
    }
    assert named(run) == ["MUL_MAT q4_1 14336×4096, n=1"]
    assert all(each.share is None for each in operator_changes(run))


def test_a_prompt_is_measured_on_built_in_shapes(desk: Desk, work: Work, context: ProfilingContext) -> None:
    run = compare(desk.tree("b"), desk.tree("a"), replace(work, phase="prompt"), context)

    assert (run.phase, run.shapes) == ("prompt", "built in")
    assert {str(each.case) for each in run.times} == {
        "MUL_MAT q4_1 14336×4096, n=512",
        "MUL_MAT q8_0 14336×4096, n=512",
    }


def test_the_reference_exports_the_graph_where_the_candidate_cannot(
    desk: Desk, work: Work, context: ProfilingContext
) -> None:
    candidate, reference = desk.tree("b"), desk.tree("a")
    candidate.lacks.add("test-export-graph-ops")

    run = compare(candidate, reference, work, context)

    assert (run.shapes, run.not_covered) == ("model", ())
    assert reference.made == ["test-backend-ops", "test-export-graph-ops"]


def test_where_nobody_exports_the_graph_built_in_shapes_do(
    desk: Desk, work: Work, context: ProfilingContext
) -> None:
    candidate, reference = desk.tree("b", cannot_export=True), desk.tree("a", cannot_export=True)

    run = compare(candidate, reference, work, context)

    assert run.shapes == "built in"
    assert run.not_covered == ("the model's own shapes: test-export-graph-ops ended with 1",)


def test_a_benchmark_that_cannot_be_made_is_an_error(
    desk: Desk, work: Work, context: ProfilingContext
) -> None:
    candidate = desk.tree("b")
    candidate.lacks.add("test-backend-ops")

    with pytest.raises(BuildError, match="has no target"):
        compare(candidate, desk.tree("a"), work, context)


def test_no_more_threads_than_the_subjects_are_taken(
    desk: Desk, work: Work, context: ProfilingContext
) -> None:
    one = replace(work, options=replace(work.options, n_threads=1))

    run = compare(desk.tree("b"), desk.tree("a"), one, context)

    assert {threads for _, threads in desk.asked} == {1}
    assert (run.threads, run.asked_threads) == (1, 1)


def test_where_upstream_takes_fewer_threads_that_is_told(
    desk: Desk, work: Work, context: ProfilingContext
) -> None:
    run = compare(desk.tree("b"), desk.tree("a"), work, replace(context, cores=2))

    assert (run.threads, run.asked_threads) == (1, 2)
    assert "the subject has 2" in lines(run)[1]
