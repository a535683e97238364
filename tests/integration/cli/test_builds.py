"""``pytest-llm builds``: what there is, more of it, and less."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.builds.provider import build_store
from pytest_llm.builds.reference import parse_build
from pytest_llm.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from tests.checkouts import Checkout
    from tests.conftest import Releases


class Builds:
    """The commands of the group, with a cache of their own."""

    def __init__(self, folder: Path, captured: pytest.CaptureFixture[str]) -> None:
        self.cache = folder / "cache"
        self._captured = captured

    def __call__(self, *words: str) -> tuple[int, list[str], list[str]]:
        """Return the exit status, and the lines on standard output and error."""
        status = main(["builds", *words, "--cache", str(self.cache)])
        out, err = self._captured.readouterr()
        return status, out.splitlines(), err.splitlines()

    def json(self, *words: str) -> tuple[int, Any]:
        """Return the exit status and the document."""
        status, out, _ = self(*words, "--json")
        return status, json.loads("\n".join(out))


@pytest.fixture
def builds(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    releases: Releases,
) -> Builds:
    monkeypatch.chdir(tmp_path)
    return Builds(tmp_path, capsys)


@pytest.mark.parametrize("name", ["list", "make", "remove"])
def test_every_command_has_an_example_and_tells_its_exit_status(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["builds", name, "--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"example:\n  pytest-llm builds {name}" in out
    assert "exit status: 0" in out
    assert "--json" in out
    assert "--cache DIR" in out


def test_where_there_is_none_the_list_says_how_to_make_one(builds: Builds) -> None:
    told = f"no builds in {builds.cache / 'builds'}: make one with pytest-llm builds make 0.3.36"
    assert builds("list") == (0, [told], [])


@pytest.mark.slow
def test_what_is_made_is_told_listed_and_removed(builds: Builds) -> None:
    status, out, err = builds("make", "9.0.1", "9.0.2[-DA=1]", "llama-cpp-python@9.0.1")

    said = "llama-cpp-python 9.0.1 (llama.cpp 57a9d1234), CPU : BUILT ="
    assert (status, len(out)) == (0, 2)
    assert out[0] == f"llama-cpp-python@9.0.1: {said}"
    assert err[0] == "building llama-cpp-python@9.0.1: usually takes minutes"

    status, out, err = builds("list")
    assert (status, err, out[0]) == (0, [], f"builds in {builds.cache / 'builds'}")
    assert out[1].startswith("  llama-cpp-python@9.0.1: ")
    assert out[2] == f"    {said}"
    assert out[3] == f"    from UV_FIND_LINKS={os.environ['UV_FIND_LINKS']} UV_NO_INDEX=1"
    assert out[4].startswith("  llama-cpp-python@9.0.2[-DA=1]: ")

    status, out, err = builds("remove", "9.0.1")
    assert (status, len(out), err) == (0, 1, [])
    assert out[0].startswith("removed llama-cpp-python-9.0.1-")
    assert [each["build"] for each in builds.json("list")[1]["builds"]] == ["llama-cpp-python@9.0.2[-DA=1]"]

    assert builds("remove", "--all")[0] == 0
    assert list((builds.cache / "builds").iterdir()) == []


@pytest.mark.slow
def test_the_documents_hold_what_the_lines_say(builds: Builds) -> None:
    status, made = builds.json("make", "9.0.1[-DA=1]")
    (one,) = made["builds"]
    assert (status, one["build"]) == (0, "llama-cpp-python@9.0.1[-DA=1]")
    assert one["identity"]["settings"] == ["-DA=1"]
    assert one["description"]["llama_cpp_commit"] == "57a9d1234"

    status, listed = builds.json("list")
    (kept,) = listed["builds"]
    assert (status, kept["state"], kept["description"]) == (0, "ready", one["description"])
    assert kept["bytes"] > 10_000

    status, removed = builds.json("remove", "9.0.1[-DA=1]")
    assert (status, removed["removed"], removed["problems"]) == (
        0,
        [{"folder": kept["folder"], "bytes": kept["bytes"]}],
        [],
    )


@pytest.mark.slow
def test_a_commit_is_made_listed_and_removed_as_well(builds: Builds, checkout: Checkout) -> None:
    name = f"git:HEAD:{checkout.path}[-DA=1]"

    status, out, err = builds("make", name, f"git:master:{checkout.path}[-DA=1]")

    title = f"llama.cpp@{checkout.first[:12]}[-DA=1]"
    said = (
        f"llama.cpp {checkout.git('rev-parse', '--short', 'HEAD')} (llama.cpp {checkout.first[:12]}), -DA=1"
    )
    assert (status, out) == (0, [f"{title}: {said}"])
    assert err == [f"building {title}: usually takes minutes"]
    status, out, _ = builds("list")
    assert out[1].startswith(f"  {title}: ")
    assert out[2] == f"    {said}"
    assert builds("remove", f"git:HEAD:{checkout.path}") == (
        1,
        [f"llama.cpp@{checkout.first[:12]} is not there"],
        [],
    )
    assert builds("remove", name)[0] == 0
    assert list((builds.cache / "builds").iterdir()) == []


@pytest.mark.slow
def test_one_that_cannot_be_made_keeps_no_other_from_being_made(builds: Builds) -> None:
    status, out, err = builds("make", "9.0.3", "9.0.1")

    assert status == 1
    assert "see the last lines, and " in out[0]
    assert out[1].startswith("llama-cpp-python@9.0.1: ")
    assert any("error: expected ';' before '}' token" in line for line in err)
    assert [each["build"] for each in builds.json("list")[1]["builds"]] == ["llama-cpp-python@9.0.1"]


def test_a_failure_is_in_the_document(builds: Builds) -> None:
    status, made = builds.json("make", "9.0.3")
    (one,) = made["builds"]
    assert status == 1
    assert "could not be made" in one["error"]
    assert one["log"][-1].strip() == "ninja: build stopped: subcommand failed."


def test_what_a_killed_maker_left_is_told_and_removed(builds: Builds) -> None:
    left = builds.cache / "builds" / "llama-cpp-python-9.0.1-0123456789ab"
    left.mkdir(parents=True)
    (left / "file").write_bytes(b"x" * 2048)

    assert builds("list")[1][1] == "  llama-cpp-python-9.0.1-0123456789ab: unfinished, 2.000 KiB"
    assert builds("remove", "--all")[0] == 0
    assert builds.json("list")[1]["builds"] == []


@pytest.mark.slow
def test_a_build_in_use_stays(builds: Builds) -> None:
    store = build_store(builds.cache)
    store.ready(parse_build("9.0.1", builds.cache), lambda _: None)

    status, out, _ = builds("remove", "--all")

    store.close()
    assert status == 1
    assert out[0].endswith(" is in use: try again when it has ended")
    assert builds("remove", "--all")[0] == 0


def test_one_that_is_not_there_is_told(builds: Builds) -> None:
    assert builds("remove", "9.0.2") == (1, ["llama-cpp-python@9.0.2 is not there"], [])
    assert builds("remove", "--all")[0] == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("make", "llama-cpp-python"), "llama-cpp-python cannot be made: name a release such as"),
        (("make", "0.3.x"), "'0.3.x' is no version of a release"),
        (("make",), "required: BUILD"),
        (("remove",), "name the builds to remove, or --all of them"),
        (("remove", "--all", "9.0.1"), "name the builds to remove, or --all of them"),
    ],
)
def test_bad_words_are_one_line(builds: Builds, words: tuple[str, ...], told: str) -> None:
    status, out, err = builds(*words)
    assert (status, out, len(err)) == (2, [], 1)
    assert told in err[0]


def test_the_cache_is_the_one_of_pytest(builds: Builds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_LLM_CACHE", str(builds.cache / "mine"))
    assert main(["builds", "list"]) == 0
    assert builds._captured.readouterr().out.startswith(f"no builds in {builds.cache / 'mine' / 'builds'}: ")


@pytest.mark.slow
def test_the_ini_file_says_what_is_compiled_with(builds: Builds, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nllm_build_settings = -DA=1\n", encoding="utf-8")

    assert builds.json("make", "9.0.1")[0] == 0

    (kept,) = builds.json("list")[1]["builds"]
    assert kept["build"] == "llama-cpp-python@9.0.1[-DA=1]"


@pytest.mark.slow
def test_the_same_release_of_another_index_is_another_build_and_both_name_theirs(
    builds: Builds, releases: Releases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = os.environ["UV_FIND_LINKS"]
    second = shutil.copytree(first, tmp_path / "mirror")
    assert builds("make", "9.0.1")[0] == 0
    monkeypatch.setenv("UV_FIND_LINKS", str(second))
    assert builds("make", "9.0.1")[0] == 0

    _, lines, _ = builds("list")

    assert {f"    from UV_FIND_LINKS={each} UV_NO_INDEX=1" for each in (first, second)} <= set(lines)
    assert [line.partition(":")[0] for line in lines].count("  llama-cpp-python@9.0.1") == 2
    assert builds("remove", "9.0.1")[0] == 0
    assert builds("list")[1] == [
        f"no builds in {builds.cache / 'builds'}: make one with pytest-llm builds make 0.3.36"
    ]


def test_the_newest_tag_of_a_checkout_has_the_highest_number(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["builds", "newest", "--checkout", str(checkout.path)]) == 2
    assert "has no tag such as b6100: git -C" in capsys.readouterr().err
    for tag in ("b999", "b6100", "b6099", "v7000", "b7000-rc"):
        checkout.git("tag", tag)
    assert main(["builds", "newest", "--checkout", str(checkout.path)]) == 0
    assert capsys.readouterr().out == f"git:b6100:{checkout.path}\n"
