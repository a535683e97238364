"""Every option: the command line wins over the ini file, in each of its forms, and that over the default."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pytest_llm.plugin
from pytest_llm.plugin.options import OPTIONS, Option, value
from tests.integration.conftest import Ini

if TYPE_CHECKING:
    from tests.integration.conftest import Project

# Option -> a value for the file, and another one for the command line.
VALUES: dict[str, tuple[Any, Any]] = {
    "llm_bench": (False, True),
    "llm_bench_only": (False, True),
    "llm_model": (["smollm2-135m"], ["tiny.gguf"]),
    "llm_candidate": ("llama-bench", "fake"),
    "llm_against": ("llama-cpp-python", "0.3.16"),
    "llm_anchor": ("llama-cpp-python", "0.3.16"),
    "llm_archive_url": ("https://example.org/{tag}.zip", "https://example.com/{tag}.tar.gz"),
    "llm_build_settings": ("-DA=1", "-DB=2"),
    "llm_aa": (False, True),
    "llm_effort": ("quick", "thorough"),
    "llm_time_limit": ("1 min", "2 min"),
    "llm_budget": ("1 h", "2 h"),
    "llm_operators": (False, True),
    "llm_instructions": (False, True),
    "llm_json": ("a.json", "b.json"),
    "llm_baselines": ("a", "b"),
    "llm_update_baselines": ("new", "append"),
    "llm_missing_baseline": ("warn", "fail"),
    "llm_inconclusive": ("warn", "fail"),
    "llm_uncovered": ("warn", "fail"),
    "llm_drift": ("fail", "warn"),
    "llm_none_measured": ("fail", "warn"),
    "llm_cache": ("a", "b"),
    "llm_trust_cache": (False, True),
    "llm_sandbox": ("on", "off"),
    "llm_timeout": ("1 min", "2 min"),
}
every_option = pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)


def _flags(option: Option, given: Any) -> list[str]:
    if option.kind == "bool":
        return [option.flag]
    return [f"{option.flag}={each}" for each in (given if isinstance(given, list) else [given])]


def test_the_table_has_every_option() -> None:
    assert set(VALUES) == {option.name for option in OPTIONS}


def test_options_are_read_in_one_place_but_for_one_that_is_refused_on_the_command_line_alone() -> None:
    sources = [path.read_text() for path in Path(pytest_llm.plugin.__file__).parent.glob("*.py")]
    elsewhere = [found[0] for text in sources for found in re.finditer(r"get(option|ini)\(.llm_\w+", text)]
    assert elsewhere == ['getoption("llm_update_baselines']


def test_nothing_said_is_the_default(pytester: pytest.Pytester) -> None:
    config = pytester.parseconfig()
    for option in OPTIONS:
        found = value(config, option.name)
        assert (tuple(found) if option.kind == "linelist" else found) == option.default, option.name


@every_option
def test_each_is_read_by_its_own_name(pytester: pytest.Pytester, option: Option) -> None:
    in_file, given = VALUES[option.name]
    others = [each for each in OPTIONS if each is not option]
    if option.kind == "bool":
        Ini("pytest.ini", pytester.path).write(**{option.name: True})
        by_file = pytester.parseconfig()
        assert value(by_file, option.name) is True
    else:
        Ini("pytest.ini", pytester.path).write(**{option.name: in_file})
        by_file = pytester.parseconfig()
        assert value(by_file, option.name) == in_file
    by_flag = pytester.parseconfig(*_flags(option, given))
    assert value(by_flag, option.name) == given
    for config in (by_file, by_flag):
        for each in others:
            found = value(config, each.name)
            assert (tuple(found) if each.kind == "linelist" else found) == each.default, each.name


def test_the_command_line_wins_over_every_form_of_file(pytester: pytest.Pytester, ini: Ini) -> None:
    ini.write(**{name: in_file for name, (in_file, _) in VALUES.items()})
    config = pytester.parseconfig()
    assert {name: value(config, name) for name in VALUES} == {
        name: each for name, (each, _) in VALUES.items()
    }
    flags = [flag for option in OPTIONS for flag in _flags(option, VALUES[option.name][1])]
    config = pytester.parseconfig(*flags)
    assert {name: value(config, name) for name in VALUES} == {
        name: each for name, (_, each) in VALUES.items()
    }
    on = {option.name: True for option in OPTIONS if option.kind == "bool"}
    ini.write(**on)
    config = pytester.parseconfig()
    assert {name: value(config, name) for name in on} == on


def test_help_has_a_default_for_every_option_and_a_unit_for_every_time(project: Project) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "400")
        text = project.run("--help").stdout.str()
    described = [" ".join(each.split()) for each in re.split(r"\n  (?=\S)", text)]
    for option in OPTIONS:
        for name in (option.flag, option.name):
            (found,) = (each for each in described if re.match(rf"{name}[ =]", each))
            assert "default: " in found, name
            assert ("seconds, or a number with a unit" in found) == (option.metavar == "TIME"), name
