"""Which operations differ, by their times alone, and in which words that is told."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from pytest_llm.checks.operators.explain import lines
from pytest_llm.records import OperatorCase, OperatorRun, OperatorTimes
from pytest_llm.stats.operators import affordable_cases, least_repetitions, operator_changes

NOISE = (1.01, 0.99, 1.02, 0.98, 1.015, 0.985, 1.005, 0.995)


def case(name: str, nodes: int = 30) -> OperatorCase:
    return OperatorCase(name, "q4_1 576×1536, n=1", nodes, "")


def times(name: str, ratio: float, seconds: float = 1e-5, nodes: int = 30) -> OperatorTimes:
    reference = tuple(seconds * noise for noise in NOISE)
    candidate = tuple(seconds * ratio * noise for noise in (*NOISE[3:], *NOISE[:3]))
    return OperatorTimes(case(name, nodes), (seconds * ratio, seconds), candidate, reference)


def run(*found: OperatorTimes, **others: object) -> OperatorRun:
    return replace(OperatorRun("generation", times=found, seconds=60.0), **others)  # type: ignore[arg-type]


def test_the_operation_that_takes_longer_differs_and_the_others_do_not() -> None:
    found = operator_changes(run(times("MUL_MAT", 1.34), times("ROPE", 1.0), times("ADD", 1.0)))

    assert [each.differs for each in found] == [True, False, False]
    assert found[0].change == pytest.approx(0.34, abs=0.02)
    assert found[0].interval is not None
    assert 0.25 < found[0].interval[0] < 0.34 < found[0].interval[1] < 0.45


def test_an_operation_that_takes_less_time_differs_as_well() -> None:
    (found,) = operator_changes(run(times("MUL_MAT", 0.8)))

    assert found.differs
    assert found.change == pytest.approx(-0.2, abs=0.02)


def test_a_share_counts_nodes_and_what_was_only_looked_at() -> None:
    looked_at = OperatorTimes(case("ADD", 60), (1e-6, 1e-6))

    (found,) = operator_changes(run(times("MUL_MAT", 2.0, 1e-6, nodes=30), looked_at))

    assert found.share == pytest.approx(30 * 2 / (30 * 2 + 60), rel=0.01)


def test_shapes_that_are_not_the_models_have_no_share() -> None:
    (found,) = operator_changes(run(times("MUL_MAT", 1.0, nodes=0), shapes="built in"))

    assert found.share is None


@pytest.mark.parametrize(("cases", "needed"), [(1, 6), (2, 7), (3, 7), (4, 8), (6, 8), (7, 9), (12, 9)])
def test_one_repetition_less_could_not_tell_anything(cases: int, needed: int) -> None:
    assert least_repetitions(cases) == needed
    found = tuple(times(str(number), 1.5) for number in range(cases))
    enough = tuple(
        replace(each, candidate=(each.candidate * 2)[:needed], reference=(each.reference * 2)[:needed])
        for each in found
    )
    too_few = tuple(
        replace(each, candidate=each.candidate[: needed - 1], reference=each.reference[: needed - 1])
        for each in enough
    )
    assert all(each.interval is not None for each in operator_changes(run(*enough)))
    assert all(each.interval is None and not each.differs for each in operator_changes(run(*too_few)))


def test_as_many_cases_as_there_is_time_for_are_repeated() -> None:
    assert affordable_cases([2.0] * 10, 2 * 5 * 8) == 5
    assert affordable_cases([2.0] * 10, 2 * 5 * 8 - 1) == 4
    assert affordable_cases([9.0, 1.0], 70) == 2
    assert affordable_cases([9.0, 1.0], 69) == 1
    assert affordable_cases([100.0], 1) == 1


def test_equal_builds_have_an_operation_named_in_at_most_one_run_of_twenty() -> None:
    chance = random.Random(1)

    def noisy() -> OperatorTimes:
        one, other = (tuple(1e-5 * chance.lognormvariate(0, 0.05) for _ in range(8)) for _ in range(2))
        return OperatorTimes(case("MUL_MAT"), (1e-5, 1e-5), one, other)

    named = sum(
        any(each.differs for each in operator_changes(run(*(noisy() for _ in range(5))))) for _ in range(1000)
    )

    assert named <= 70  # 50 are expected at most


def test_what_differs_is_told_with_its_share_and_the_rest_in_a_word() -> None:
    told = lines(run(times("MUL_MAT", 1.34), times("ROPE", 1.0), threads=1, asked_threads=2))

    assert told == [
        "generation: MUL_MAT q4_1 576×1536, n=1 takes 34.0 % more time (+30.0 … +37.4 %) and is 57 % of the "
        "operators' time; of 1 other operator none differs (−3.0 … +2.5 %)",
        "generation, by upstream's test-backend-ops on the model's own shapes, 100 % of the time of all that "
        "were measured, 8 repetitions interleaved, 95 % intervals for all together, 1 thread (upstream takes "
        "half of the machine's; the subject has 2)",
    ]


def test_nothing_that_differs_is_told_with_what_it_could_be() -> None:
    assert lines(run(times("MUL_MAT", 1.0)))[0] == "generation: of 1 operator none differs (−2.7 … +2.5 %)"


def test_too_little_time_is_told() -> None:
    hasty = replace(times("MUL_MAT", 1.5), candidate=(1.0,), reference=(1.0,))

    assert lines(run(hasty))[0] == "generation: of 1 operator nothing is certain in the time that was left"


def test_what_could_not_be_measured_is_told() -> None:
    assert lines(run(not_covered=("0.3.35 has no sources here",))) == [
        "generation: operators not compared: 0.3.35 has no sources here"
    ]
