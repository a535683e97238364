"""The commits between two of them, and from releases on to commits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.bisect import commits
from pytest_llm.bisect.report import Report
from pytest_llm.bisect.search import PairResult, Relation, Stretch
from pytest_llm.builds.reference import parse_build
from pytest_llm.cli import project
from pytest_llm.errors import UsageError
from pytest_llm.records import Build, Commit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.checkouts import Checkout

STEP = Stretch(0, 1, PairResult(Relation.WORSE))


@pytest.fixture(autouse=True)
def _no_settings_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def build(checkout: Checkout, ref: str, settings: str = "") -> Commit:
    found = parse_build(f"git:{ref}:{checkout.path}{settings}", Path.cwd())
    assert isinstance(found, Commit)
    return found


def written(checkout: Checkout, row: Sequence[str], settings: str = "") -> list[str]:
    return [f"llama-cpp-python@git:{each[:12]}:{checkout.path}{settings}" for each in row]


def texts(found: commits.CommitRange) -> list[str]:
    return [str(each) for each in found.builds]


def test_both_ends_and_what_lies_between_are_in_the_row(checkout: Checkout) -> None:
    every = [checkout.first, *(checkout.commit(f"n {n}", {"llama.c": f"int n{n};\n"}) for n in range(3))]

    row = commits.between(build(checkout, every[0], "[-DA=1]"), build(checkout, "HEAD", "[-DA=1]"))

    assert texts(row) == written(checkout, every, "[-DA=1]")
    assert str(row) == "4 commits"


def test_only_first_parents_are_followed(checkout: Checkout) -> None:
    checkout.git("checkout", "--quiet", "-b", "side")
    checkout.commit("on the side", {"llama.c": "int side;\n"})
    checkout.git("checkout", "--quiet", "master")
    checkout.commit("on master", {"bench.c": "int master;\n"})
    main = checkout.git("rev-parse", "HEAD")
    checkout.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")

    row = commits.between(build(checkout, checkout.first), build(checkout, "HEAD"))

    assert texts(row) == written(checkout, [checkout.first, main, checkout.git("rev-parse", "HEAD")])


def test_commits_that_change_nothing_compiled_are_left_out_and_counted_but_for_the_ends(
    checkout: Checkout,
) -> None:
    names = ["docs/a.txt", "README.md", "convert.py", "tools/server/server.cpp", "tests/test.cpp"]
    for name in names:
        checkout.commit(f"change {name}", {name: "x"})
    code = checkout.commit("change code and words", {"ggml/ggml.c": "int x;\n", "docs/b.txt": "x"})
    last = checkout.commit("words at last", {"docs/c.txt": "x"})

    row = commits.between(build(checkout, checkout.first), build(checkout, "HEAD"))

    assert texts(row) == written(checkout, [checkout.first, code, last])
    assert str(row) == "3 commits, 5 that change nothing that is compiled left out"


def test_ends_that_make_no_row_are_refused(checkout: Checkout) -> None:
    checkout.commit("more", {"llama.c": "int x;\n"})
    good, bad = build(checkout, "HEAD~1"), build(checkout, "HEAD")
    for ends in ((bad, good), (bad, bad)):
        with pytest.raises(
            UsageError, match=r"does not lead to \w{12} in .*: give the earlier one as --good"
        ):
            commits.between(*ends)
    with pytest.raises(UsageError, match="give both the same settings"):
        commits.between(good, build(checkout, "HEAD", "[-DA=1]"))


def test_commits_that_have_nothing_in_common_make_no_row(checkout: Checkout) -> None:
    checkout.git("checkout", "--quiet", "--orphan", "other")
    checkout.commit("another beginning", {"llama.c": "int y;\n"})
    with pytest.raises(UsageError, match="does not lead to"):
        commits.between(build(checkout, "master"), build(checkout, "other"))


# ── from builds on to commits ────────────────────────────────────────────────────────────────────


class Found:
    """As much of a bisect as is looked at."""

    def __init__(self, *said: str, settings: str = "") -> None:
        self.builds = [f"llama-cpp-python@9.0.{n}{settings}" for n in range(len(said))]
        self.described = {n: Build("llama-cpp-python", f"9.0.{n}", each, "") for n, each in enumerate(said)}
        self.search = self
        self.culprits = (STEP,)


def inside(found: Any, checkout: Checkout) -> commits.CommitRange:
    return commits.inside(found, STEP, checkout.path, Path.cwd(), project.build_settings(Path.cwd()))


def test_the_commits_of_two_builds_may_be_short_and_dirty_and_the_settings_stay(checkout: Checkout) -> None:
    last = checkout.commit("more", {"llama.c": "int x;\n"})
    found = Found(checkout.first[:7], f"{last[:9]}-dirty", settings="[-DA=1]")

    assert texts(inside(found, checkout)) == written(checkout, [checkout.first, last], "[-DA=1]")


def test_commits_that_lead_to_a_build_of_no_settings_are_made_with_the_project_s(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nllm_build_settings = -DB=2\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    last = checkout.commit("more", {"llama.c": "int x;\n"})
    found = Found(checkout.first, last)

    assert texts(inside(found, checkout)) == written(checkout, [checkout.first, last], "[-DB=2]")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (("", "57a9d12"), "llama-cpp-python@9.0.0 does not name the commit of llama.cpp that it was made of"),
        (("HEAD", "57a9d12"), "9.0.1 was made of llama.cpp 57a9d12, which is not in {0}: git -C {0} fetch"),
        (("HEAD", "HEAD"), "both are made of llama.cpp "),
    ],
)
def test_a_step_without_commits_is_one_line(checkout: Checkout, said: tuple[str, str], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        inside(Found(*said), checkout)
    assert told.format(checkout.path) in str(caught.value)


def into_commits(checkout: Checkout, found: Any, bisect: Any) -> tuple[Report, list[str]]:
    told: list[str] = []
    report = commits.into_commits(
        found, Report(["first"], {"steps": 1}, 1), lambda _: inside(found, checkout), bisect, told.append
    )
    return report, told


def test_each_culprit_is_a_bisect_of_its_own(checkout: Checkout) -> None:
    last = checkout.commit("more", {"llama.c": "int x;\n"})
    rows: list[Sequence[str]] = []

    def bisected(row: Sequence[str]) -> Report:
        rows.append(row)
        return Report(["second"], {"ends": "worse", "steps": 2}, 1)

    answer, told = into_commits(checkout, Found(checkout.first, last), bisected)

    assert rows == [written(checkout, [checkout.first, last])]
    assert told == ["going on: 2 commits"]
    assert answer.lines[0] == "first"
    assert "second" in answer.lines
    assert answer.lines[-1] == "the commits are a bisect of their own: the two error rates add up"
    expected = [{"from": 0, "to": 1, "left_out": 0, "ends": "worse", "steps": 2}]
    assert answer.document == {"steps": 1, "commits": expected}


def test_a_loss_that_the_commits_do_not_show_lies_elsewhere(checkout: Checkout) -> None:
    last = checkout.commit("more", {"llama.c": "int x;\n"})
    second = Report(["second"], {"ends": "same"}, 0)

    answer, _ = into_commits(checkout, Found(checkout.first, last), lambda _: second)

    told = "no commit is the culprit: the binding, or how the two builds were compiled, is what is left"
    assert (answer.culprits, answer.lines[-2]) == (1, told)


def test_what_was_found_is_not_lost_where_the_checkout_lacks_a_commit(checkout: Checkout) -> None:
    answer, _ = into_commits(checkout, Found("57a9d12", checkout.first), None)

    assert (answer.culprits, answer.lines[0]) == (1, "first")
    assert answer.lines[-1].startswith("not bisected further: llama-cpp-python@9.0.0 was made of ")


def test_a_folder_that_is_no_checkout_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no git repository that can be read"):
        commits.checkout_of(str(tmp_path), ["9.0.0"], tmp_path)


def test_what_is_of_commits_already_has_no_use_for_a_checkout(checkout: Checkout) -> None:
    with pytest.raises(UsageError, match="these builds are commits already"):
        commits.checkout_of(str(checkout.path), [str(build(checkout, "HEAD"))], Path.cwd())
