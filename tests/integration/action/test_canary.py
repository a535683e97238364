"""The action each night: the newest build against the pinned one, a bisect, one issue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.conftest import environment_of_stand_in

if TYPE_CHECKING:
    from pathlib import Path

    from tests.checkouts import Checkout
    from tests.conftest import Releases
    from tests.github_api import GitHub
    from tests.integration.action.conftest import UsingRepository

CONFTEST = "from pytest_llm.machine import control\ncontrol.measure_control = lambda threads: None\n"
NOT_MEASURED = "raise RuntimeError('nothing is measured here')\n"


def test_the_newest_tag_of_a_checkout_is_compared_with_the_pinned_one(
    using: UsingRepository, checkout: Checkout
) -> None:
    for tag in ("b6000", "b6100", "b999"):
        checkout.git("tag", tag)
    using.write("Dockerfile", "ARG LLAMA_CPP_TAG=b6000\n")
    using.write("conftest.py", NOT_MEASURED)
    outcome = using.run({}, pin="Dockerfile", candidate="newest", checkout=str(checkout.path))
    assert (outcome.outputs["old"], outcome.outputs["new"]) == (
        f"git:b6000:{checkout.path}",
        f"git:b6100:{checkout.path}",
    )


@pytest.mark.slow
def test_beside_a_commit_a_release_is_its_commit(
    using: UsingRepository, checkout: Checkout, releases: Releases
) -> None:
    checkout.git("tag", "b6100")
    using.commit(requirements="llama-cpp-python==9.0.1\n")
    using.write("conftest.py", NOT_MEASURED)
    outcome = using.run({}, pin="requirements.txt", candidate="newest", checkout=str(checkout.path))
    assert releases.compiled() == ["9.0.1 "]
    assert outcome.outputs["old"] == f"git:57a9d1234:{checkout.path}"
    assert outcome.outputs["new"] == f"git:b6100:{checkout.path}"


@pytest.fixture
def slower(using: UsingRepository, tmp_path: Path) -> dict[str, str]:
    """Inputs: two builds of a stand-in in real workers, of which the candidate takes half as long again."""
    using.write("conftest.py", CONFTEST)
    builds = {
        name: environment_of_stand_in(
            tmp_path / name, f"import os; os.environ['LLAMA_STAND_IN_TOKEN_SECONDS'] = '{seconds}'"
        )
        for name, seconds in (("candidate", 1.5 / 128), ("against", 1 / 128))
    }
    return {"issue": "It loses", **{name: f"venv:{folder}" for name, folder in builds.items()}}


@pytest.mark.slow
def test_what_lost_is_bisected_and_the_issue_has_the_culprit(
    using: UsingRepository, github: GitHub, slower: dict[str, str]
) -> None:
    outcome = using.run({}, bisect_minutes="5", **slower)
    assert outcome.status == 1, outcome.log
    before = ["find_builds.py", "measure.py", "report.py"]
    assert outcome.ran == [*before, "find_culprit.py", "tell.py", "finish"]
    body = github.issues[1]["body"]
    assert "## ❌ llm-bench: regressed" in body
    assert "## Bisect" in body
    assert f"culprit: llama-cpp-python@{slower['candidate']}" in body
    assert "generation speed fell from 128.0 tok/s to 85.33 tok/s" in body


@pytest.mark.slow
def test_a_bisect_that_takes_too_long_is_reported_as_such(
    using: UsingRepository, github: GitHub, slower: dict[str, str]
) -> None:
    outcome = using.run({}, bisect_minutes="0.001", **slower)
    assert outcome.status == 1
    told = "not done in 0.001 minutes: the comparisons are kept, and the next run goes on"
    assert told in outcome.summary
    assert told in github.issues[1]["body"]


@pytest.mark.slow
def test_a_bisect_that_cannot_begin_keeps_neither_report_nor_issue_back(
    using: UsingRepository, github: GitHub
) -> None:
    using.set_reference(1 / 160)  # the bisect does not know the fake engine
    outcome = using.run(
        {}, candidate="fake", against="fake@venv:{folder}", bisect_minutes="5", issue="It loses"
    )
    assert outcome.status == 1
    assert "unknown engine 'fake'" in github.issues[1]["body"]
