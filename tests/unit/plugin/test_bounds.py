"""Bounds in markers: what no run could fail, and what is no bound at all, is refused in one line."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llm.errors import UsageError
from pytest_llm.plugin import bounds, markers
from pytest_llm.plugin.markers import MARKERS, read


def declared(text: str) -> Any:
    """Return what a marker declares that is written as on a test."""

    def reader(name: str) -> Any:
        return lambda *arguments, **keywords: read(name, arguments, keywords)

    return eval(text, {name: reader(name) for name in MARKERS})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "llm_tokens_per_second('0 tok/s', 'prompt')",
            "*: min='0 tok/s' cannot fail, because prompt speed *",
        ),
        ("llm_tokens_per_second(min=-0.0)", "llm_tokens_per_second: min=-0.0 cannot fail, *"),
        ("llm_tokens_per_second(min=1e-400)", "llm_tokens_per_second: min=0.0 cannot fail, *"),
        (
            "llm_limit('total_tokens_per_second', min=0)",
            "llm_limit: min=0 cannot fail, because total speed *",
        ),
        ("llm_tokens_per_second(min=-1)", "llm_tokens_per_second: -1 is not a speed: it is negative; *"),
        (
            "llm_load_time(max=10**5000)",
            "llm_load_time: a number of thousands of digits is not a duration: *",
        ),
        ("llm_load_time(max=float('inf'))", "llm_load_time: inf is not a duration: it is not finite; *"),
        ("llm_tokens_per_second(min='1e400 tok/s')", "*: '1e400 tok/s' is not a speed: it is not finite; *"),
        (
            "llm_tokens_per_second(min='1,000 tok/s')",
            "*: '1,000 tok/s' is not a speed: thousands have no comma*",
        ),
        (
            "llm_tokens_per_second(min='٣ tok/s')",
            "*: '٣ tok/s' is not a speed: it is not a number with a unit*",
        ),
        ("llm_tokens_per_second(min=[40])", "llm_tokens_per_second: [[]40] is not a speed: *"),
        ("llm_ram(max='1 GiB', kind=[])", "llm_ram: *; it is llm_ram(max, kind='total')"),
        ("llm_first_token_latency(1, float('nan'))", "*: percentile nan is not above 0 and below 100*"),
        ("llm_first_token_latency(1, 10**400)", "*: percentile 1000*000 is not above 0 and below 100*"),
        (
            "llm_no_regression(tolerance=0.9999)",
            "llm_no_regression: tolerance=0.9999 is not above 0 and at most 90 %; write '5%'",
        ),
        *(
            (
                f"llm_no_regression({metrics}tolerance=0)",
                "llm_no_regression: tolerance=0 is not above 0 and *",
            )
            for metrics in ("", "'peak_ram', ", "'graph_splits', 'peak_ram', ")
        ),
        (
            "llm_no_regression('instructions_per_token', tolerance=0)",
            "llm_no_regression: tolerance=0 is not above 0 and at most 90 %; write '0.5%'",
        ),
        *(
            (
                f"llm_no_regression('{count}', tolerance='1%', negligible='0.1%')",
                "llm_no_regression: negligible='0.1%' means nothing to *, a count, which fails above *",
            )
            for count in ("graph_splits", "instructions_per_token")
        ),
        ("llm_no_regression('graph_splits', tolerance=-1)", "llm_no_regression: -1 is not a ratio: *"),
        ("llm_no_regression('graph_splits', tolerance='91%')", "*: tolerance='91%' is not * write '0.5%'"),
        ("llm_no_regression(tolerance=float('nan'))", "llm_no_regression: nan is not a ratio: *"),
        ("llm_no_regression(tolerance=10**400)", "llm_no_regression: 1000*000 is not a ratio: *"),
        (
            "llm_faster_than('0%', flash_attn='on')",
            "llm_faster_than: by='0%' is not above 0; write '10%', say",
        ),
        ("llm_output(prompts=[])", "llm_output: prompts=[[]] is neither a text nor a list of texts: *"),
        ("llm_output(top_k=0)", "llm_output: top_k=0 is not a whole number above 0 and at most 1000000: *"),
        ("llm_output(top_k=10**400)", "llm_output: top_k=1000*000 is not a whole number above 0 and *"),
        ("llm_output(max_kl=float('nan'))", "llm_output: max_kl=nan is not a number of nats, 0 or more: *"),
        (
            "llm_output(max_kl=10)",
            "llm_output: max_kl=10 cannot fail, because random output is no further away than 10: *",
        ),
        ("llm_output(max_distance=1)", "llm_output: max_distance=1 cannot fail, *"),
        ("llm_output(max_distance=float('inf'))", "llm_output: max_distance=inf cannot fail, *"),
    ],
)
def test_a_bound_that_cannot_fail_or_is_none_is_refused(text: str, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        declared(text)

    (message,) = str(caught.value).splitlines()
    pytest.LineMatcher([message]).fnmatch_lines([line])
    assert text.partition("(")[0] in message


@pytest.mark.parametrize(
    "text",
    [
        "llm_tokens_per_second(min=1e-9)",
        "llm_leak(max=0)",
        "llm_vram(max=0)",
        "llm_no_regression(tolerance=0.9)",
        "llm_no_regression('graph_splits', 'kv_cells', tolerance=0)",
        "llm_no_regression('graph_splits', tolerance='0%')",
        "llm_no_regression('instructions_per_token', tolerance='0.5%')",
        "llm_limit('graph_splits', max=1)",
        "llm_limit('graphs_reused', min=60)",
        "llm_output(max_kl=0)",
        "llm_output(max_kl=9.9, max_distance=0.99, top_k=1)",
        "llm_first_token_latency(max='1 h', percentile=99.9)",
        "llm_faster_than('0.1%', flash_attn='on')",
    ],
)
def test_a_bound_that_can_fail_is_taken(text: str) -> None:
    assert declared(text)


def test_what_is_negligible_is_above_0_and_below_the_tolerance() -> None:
    (gate,) = markers.llm_no_regression("load_time", tolerance="10%", negligible="2%")
    assert (gate.tolerance, gate.negligible) == (0.1, 0.02)
    assert {each.negligible for each in markers.llm_no_regression()} == {None}
    for wrong in ("0%", "5%", 0.06):
        with pytest.raises(UsageError, match="is not above 0 and below the tolerance of prompt speed, 5 %"):
            markers.llm_no_regression(negligible=wrong)


def test_a_tolerance_that_the_machine_cannot_hold_is_refused_with_the_least_one() -> None:
    gates = markers.llm_no_regression(tolerance="1.8%")
    bounds.check_holds(gates, 0.0029)
    with pytest.raises(UsageError, match=r"make it 1.8 % or more"):
        bounds.check_holds(gates, 0.003)
    with pytest.raises(UsageError, match=r"differ by 3 % on this machine, too much for a tolerance of 5 %"):
        bounds.check_holds(markers.llm_no_regression(), 0.01)
    # Sizes and counts have no such bias.
    bounds.check_holds(markers.llm_no_regression("peak_ram", "graph_splits"), 0.01)
