"""The table of options, which the command line sets first and the ini file second.

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
        default: The value if neither sets it.
        help: What it does, with unit and default.
        metavar: The placeholder of its value.
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
    Option("llm_bench_only", "bool", False, "Run benchmarks and skip all other tests (default: off)."),
    Option(
        "llm_model",
        "linelist",
        (),
        "Default model for tests whose llm_model marker names none: a name of the catalogue or the path of "
        "a GGUF file; repeatable (default: none).",
        "NAME_OR_FILE",
    ),
    Option(
        "llm_candidate",
        "string",
        "llama-cpp-python",
        "The build to test, ENGINE[@WHERE]: llama-cpp-python, a release such as 0.3.36 or "
        "0.3.36[-DGGML_AVX2=OFF], venv:PATH, lib:PATH, git:REF:CHECKOUT, llama-server@WHERE, "
        "llama-bench@bin:PATH, openai@URL, ollama, lmstudio, or textgen (default: the llama-cpp-python of "
        "this environment).",
        "BUILD",
    ),
    Option(
        "llm_against",
        "string",
        "",
        "Compare the candidate with this reference build, measured in the same sessions (default: none).",
        "BUILD",
    ),
    Option(
        "llm_anchor",
        "string",
        "",
        "Measure gated workloads beside this pinned build, and store and judge their ratios to it; "
        "--llm-against and --llm-aa come first (default: none, stored values are a screen).",
        "BUILD",
    ),
    Option(
        "llm_build_settings",
        "string",
        "",
        "CMake settings for the releases and commits that are compiled: -DNAME=VALUE, quoted as in a shell; "
        "per-build settings override these (default: none, which leaves llama.cpp's defaults).",
        "SETTINGS",
    ),
    Option(
        "llm_archive_url",
        "string",
        "https://github.com/ggml-org/llama.cpp/releases/download/{tag}/llama-{tag}-bin-{platform}.tar.gz",
        "Where the prebuilt archive of a release of llama.cpp is, such as llama-server@b11434: a URL with "
        "{tag} and perhaps {platform} (ubuntu-x64, macos-arm64, …) that ends in .tar.gz or .zip (default: "
        "that of llama.cpp's own releases).",
        "URL",
    ),
    Option(
        "llm_aa",
        "bool",
        False,
        "Compare the candidate with itself, to see what this machine can detect; with --llm-against, both "
        "must be the same build (default: off).",
    ),
    Option(
        "llm_effort",
        "string",
        "normal",
        "Number of sessions, each in fresh processes: quick 3, normal 5, thorough 10 (default: normal). A "
        "comparison of two builds takes as many as its verdict needs, at least 6, 10 or 20.",
        "EFFORT",
    ),
    Option(
        "llm_time_limit",
        "string",
        "",
        "Longest time to measure one workload, of one test or of several that share it; a comparison that it "
        "ends before a loss can be called fails as not judged: seconds, or a number with a unit (default: "
        "twice the planned time).",
        "TIME",
    ),
    Option(
        "llm_budget",
        "string",
        "",
        "Longest time to measure in the whole run, shared by all tests by their planned times; making builds "
        "and fetching models do not count: seconds, or a number with a unit (default: none).",
        "TIME",
    ),
    Option(
        "llm_operators",
        "bool",
        False,
        "If a speed regressed and both builds were made from source, measure which operators got slower: up "
        "to two minutes each for prompt and generation, plus compiling llama.cpp's operator benchmark once "
        "(default: off).",
    ),
    Option(
        "llm_instructions",
        "bool",
        False,
        "Count the instructions of a decoded token on one thread, by a hardware counter, or under valgrind "
        "if there is none: up to a minute more for each subject (default: off).",
    ),
    Option("llm_json", "string", "", "Write the results to this JSON file (default: none).", "FILE"),
    Option(
        "llm_baselines",
        "string",
        "",
        "Folder of the stored baselines of all tests (default: for each test, baselines in the nearest "
        "folder with an ini file).",
        "DIR",
    ),
    Option(
        "llm_update_baselines",
        "string",
        "",
        "Store this run in the baselines: new adds metrics that have no stored run, append adds the run to "
        "the stored ones with its verdict, replace deletes the stored runs of these tests first and accepts "
        "tests that failed by themselves, too; refused when CI is set in the environment (default: write "
        "none).",
        "MODE",
    ),
    *(
        Option(
            f"llm_{name}",
            "string",
            default,
            f"Result of {what}: warn or fail (default: {default}).",
            "warn|fail",
        )
        for name, what, default in (
            (
                "missing_baseline",
                "a test without a baseline to compare with, as its module has none or conditions differ",
                "warn",
            ),
            ("inconclusive", "an inconclusive comparison", "warn"),
            ("uncovered", "a test that asks for a metric that cannot be measured here", "warn"),
            ("drift", "a test whose configuration or output is not as asked, or not as before", "fail"),
            ("none_measured", "a run that measures nothing, such as a shard without benchmarks", "fail"),
        )
    ),
    Option(
        "llm_cache",
        "string",
        "",
        "Folder for downloaded models and for builds (default: the environment variable PYTEST_LLM_CACHE, "
        "or the user's cache folder).",
        "DIR",
    ),
    Option(
        "llm_trust_cache",
        "bool",
        False,
        "Believe the hashes of unchanged model files that earlier runs stored in the cache, although every "
        "program that can write the cache can forge them (default: hash each model once a run).",
    ),
    Option(
        "llm_sandbox",
        "string",
        "on",
        "Lock the processes that load models in, without network, other programs or files of yours: on, as "
        "far as this system can; strict, or not at all; off (default: on).",
        "on|strict|off",
    ),
    Option(
        "llm_timeout",
        "string",
        "10 min",
        "Longest time that a worker may take for one answer before it is killed: seconds, or a number with "
        "a unit (default: 10 min).",
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


# Options of pytest with which no test runs, by the names of their values: what shows other things, and what
# sets tests up only ("setupplan" sets "setuponly"). Their other forms follow.
_SHOWING = {
    "collectonly": ("--collect-only", "--collectonly", "--co"),
    "showfixtures": ("--fixtures", "--funcargs"),
    "show_fixtures_per_test": ("--fixtures-per-test",),
    "cacheshow": ("--cache-show",),
    "markers": ("--markers",),
    "help": ("--help", "-h"),
    "version": ("--version", "-V"),
}
_SETTING_UP = {"setupplan": "--setup-plan", "setuponly": "--setup-only"}


def showing(config: pytest.Config) -> str:
    """Return the option with which pytest shows something and runs no test; "" if tests run."""
    return only_showing(config) or next(
        (flag for name, flag in _SETTING_UP.items() if config.getoption(name, None)), ""
    )


def only_showing(config: pytest.Config) -> str:
    """Return the option with which pytest does not even set tests up; "" if it does."""
    return next((forms[0] for name, forms in _SHOWING.items() if config.getoption(name, None)), "")


def hidden(config: pytest.Config) -> str:
    """Return the option of :func:`only_showing` if the command line does not hold it; "" if it does."""
    flag = only_showing(config)
    forms = next((forms for forms in _SHOWING.values() if forms[0] == flag), ())
    return "" if any(_holds(word, forms) for word in config.invocation_params.args) else flag


def _holds(word: str, forms: tuple[str, ...]) -> bool:
    if word.startswith("@"):
        from pathlib import Path

        return any(_holds(each, forms) for each in Path(word[1:]).read_text(encoding="utf-8").splitlines())
    short = [each[1] for each in forms if not each.startswith("--")]
    if word.startswith("-") and not word.startswith("--"):  # "-qh"
        return any(each in word for each in short)
    return word.partition("=")[0] in forms


def measuring_asked(config: pytest.Config) -> bool:
    """Return if benchmarks are to run, also if ``--help`` kept pytest from reading the rest of the line."""
    flags = ("llm_bench", "llm_bench_only")
    words = config.invocation_params.args
    return any(value(config, name) or f"--{name.replace('_', '-')}" in words for name in flags)


def any_given(config: pytest.Config) -> bool:
    """Return if the command line or the ini file sets any option of this plugin."""
    return any(config.getoption(option.name) is not None for option in OPTIONS) or bool(ini_keys(config))


def ini_keys(config: pytest.Config) -> list[str]:
    """Return the keys of the ini file and of ``-o`` that begin with ``llm_``, or with ``LLM-``, say."""
    keys = [text.partition("=")[0].strip() for text in config.getoption("override_ini") or ()]
    if config.inipath is not None and "llm" in config.inipath.read_text(encoding="utf-8").lower():
        from pytest_llm.system.ini_file import keys_of

        keys += keys_of(config.inipath)
    return [key for key in keys if key.lower().replace("-", "_").startswith("llm_")]


def value(config: pytest.Config, name: str) -> Any:
    """Return an option's value: from the command line, the ini file, or the default."""
    given = config.getoption(name)
    return config.getini(name) if given is None else given
