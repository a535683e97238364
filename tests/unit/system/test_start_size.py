"""Sizes of what a process is started with."""

from __future__ import annotations

import os

import pytest

from pytest_llm.system.start_size import PADDING, padded_arguments, padded_environment


def bytes_of_environment(environment: dict[str, str]) -> int:
    return sum(len(os.fsencode(f"{name}={value}")) + 1 for name, value in environment.items())


def bytes_of_arguments(arguments: list[str]) -> int:
    """Return the bytes on the stack: the path of the program is stored once more."""
    return sum(len(os.fsencode(each)) + 1 for each in (arguments[0], *arguments))


@pytest.mark.parametrize("value", ["", "x", "/a/longer/path", "ü" * 100])
def test_environments_have_one_size_whatever_their_values(value: str) -> None:
    padded = padded_environment({"PATH": "/bin", "LD_LIBRARY_PATH": value})
    assert padded.keys() == {"PATH", "LD_LIBRARY_PATH", PADDING}
    assert (padded["PATH"], padded["LD_LIBRARY_PATH"]) == ("/bin", value)
    assert bytes_of_environment(padded) == 2**14


def test_a_padding_that_is_asked_for_comes_on_top() -> None:
    assert bytes_of_environment(padded_environment({"PATH": "/bin", PADDING: "y" * 777})) == 2**14 + 777


def test_what_is_larger_than_a_step_is_padded_to_the_next_one() -> None:
    assert bytes_of_environment(padded_environment({"PATH": "x" * 2**14})) == 2 * 2**14


@pytest.mark.parametrize("program", ["/python", "/a/far/longer/path/of/an/environment/bin/python"])
def test_arguments_have_one_size_whatever_the_path_of_the_program(program: str) -> None:
    padded = padded_arguments([program, "-S", "worker", '{"read": []}'])
    assert padded[:3] == [program, "-S", "worker"]
    assert padded[3].rstrip(" ") == '{"read": []}'
    assert bytes_of_arguments(padded) == 2**14
