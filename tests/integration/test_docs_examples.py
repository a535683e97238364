"""What the docs show is run: modules with a fake engine, commands by the parsers that they reach."""

from __future__ import annotations

import re
import shlex
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import pytest

from pytest_llm import cli
from tests import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Project

PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
_BLOCK = re.compile(r"^```(?P<kind>python|console)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
# Objects that the examples take as given: a model of the user, and a server.
_CONFTEST = """
import subprocess, sys

class Server:
    def __init__(self, pid):
        self.pid = pid

    def ask(self, question, tokens=1): ...

@pytest.fixture
def server():
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()  # it has started, so it grows no more
        yield Server(process.pid)
        process.communicate()
"""
# Extensions are not tests: tests/integration/test_extending.py runs their like.
_NO_TESTS = "extending.md"
# These need what the fake engine has not: a GPU, a clever model.
_COLLECTED_ONLY = {"test_fits", "test_answers", "test_files", "test_speculation"}
_OWN_MEMORY = "llm_ram("  # the fake engine's is that of pytest itself


class Example(NamedTuple):
    page: Path
    kind: str
    text: str


def examples(kind: str) -> list[Example]:
    return [
        Example(page, kind, found["text"])
        for page in PAGES
        for found in _BLOCK.finditer(page.read_text(encoding="utf-8"))
        if found["kind"] == kind
    ]


def modules() -> Iterator[pytest.ParameterSet]:
    for number, each in enumerate(examples("python")):
        text = each.text if each.text.startswith("import pytest\n") else f"import pytest\n\n{each.text}"
        name = re.search(r"^def (\w+)", text, re.MULTILINE)
        if each.page.name == _NO_TESTS and not text.count("@pytest.mark."):
            continue
        if text.rstrip().endswith(")") and name is None:  # markers, or a marker in a list of them
            marked = "pytestmark = " in text or "\n@" in text
            text = text.replace("\npytest.mark", "\npytestmark = pytest.mark") if not marked else text
            text += "def test_example(llm_bench): ...\n"
        yield pytest.param(text, id=f"{each.page.name}-{number}")


@pytest.mark.parametrize("text", list(modules()))
def test_a_module_of_the_docs_is_measured(text: str, project: Project, tmp_path: Path) -> None:
    pin = sha256(project.model.read_bytes()).hexdigest()
    project.write(text.removeprefix("import pytest\n"), "test_example.py")
    project.write(_CONFTEST, "conftest.py")
    project.write(
        f'[tool.pytest_llm.models.my-model]\nsource = "{project.model.as_uri()}"\nsha256 = "{pin}"\n'
        "[tool.pytest.ini_options]\n",
        "pyproject.toml",
    )
    options = [*project.measuring(), "--llm-instructions"]
    tests = re.findall(r"^def (test_\w+)", text, re.MULTILINE)
    assert tests or "fixture" in text
    only_collected = not tests or not _COLLECTED_ONLY.isdisjoint(tests) or _OWN_MEMORY in text
    result = project.run(
        *options, *(["--collect-only"] if only_collected else []), "--llm-none-measured=warn"
    )
    if only_collected:
        assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    else:
        items = project.collected(*options)
        assert {each.partition("[")[0].rpartition("::")[2] for each in items} == {*tests}
        result.assert_outcomes(passed=len(items))


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield the page and the words of each command of ours, also of those inside of others."""
    lines = [
        (each.page, line[2:])
        for each in examples("console")
        for line in each.text.splitlines()
        if line.startswith("$ ")
    ]
    for page, line in dict.fromkeys(lines):
        inner = re.findall(r"\$\(([^)]*)\)", line)
        outer = re.sub(r"\$\([^)]*\)", "0.3.16", line)
        for part in [*re.split(r"\s(?:&&|\|)\s|;", outer), *inner]:
            words = shlex.split(part, comments=True)
            while words and (words[0] in ("do", "uv", "run") or "=" in words[0]):
                words = words[1:]
            words = words[: words.index(">>")] if ">>" in words else words
            if words[:1] in (["pytest"], ["pytest-llm"]):
                yield page.name, words


def test_a_command_of_the_docs_is_understood(
    pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    config = pytester.parseconfig()
    refused = []
    for page, words in commands():
        if "--worst" in words:  # a report that an extension adds
            continue
        try:
            if words[0] == "pytest-llm":
                cli.parser(words[1]).parse_args(words[1:])
            else:
                config._parser.parse(words[1:])
        except (SystemExit, pytest.UsageError) as error:
            refused.append((page, words, str(error)))
    assert refused == [], capsys.readouterr().err
