"""How a build is written, and that it reads back as itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llm.builds.reference import parse_build
from pytest_llm.errors import UsageError
from pytest_llm.records import BuildReference, Commit, Library, Release, Venv

if TYPE_CHECKING:
    from tests.checkouts import Checkout

HERE = Path.cwd()

versions = st.builds(
    lambda numbers, suffix: ".".join(map(str, numbers)) + suffix,
    st.lists(st.integers(0, 999), min_size=1, max_size=4),
    st.sampled_from(["", "rc1", ".post2", ".dev3", "+cu124", "a0.post1+local.2"]),
)
printable = st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" ")).filter(
    str.isprintable
)
names = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,8}\Z")
settings = st.dictionaries(names, printable, max_size=4)


@given(versions, settings)
def test_a_release_reads_back_as_itself(version: str, chosen: dict[str, str]) -> None:
    words = tuple(f"-D{name}={value}" for name, value in sorted(chosen.items()))
    build = Release("llama-cpp-python", version, words)

    assert parse_build(str(build), HERE) == build
    assert parse_build(str(build).removeprefix("llama-cpp-python@"), HERE) == build


@pytest.mark.parametrize(("kind", "record"), [("venv", Venv), ("lib", Library)])
@pytest.mark.parametrize("name", ["env", "a@b", "c:d", "with space", "[-DA=1]", "ünï"])
def test_a_folder_reads_back_as_itself(
    kind: str, record: type[Venv | Library], name: str, tmp_path: Path
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "libllama.so").touch()

    build = parse_build(f"{kind}:{name}", tmp_path)

    assert build == record("llama-cpp-python", str(folder))
    assert parse_build(str(build), HERE) == build


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama.cpp", "a:b", "with space", "a@b", "x[1]", "ünï]"])
@pytest.mark.parametrize("ref", ["HEAD", "master", "v1", "master~0", "HEAD@{0}", "HEAD^{/tiny: begin}"])
def test_a_ref_is_the_commit_that_it_means_now(checkout: Checkout, ref: str, name: str) -> None:
    checkout.git("tag", "v1")
    folder = checkout.path.parent / name
    checkout.path.rename(folder)

    build = parse_build(f"git:{ref}:{name}", folder.parent)
    built = parse_build(f"llama-cpp-python@git:{ref}:{name}[-DB=2 -DA=[1]]", folder.parent)

    assert build == Commit("llama-cpp-python", checkout.first, str(folder))
    assert isinstance(built, Commit)
    assert built.settings == ("-DA=[1]", "-DB=2")
    assert [parse_build(str(each), HERE) for each in (build, built)] == [build, built]
    assert str(build) == f"llama-cpp-python@git:{checkout.first[:12]}:{folder}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("git:moon:llama.cpp", "has no commit 'moon': correct it, or fetch it with git -C "),
        ("git:--all:llama.cpp", "'--all' is no ref: refs do not begin with a dash"),
        ("git:HEAD:{checkout.first}", "there is no folder"),
        ("git:HEAD:llama.cpp/sources", "is no git repository that can be read: fatal: not a git repository"),
        ("git:HEAD:tiny", "is no git repository that can be read: fatal: not a git repository"),
        ("git:HEAD:llama.cpp[A=1]", "'A=1' is no setting"),
        ("git:HEAD:llama.cpp[-DA=1", "there is no folder"),
        ("git:HEAD:nowhere[-DA=1]", "there is no folder"),
        ("git:HEAD", "write git:REF:CHECKOUT, as git:master~3:../llama.cpp"),
        ("git:HEAD:", "write git:REF:CHECKOUT"),
        ("git::llama.cpp", "write git:REF:CHECKOUT"),
        ("git:", "git:REF:CHECKOUT"),
    ],
)
def test_what_is_no_commit_is_one_line(checkout: Checkout, text: str, reason: str) -> None:
    (checkout.path / "sources").mkdir()
    with pytest.raises(UsageError) as caught:
        parse_build(text, checkout.path.parent)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_git_s_variables_name_no_other_repository(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert parse_build("git:HEAD:llama.cpp", checkout.path.parent) == Commit(
        "llama-cpp-python", checkout.first, str(checkout.path)
    )


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("0.3.36", "llama-cpp-python@0.3.36"),
        ("llama-cpp-python@0.3.36", "llama-cpp-python@0.3.36"),
        ("v0.3.36", "llama-cpp-python@0.3.36"),
        ("0.3.36-rc1", "llama-cpp-python@0.3.36rc1"),
        ("0.3.36[]", "llama-cpp-python@0.3.36"),
        ("0.3.36[-DGGML_AVX2=OFF]", "llama-cpp-python@0.3.36[-DGGML_AVX2=OFF]"),
        ("0.3.36[ -DB=2   -DA:BOOL=ON ]", "llama-cpp-python@0.3.36[-DA:BOOL=ON -DB=2]"),
        ("0.3.36[-DA=x@y -DB=lib:/z]", "llama-cpp-python@0.3.36[-DA=x@y -DB=lib:/z]"),
        ("0.3.36['-DFLAGS=-O3 -g']", "llama-cpp-python@0.3.36['-DFLAGS=-O3 -g']"),
        ('0.3.36[-DFLAGS="-O3 -g"]', "llama-cpp-python@0.3.36['-DFLAGS=-O3 -g']"),
    ],
)
def test_a_release_is_written_in_one_way(text: str, written: str) -> None:
    assert str(parse_build(text, HERE)) == written


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0.3.x", "'0.3.x' is no version of a release (PEP 440); write one whole, as 0.3.36"),
        ("llama-cpp-python@>=0.3", "is not a place of llama-cpp-python; write llama-cpp-python@0.3.36 for a"),
        ("llama-cpp-python@latest", "is not a place of llama-cpp-python"),
        ("latest", "a release such as 0.3.36, venv:PATH, lib:PATH or git:REF:CHECKOUT"),
        ("0.3.36[-DA=1", "it must end with the bracket: 0.3.36[-DNAME=VALUE …]"),
        ("0.3.36[-DA=1]x", "it must end with the bracket"),
        ("0.3.36[-DA]", "'-DA' is no setting; write -DNAME=VALUE, as -DGGML_AVX2=OFF"),
        ("0.3.36[GGML_AVX2=OFF]", "'GGML_AVX2=OFF' is no setting"),
        ("0.3.36[-G Ninja]", "'-G' is no setting"),
        ("0.3.36[-D A=1]", "'-D' is no setting"),
        ("0.3.36[-DA=1 -DA:BOOL=2]", "A is set twice; set it once"),
        ("0.3.36[-DA=1][-DB=2]", "write all settings in one pair of brackets: [-DNAME=VALUE -DNAME=VALUE]"),
        ("0.3.36[-DA=1] [-DB=2]", "'[-DB=2' is no setting"),
        ("lib:/a\0b", "characters that cannot be printed"),
        ("0.3.36[-DA='1]", "cannot be read: No closing quotation"),
        ("0.3.36[-DA=\x1b]", "characters that cannot be printed"),
        ("0.3.36\n", "characters that cannot be printed"),
        ("lib:/nowhere", "there is no libllama.so or libllama.dylib in /nowhere"),
        ("lib:/x/libllama.so", "name the folder of the library, /x"),
        ("moon:/x", "'moon:/x' is not a place of llama-cpp-python"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_the_fix(text: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_build(text, HERE)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_of_a_commit_are_in_one_pair_of_brackets(checkout: Checkout) -> None:
    with pytest.raises(UsageError, match="write all settings in one pair of brackets"):
        parse_build(f"git:master:{checkout.path}[-DX=1][-DY=2]", HERE)


def test_settings_of_the_project_are_added_to_what_is_to_be_made(checkout: Checkout, tmp_path: Path) -> None:
    def read(text: str) -> BuildReference:
        return parse_build(text, checkout.path.parent, ("-DA=1", "-DC=3"))

    def settings_of(text: str) -> tuple[str, ...]:
        build = read(text)
        assert isinstance(build, Release | Commit)
        return build.settings

    assert settings_of("0.3.36") == ("-DA=1", "-DC=3")
    assert settings_of("0.3.36[-DB=2 -DA=9]") == ("-DA=9", "-DB=2", "-DC=3")
    assert settings_of(f"git:HEAD:{checkout.path}[-DC=]") == ("-DA=1", "-DC=")
    assert read(f"venv:{tmp_path}") == Venv("llama-cpp-python", str(tmp_path))
    assert read(str(read("0.3.36[-DA=9]"))) == read("0.3.36[-DA=9]")
