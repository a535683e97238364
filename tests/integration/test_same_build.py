"""Two builds that are one: found from what was loaded, and refused before anything is timed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.reports.results_file import read

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

TEST = """
    short = pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)

    @short
    @pytest.mark.llm_no_regression()
    def test_speed(llm_bench): pass

    @short
    @pytest.mark.llm_model(n_ctx=512)
    @pytest.mark.llm_faster_than("5%", flash_attn="off")
    def test_claim(llm_bench): pass
"""
SAME = "are the same build: the libraries that they loaded are equal (libggml, libllama), and so are "


@pytest.fixture(autouse=True)
def _tests(project: Project) -> None:
    project.write(TEST)


def libraries(folder: Path, content: str = "code") -> tuple[Path, ...]:
    folder.mkdir(exist_ok=True)
    files = (folder / "libllama.so.0", folder / "libggml.so")
    for each in files:
        each.write_text(f"{content} of {each.name}", encoding="utf-8")
    return files


def test_builds_with_equal_libraries_are_refused_before_anything_is_timed(
    project: Project, fake: Fake, reference: str
) -> None:
    fake.set(libraries=libraries(project.path / "one"))
    fake.set_reference(libraries=libraries(project.path / "two"))

    result = project.measure(f"--llm-against={reference}", "--llm-json=r.json", "-k", "speed")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = project.texts(result)["test_speed"]
    assert text.startswith(f"fake and {reference} {SAME}")
    assert text.endswith("options and environment; name another build, or measure the noise with --llm-aa")
    assert "\n" not in text
    assert len(fake.started) == 2
    assert not read(project.path / "r.json").pairs


@pytest.mark.slow
@pytest.mark.parametrize("apart", ["content", "size", "number", "environment", "unknown"])
def test_any_difference_makes_two_builds(project: Project, fake: Fake, reference: str, apart: str) -> None:
    ours = libraries(project.path / "one")
    fake.set(libraries=ours)
    theirs = {
        "content": libraries(project.path / "two", "CODE"),
        "size": libraries(project.path / "two", "more code"),
        "number": ours[:1],
        "environment": ours,
        "unknown": (),
    }
    fake.set_reference(libraries=theirs[apart])
    if apart == "environment":
        fake.set_reference(environment={"GGML_CUDA_DISABLE_GRAPHS": "1"})

    project.measure(f"--llm-against={reference}", "--llm-drift=warn", "-k", "speed").assert_outcomes(passed=1)


def test_a_claim_compares_a_build_with_itself_on_purpose(project: Project, fake: Fake) -> None:
    fake.set(libraries=libraries(project.path / "one"), flash_gain=0.5)

    result = project.measure("-k", "claim")

    assert SAME not in "".join(project.texts(result).values())
    assert len(fake.started) > 2


def test_equal_builds_are_an_a_a_if_that_is_asked_for(project: Project, fake: Fake, reference: str) -> None:
    files = libraries(project.path / "one")
    fake.set(libraries=files)
    fake.set_reference(libraries=files)

    result = project.measure(f"--llm-against={reference}", "--llm-aa", "-k", "speed")

    result.assert_outcomes(passed=1)
    assert len(fake.started) == 2 * (1 + 6)


def test_an_a_a_of_two_builds_is_refused(project: Project, fake: Fake, reference: str) -> None:
    fake.set(libraries=libraries(project.path / "one"))
    fake.set_reference(
        libraries=libraries(project.path / "two", "other"), environment={"OMP_NUM_THREADS": "1"}
    )

    (text,) = project.failures(f"--llm-against={reference}", "--llm-aa", "-k", "speed").values()

    assert text == (
        f"--llm-aa: fake and {reference} have other libraries and environment: leave --llm-aa out to compare "
        "them"
    )


def test_one_name_for_both_is_refused_at_once(project: Project, fake: Fake) -> None:
    line = project.usage_error(*project.measuring(), "--llm-against=fake")

    assert (
        "--llm-against fake is the candidate: name another build, or measure the noise with --llm-aa" in line
    )
    project.measure("--llm-against=fake", "--llm-aa", "-k", "speed").assert_outcomes(passed=1)
    assert len(fake.started) == 2 * (1 + 6)
