"""The options: one table, and where a value comes from: the command line first, the ini file second.

This module loads in every run of pytest and imports nothing but the standard library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import pytest


class Option(NamedTuple):
    """One option: ``--llm-effort`` on the command line is ``llm_effort`` in the ini file.

    Attributes:
        name: The ini key.
        kind: The type of its value in the ini file.
        default: Where neither says anything.
        help: What it does, with unit and default.
        metavar: What its value is called.
    """

    name: str
    kind: Literal["bool", "string", "linelist"]
    default: Any
    help: str
    metavar: str = ""

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.name.replace("_", "-")


OPTIONS = (
    Option("llm_bench", "bool", False, "Run benchmarks of GGUF models (default: skip them)."),
    Option("llm_bench_only", "bool", False, "Run benchmarks and nothing else (default: off)."),
    Option(
        "llm_model",
        "linelist",
        (),
        "What tests run on whose llm_model marker names no model: a catalogue name or the path of a GGUF "
        "file; may be repeated (default: none).",
        "NAME_OR_FILE",
    ),
    Option(
        "llm_candidate",
        "string",
        "llama-cpp-python",
        "The build under test, ENGINE[@WHERE]: llama-cpp-python, a release such as 0.3.36 or "
        "0.3.36[-DGGML_AVX2=OFF], venv:PATH, lib:PATH, git:REF:CHECKOUT, or llama-bench@bin:PATH (default: "
        "the llama-cpp-python of this environment).",
        "BUILD",
    ),
    Option(
        "llm_against",
        "string",
        "",
        "Judge the candidate against this build, measured beside it now (default: none).",
        "BUILD",
    ),
    Option(
        "llm_build_settings",
        "string",
        "",
        "What releases and commits are compiled with, CMake's -DNAME=VALUE, as in a shell; what a build says "
        "itself of the same names goes before it (default: nothing, which is llama.cpp's own choice).",
        "SETTINGS",
    ),
    Option(
        "llm_aa",
        "bool",
        False,
        "Judge the candidate against itself, to see what this machine can tell (default: do not).",
    ),
    Option(
        "llm_effort",
        "string",
        "normal",
        "How many sessions, fresh processes each, a subject gets: quick 3, normal 5, thorough 10 (default: "
        "normal); a pair gets as many as its answer takes, from 6, 10 or 20 on.",
        "EFFORT",
    ),
    Option(
        "llm_time_limit",
        "string",
        "20 min",
        "How long a pair may be measured before what is undecided is inconclusive: seconds, or a text with a "
        "unit (default: 20 min).",
        "TIME",
    ),
    Option(
        "llm_operators",
        "bool",
        False,
        "Where a pair of builds that were made from sources got slower, compare their operators too: up to "
        "two minutes for prompt and for generation each, and the compilation of upstream's benchmark "
        "(default: do not).",
    ),
    Option("llm_json", "string", "", "Write the results to this file, as JSON (default: none).", "FILE"),
    Option(
        "llm_baselines",
        "string",
        "",
        "The folder of baselines (default: baselines beside the ini file).",
        "DIR",
    ),
    Option(
        "llm_update_baselines",
        "string",
        "",
        "Write baselines of the tests that pass: new adds what has none, append adds this run to what is "
        "there, replace drops what is there of these tests, also of those that fail; refused when CI is set "
        "in the environment (default: write none).",
        "MODE",
    ),
    *(
        Option(
            f"llm_{name}",
            "string",
            default,
            f"What becomes of a test {of_which}: warn or fail (default: {default}).",
            "warn|fail",
        )
        for name, of_which, default in (
            ("missing_baseline", "that has nothing to be compared with", "warn"),
            ("inconclusive", "of which nothing certain can be said", "warn"),
            ("uncovered", "that asks for what cannot be measured here", "warn"),
            ("drift", "whose configuration or output differs from what it is compared with", "fail"),
        )
    ),
    Option(
        "llm_cache",
        "string",
        "",
        "Where fetched models and builds are kept (default: PYTEST_LLM_CACHE of the environment, else the "
        "user's cache folder).",
        "DIR",
    ),
    Option(
        "llm_timeout",
        "string",
        "10 min",
        "How long a worker may take for one answer before it is ended: seconds, or a text with a unit "
        "(default: 10 min).",
        "TIME",
    ),
)


def add_to(parser: pytest.Parser) -> None:
    """Declare every option, on the command line and in the ini file."""
    group = parser.getgroup("llm-bench", "benchmarks of GGUF models on llama.cpp")
    for option in OPTIONS:
        settings: dict[str, Any] = {"dest": option.name, "default": None, "help": option.help}
        if option.kind == "bool":
            settings["action"] = "store_true"
        else:
            settings["action"] = "append" if option.kind == "linelist" else "store"
            settings["metavar"] = option.metavar
        group.addoption(option.flag, **settings)
        default = list(option.default) if option.kind == "linelist" else option.default
        parser.addini(option.name, option.help, type=option.kind, default=default)


def any_given(config: pytest.Config) -> bool:
    """Whether the command line or the ini file says anything of ours."""
    return any(config.getoption(option.name) is not None for option in OPTIONS) or bool(ini_keys(config))


def ini_keys(config: pytest.Config) -> list[str]:
    """Return the keys that look like ours, of the ini file and of ``-o``."""
    keys = [text.partition("=")[0].strip() for text in config.getoption("override_ini") or ()]
    if config.inipath is not None and "llm_" in config.inipath.read_text(encoding="utf-8"):
        from pytest_llm.plugin.ini_file import keys_of

        keys += keys_of(config.inipath)
    return [key for key in keys if key.startswith("llm_")]


def value(config: pytest.Config, name: str) -> Any:
    """Return an option's value: the command line's, else the ini file's, else the default."""
    given = config.getoption(name)
    return config.getini(name) if given is None else given
