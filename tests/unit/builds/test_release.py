"""What uv is told, what it gets to see, and what is made of what it says."""

from __future__ import annotations

import sys

import pytest

from pytest_llm.builds import Identity, release
from pytest_llm.system import build_environment

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def identity(*settings: str) -> Identity:
    return Identity("llama-cpp-python", "0.3.36", settings, "linux-x86_64", "cpython-311")


@pytest.mark.parametrize(
    ("settings", "arguments"),
    [
        ((), ""),
        (("-DA=1", "-DB=2"), "-DA=1 -DB=2"),
        (('-DFLAGS=-O3 -DX="y\\z"', "-DLIST=75;86"), "'-DFLAGS=-O3 -DX=\"y\\z\"' '-DLIST=75;86'"),
        (("-DNAME=日本",), "'-DNAME=日本'"),
    ],
)
def test_settings_are_variables_by_which_uv_tells_wheels_apart(
    settings: tuple[str, ...], arguments: str
) -> None:
    config = tomllib.loads(release.config_of(identity(*settings)))

    assert config == {
        "extra-build-variables": {
            "llama-cpp-python": {"CMAKE_ARGS": arguments, "PYTEST_LLM_BUILD": "1"},
        }
    }


def test_what_would_change_what_is_compiled_is_left_out_of_the_environment() -> None:
    kept = {"PATH", "HOME", "UV_CACHE_DIR", "UV_DEFAULT_INDEX", "CMAKE_BUILD_PARALLEL_LEVEL", "CUDA_HOME"}
    dropped = {
        "CMAKE_ARGS",
        "CMAKE_PREFIX_PATH",
        "SKBUILD_CMAKE_ARGS",
        "CC",
        "CXX",
        "CFLAGS",
        "CXXFLAGS",
        "LDFLAGS",
        "CUDACXX",
        "PYTHONPATH",
        "UV_PYTHON",
        "UV_NO_CONFIG",
        "VIRTUAL_ENV",
        "GIT_DIR",
        "GIT_INDEX_FILE",
    }
    given = dict.fromkeys(kept | dropped, "1")
    assert set(build_environment.building(given)) == set(build_environment.fetching(given)) == kept


def test_the_last_lines_are_those_that_were_written_without_uv_s_own_words() -> None:
    log = "\n".join([*(f"DEBUG line {n}" for n in range(30)), "", "  at the end  ", "hint: look elsewhere"])
    assert release.uv_last_lines(log) == (*(f"line {n}" for n in range(16, 30)), "  at the end")


NO_SOLUTION = "error: No solution found when resolving dependencies\n  cause: Because "
OLD_NO_SOLUTION = "  × No solution found when resolving dependencies:\n  ╰─▶ Because "


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (f"{NO_SOLUTION}there is no version of llama-cpp-python==0.3.36 and …", "finds no release 0.3.36"),
        (f"{OLD_NO_SOLUTION}there is no version of llama-cpp-python==0.3.36", "finds no release 0.3.36"),
        (f"{NO_SOLUTION}llama-cpp-python was not found in the package registry", "finds no release 0.3.36"),
        (
            f"{NO_SOLUTION}llama-cpp-python was not found in the cache …\n\nhint: Packages were unavailable "
            "because the network was disabled.",
            "uv may not use the network (UV_OFFLINE)",
        ),
        (
            "error: Request failed after 3 retries\n  cause: Failed to fetch: x",
            "cannot reach the package index",
        ),
    ],
)
def test_why_uv_did_not_begin_is_told_with_a_fix(log: str, reason: str) -> None:
    found = release._reason(f"DEBUG something\n{log}\n", identity())
    assert found is not None
    assert reason in found


@pytest.mark.parametrize(
    "log",
    [
        "",
        "error: Failed to build `llama-cpp-python==0.3.36`\n  CMake Error: Failed to fetch a thing",
        "error: something that nobody has seen before",
    ],
)
def test_what_is_not_understood_is_left_to_the_last_lines(log: str) -> None:
    assert release._reason(log, identity()) is None
