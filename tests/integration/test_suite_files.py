"""Suites without Python: tables of ``*.llm.toml`` are ordinary tests."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from pytest_llm.plugin.suite_schema import schema

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SUITE = """
[load]
n_ctx = 512

[tests.chat]
workload = { prompt_tokens = 16, generate_tokens = 8 }
no_regression = true
marks = ["smoke"]

[tests.chat.limits]
generation_tokens_per_second = 1
first_token_latency_p95 = "60 s"
peak_ram = "100 GiB"

[tests.cache]
workload = { prompt_tokens = 16, generate_tokens = 8, depth = [0, 64] }
load = { flash_attn = ["on", "off"] }
faster_than = { by = "1%", load = { n_batch = 64 } }
"""
SMALL = "workload = { prompt_tokens = 4, generate_tokens = 4 }"
INI = "[pytest]\nmarkers = smoke\n"


def write(project: Project, text: str) -> None:
    project.write(text, "speed.llm.toml")


def test_tables_are_tests_with_parameters_marks_and_lines(project: Project) -> None:
    write(project, SUITE)
    project.write(INI, "pytest.ini")
    assert project.collected(f"--llm-model={project.model}") == [
        "test_chat",
        "test_cache[flash_attn=on-depth=0]",
        "test_cache[flash_attn=on-depth=64]",
        "test_cache[flash_attn=off-depth=0]",
        "test_cache[flash_attn=off-depth=64]",
    ]
    assert project.collected("-m", "smoke", f"--llm-model={project.model}") == ["test_chat"]
    assert project.collected("speed.llm.toml::test_chat", f"--llm-model={project.model}") == ["test_chat"]


def test_a_table_is_measured_and_its_limits_are_judged(project: Project) -> None:
    write(project, SUITE)
    project.write(INI, "pytest.ini")
    result = project.measure("-k", "chat", "--llm-json=results.json")
    result.assert_outcomes(passed=1)
    (test,) = json.loads((project.path / "results.json").read_text())["tests"]
    assert test["nodeid"] == "speed.llm.toml::test_chat"
    assert test["load_options"]["n_ctx"] == 512
    assert test["metrics"]["first_token_latency_p95"]["limit"]["bound"] == 60
    assert (test["file"], test["line"]) == ("speed.llm.toml", 5)
    write(project, SUITE.replace("generation_tokens_per_second = 1", "generation_tokens_per_second = 1e9"))
    failed = project.failures("-k", "chat")
    assert "generation speed is" in failed["test_chat"]


def test_a_table_is_skipped_without_the_flag(project: Project) -> None:
    write(project, SUITE)
    project.run("-k", "chat", f"--llm-model={project.model}").assert_outcomes(skipped=1, deselected=4)


def test_a_table_gates_against_another_build(project: Project, fake: Fake, reference: str) -> None:
    write(project, SUITE)
    project.write(INI, "pytest.ini")
    fake.set_reference(token_seconds=1 / 256)
    failed = project.failures("-k", "chat", f"--llm-against={reference}")
    assert "regressed" in failed["test_chat"]


def test_paths_of_models_begin_at_the_file(project: Project) -> None:
    (project.path / "sub").mkdir()
    (project.path / "sub" / "own.gguf").write_bytes(project.model.read_bytes())
    project.write(f"models = ['own.gguf']\n[tests.chat]\n{SMALL}\n", "sub/own.llm.toml")
    options = [each for each in project.measuring() if not each.startswith("--llm-model")]
    project.run(*options).assert_outcomes(passed=1)


def test_answers_are_checked_without_the_flag(project: Project) -> None:
    write(
        project,
        """
        [tests.talks]
        answers = [{ prompt = "One two", contains = "no such text", max_tokens = 4 }]
        """.replace("        ", ""),
    )
    result = project.run(f"--llm-candidate={project.candidate}", f"--llm-model={project.model}")
    assert "without 'no such text'" in project.texts(result)["test_talks"]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("limit = { peak_ram = 1 }", "[tests.one]: unknown key 'limit': did you mean limits?"),
        ("limits = { peak_rum = 1 }", "[tests.one], limits: unknown metric 'peak_rum'"),
        ("limits = { peak_ram = '1 GiBs' }", "[tests.one], limits: llm_limit"),
        ("limits = 3", "[tests.one], limits: 3 is not a table"),
        ("workload = { prompt = 3 }", "[tests.one], workload: unknown argument 'prompt'"),
        (
            "workload = { prompt_tokens = 0 }",
            "[tests.one], workload: llm_workload: prompt_tokens=0",
        ),
        ("workload = { depth = [] }", "[tests.one], workload: a list of parameters is empty"),
        ("load = { n_context = 3 }", "[tests.one], load: unknown load option 'n_context'"),
        ("load = { flash_attn = 'maybe' }", "[tests.one], load: load: flash_attn='maybe' is not one of"),
        (
            "no_regression = { tolerance = '5' , metric = 'x' }",
            "[tests.one], no_regression: unknown key 'metric'",
        ),
        ("no_regression = 'yes'", "[tests.one], no_regression: 'yes' is not a table"),
        ("faster_than = { by = '10%' }", "[tests.one], faster_than: llm_faster_than: than what?"),
        ("output = { max_kl = -1 }", "[tests.one], output: llm_output"),
        ("answers = []", "[tests.one], answers: it is not a list"),
        ("answers = [{ prompt = 'x' }]", "[tests.one], answers: each answer needs a prompt"),
        (
            "answers = [{ prompt = 'x', contains = 'y' }]\noutput = true",
            "[tests.one]: answers measures nothing, and output does",
        ),
        ("models = 3", "[tests.one], models: 3 is neither a name, a path, nor a list"),
        ("models = 'nothing.gguf'", "[tests.one]: "),
        ("marks = ['a-b']", "[tests.one], marks: 'a-b' cannot be a marker"),
        ("load = { n_ctx = 64 }", "[tests.one]: the context is too small"),
    ],
)
def test_what_is_wrong_with_a_table_is_one_line_and_the_others_run(
    project: Project, table: str, told: str
) -> None:
    write(
        project,
        f"[tests.one]\n{table}\n[tests.two]\nworkload = {{ prompt_tokens = 4, generate_tokens = 4 }}\n",
    )
    result = project.measure()
    text = project.texts(result)["test_one"]
    assert text.startswith(f"speed.llm.toml, {told}")
    assert "\n" not in text.strip()
    result.assert_outcomes(errors=1, passed=1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "speed.llm.toml, at the top: it has no tests: write a table [tests.NAME]"),
        ("test = 1\n[tests.a]", "speed.llm.toml, at the top: unknown key 'test': did you mean tests?"),
        ("[tests.a", "speed.llm.toml"),
        ("[tests.a]\n[tests.test_a]", "speed.llm.toml, [tests.a]: two tests have this name"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(project: Project, text: str, told: str) -> None:
    write(project, text)
    result = project.measure()
    assert result.ret == 2
    assert any(told in line for line in result.outlines)
    assert "Traceback" not in result.stdout.str()


def test_a_name_that_is_none_is_told(project: Project) -> None:
    write(project, "[tests.a-b]\noutput = true\n")
    (text,) = project.texts(project.measure()).values()
    assert text.startswith("speed.llm.toml, [tests.a-b]: a name has letters, digits and '_' only")


def test_the_schema_takes_what_is_read_and_refuses_what_is_not() -> None:
    found = schema()
    jsonschema.Draft202012Validator.check_schema(found)
    valid: Any = jsonschema.Draft202012Validator(found)
    valid.validate(tomllib.loads(SUITE))
    for wrong in (
        "[tests.a]\nlimit = {}",
        "[tests.a]\nlimits = { peak_rum = 1 }",
        "[tests.a]\nload = { n_context = 1 }",
        "[tests.a]\nload = { flash_attn = 'maybe' }",
        "[tests.a-b]",
        "models = ['x']",
    ):
        assert not valid.is_valid(tomllib.loads(wrong)), wrong
