"""Results name the file and the line of each test, so that reports can point at them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytest_llm.cli import main

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

SOURCE = """

@pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
class TestSpeed:
    @pytest.mark.llm_tokens_per_second(min=1_000)
    def test_fast(self, llm_bench):
        pass
"""


@pytest.mark.parametrize(("repository", "file"), [(".git", "below/test_it.py"), ("", "test_it.py")])
def test_a_file_is_named_from_its_repository_else_from_rootdir(
    project: Project, capsys: pytest.CaptureFixture[str], repository: str, file: str
) -> None:
    project.write(SOURCE, "below/test_it.py")
    project.write("[pytest]\n", "below/pytest.ini")
    if repository:
        (project.path / repository).mkdir()
    project.measure("below", "--llm-json=r.json").assert_outcomes(failed=1)
    path = project.path / "r.json"
    (test,) = json.loads(path.read_text(encoding="utf-8"))["tests"]
    lines = (project.path / "below" / "test_it.py").read_text(encoding="utf-8").splitlines()
    at = lines.index("    @pytest.mark.llm_tokens_per_second(min=1_000)") + 1
    assert (test["file"], test["line"]) == (file, at)
    capsys.readouterr()
    assert main(["report", str(path), "--annotations", "-"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(
        f"::error file={file},line={at},"
        "title=llm-bench%3A over limit%3A test_it.py%3A%3ATestSpeed%3A%3Atest_fast"
        "::generation speed is 128.0 tok/s, the limit is at least 1000 tok/s"
    )


def test_an_error_of_the_set_up_has_its_line(
    project: Project, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.set(fault="load")
    project.write(SOURCE)
    project.measure("--llm-json=r.json").assert_outcomes(errors=1)
    capsys.readouterr()
    assert main(["report", str(project.path / "r.json"), "--annotations", "-"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("::error file=test_it.py,line=")
    assert "fake: it refused to load " in told
