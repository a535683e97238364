"""That the ini file is the one that pytest takes, wherever pytest is started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_llm.errors import UsageError
from pytest_llm.system import ini_file

if TYPE_CHECKING:
    from pathlib import Path

SECTIONS = {
    "pytest.ini": "[pytest]\nllm_baselines = x\n",
    ".pytest.ini": "[pytest]\nllm_baselines = x\n",
    "pyproject.toml": '[tool.pytest.ini_options]\nllm_baselines = "x"\n',
    "tox.ini": "[pytest]\nllm_baselines = x\n",
    "setup.cfg": "[tool:pytest]\nllm_baselines = x\n",
}
OTHERS = {"pyproject.toml": "[project]\nname = 'x'\n", "tox.ini": "[tox]\n", "setup.cfg": "[metadata]\n"}
LAYOUTS: dict[str, dict[str, str]] = {
    "none": {},
    **{name: {name: text} for name, text in SECTIONS.items()},
    **{f"{name} two above": {f"../../{name}": text} for name, text in SECTIONS.items()},
    "empty pytest.ini": {"pytest.ini": ""},
    "no section anywhere": OTHERS,
    "no section here, one above": {**OTHERS, "../tox.ini": SECTIONS["tox.ini"]},
    "a pyproject.toml without a section, above": {"../pyproject.toml": OTHERS["pyproject.toml"]},
    "two of them without": {
        "pyproject.toml": OTHERS["pyproject.toml"],
        "../pyproject.toml": OTHERS["pyproject.toml"],
    },
    "an empty table": {"pyproject.toml": "[tool.pytest.ini_options]\n", "../tox.ini": SECTIONS["tox.ini"]},
    "all at once": SECTIONS,
    "all but pytest's own": {name: SECTIONS[name] for name in ("pyproject.toml", "tox.ini", "setup.cfg")},
}


# Those that pytest before 8.1 takes no file of.
NEWER = {"no section anywhere", "a pyproject.toml without a section, above", "two of them without"}
OLD = pytest.mark.skipif(
    pytest.version_tuple < (8, 1), reason="older pytest takes no pyproject.toml without a section"
)


@pytest.mark.parametrize(
    "layout",
    [pytest.param(each, id=name, marks=[OLD] * (name in NEWER)) for name, each in LAYOUTS.items()],
)
def test_it_is_the_one_that_pytest_takes(layout: dict[str, str], pytester: pytest.Pytester) -> None:
    here = pytester.path / "a" / "b"
    here.mkdir(parents=True)
    for name, text in layout.items():
        (here / name).write_text(text, encoding="utf-8")
    pytester.chdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        config = pytester.parseconfig()
    found = ini_file.find(here)
    assert (found.resolve() if found else None) == config.inipath
    if config.inipath is not None:
        said = (ini_file.read_section(config.inipath) or {}).get("llm_baselines", "")
        assert said == config.getini("llm_baselines")


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="older pytest has no native table")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", '[tool.pytest]\nllm_baselines = "x"\n'),
        ("pytest.toml", '[pytest]\nllm_baselines = "x"\n'),
        ("pytest.toml", ""),
    ],
)
def test_native_tables_are_read_as_pytest_reads_them(name: str, text: str, pytester: pytest.Pytester) -> None:
    (pytester.path / name).write_text(text, encoding="utf-8")
    config = pytester.parseconfig()
    assert ini_file.find(pytester.path) == config.inipath == pytester.path / name
    said = (ini_file.read_section(pytester.path / name) or {}).get("llm_baselines", "")
    assert said == config.getini("llm_baselines")


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("pyproject.toml", "[tool", "is not valid TOML: "),
        ("tox.ini", "[pytest\n", "cannot be read: "),
        ("setup.cfg", "x", "cannot be read: "),
        ("pyproject.toml", "a = '\xff'", "is not UTF-8 at byte 5; "),
        ("tox.ini", "[pytest]\na=\xff", "is not UTF-8 at byte 11; "),
        ("pyproject.toml", "a = " + "[" * 100_000, "is nested too deep; "),
        ("pyproject.toml", "a = 1\na = 2", "is not valid TOML: "),
        ("pyproject.toml", "#" * (ini_file.MAX_BYTES + 1), f"has more than {ini_file.MAX_BYTES} bytes; "),
    ],
    ids=lambda each: repr(each[:30]),
)
def test_a_damaged_file_is_named(name: str, text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"; mend it$") as caught:
        ini_file.find(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / name} {reason}")
    assert len(str(caught.value)) < 500


def test_a_pipe_in_its_place_is_none_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pyproject.toml")
    assert ini_file.find(tmp_path) != tmp_path / "pyproject.toml"
    with pytest.raises(UsageError, match="is a pipe, not a regular file"):
        ini_file.read_section(tmp_path / "pyproject.toml")


def test_a_path_with_a_nul_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nllm_baselines = "a\\u0000b"\n')
    with pytest.raises(UsageError, match=r"^'a\\x00b': a path holds no NUL character"):
        ini_file.baselines(tmp_path)
