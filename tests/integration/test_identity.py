"""A test's baselines are its own, and the same ones however pytest is started."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from pytest_llm.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

GATED = """
    @pytest.mark.llm_model(n_ctx=512)
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    @pytest.mark.llm_no_regression()
    def test_speed(llm_bench): pass
"""
# What pytest-repeat does, whose name is spelt this way.
REPEATING = """
    @pytest.fixture
    def __pytest_repeat_step_number(request):
        return getattr(request, "param", None)

    @pytest.hookimpl(trylast=True)
    def pytest_generate_tests(metafunc):
        metafunc.fixturenames.append("__pytest_repeat_step_number")
        metafunc.parametrize(
            "__pytest_repeat_step_number", range(3), indirect=True, ids=lambda number: f"{number + 1}-3"
        )
"""


@pytest.fixture(autouse=True)
def _project(project: Project) -> None:
    project.write("[pytest]\n", "pytest.ini")


def keys(project: Project, *arguments: object) -> list[list[str]]:
    """Measure, and return the module, name and parameters of each key."""
    return [list(test["key"].values()) for test in project.results(*arguments)["tests"]]


def record(project: Project, *arguments: object) -> None:
    result = project.measure("--llm-update-baselines=append", *arguments)
    assert result.ret == 0
    result.stdout.no_fnmatch_line("not stored*")


def found(project: Project, *arguments: object) -> list[list[str]]:
    """Measure, and return the keys; every gate must be judged by the one run that was recorded."""
    tests = project.results(*arguments)["tests"]
    for test in tests:
        baselines = [each["baseline"] for each in test["metrics"].values() if each["baseline"]]
        assert {each["verdict"] for each in baselines} == {"inconclusive"}, test["nodeid"]
    return [list(test["key"].values()) for test in tests]


def test_inherited_tests_have_baselines_of_their_own(project: Project) -> None:
    project.write(
        """
        class Speed:
            def test_speed(self, llm_bench): pass

        @pytest.mark.llm_model(n_ctx=512)
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        @pytest.mark.llm_no_regression()
        class TestShort(Speed): pass

        @pytest.mark.llm_model(n_ctx=2048)
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        @pytest.mark.llm_no_regression()
        class TestLong(Speed):
            class TestInner(Speed): pass
        """
    )
    record(project)

    assert [name for _, name, _ in found(project)] == [
        "TestShort::test_speed",
        "TestLong::test_speed",
        "TestLong::TestInner::test_speed",
    ]


def test_imported_tests_have_baselines_of_their_own(project: Project) -> None:
    project.write(GATED.replace("@pytest.mark.llm_model(n_ctx=512)", ""), "shared.py")
    for name, n_ctx in (("test_short.py", 512), ("test_long.py", 2048)):
        project.write(
            f"from shared import test_speed\npytestmark = pytest.mark.llm_model(n_ctx={n_ctx})\n", name
        )
    project.pytester.syspathinsert()
    record(project)

    assert {module for module, *_ in found(project)} == {"test_short.py", "test_long.py"}


def test_generated_tests_have_baselines_of_their_own(project: Project) -> None:
    project.write(
        """
        def speed_of(n_ctx):
            @pytest.mark.llm_model(n_ctx=n_ctx)
            @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
            @pytest.mark.llm_no_regression()
            def test(llm_bench): pass
            return test

        test_short, test_long = speed_of(512), speed_of(2048)
        """
    )
    record(project)

    assert [name for _, name, _ in found(project)] == ["test_short", "test_long"]


def test_the_import_mode_makes_no_difference(project: Project) -> None:
    project.write(GATED, "tests/bench/test_speed.py")
    record(project)

    for mode in ("prepend", "append", "importlib"):
        assert found(project, f"--import-mode={mode}") == [["tests/bench/test_speed.py", "test_speed", ""]]


def test_packages_and_the_folder_of_the_call_make_no_difference(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(GATED, "checks/bench/test_speed.py")
    record(project)
    project.write("", "checks/__init__.py")
    project.write("", "checks/bench/__init__.py")
    monkeypatch.chdir(project.path / "checks" / "bench")

    (key,) = found(project, "--rootdir=.", "test_speed.py", f"--llm-json={project.path}/results.json")
    assert key == ["checks/bench/test_speed.py", "test_speed", ""]


@pytest.mark.slow
def test_each_package_of_a_repository_has_its_home_wherever_the_ini_file_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write('[tool.pytest.ini_options]\naddopts = "-ra"\n', "pyproject.toml")
    project.write("[pytest]\naddopts = -ra\n", "ci/bench.ini")
    for name in ("a", "b"):
        project.write(GATED, f"packages/{name}/tests/test_speed.py")
        project.write(
            f"""
            @pytest.mark.llm_model("model-of-{name}")
            @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
            @pytest.mark.llm_no_regression()
            def test_named(llm_bench): pass

            @pytest.mark.llm_model("both")
            @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
            @pytest.mark.llm_no_regression()
            def test_both(llm_bench): pass
            """,
            f"packages/{name}/tests/test_named.py",
        )
        table = "".join(
            f'[tool.pytest_llm.models.{each}]\nsource = "{each}.gguf"\n'
            for each in ("both", f"model-of-{name}")
        )
        project.write(f"[tool.pytest.ini_options]\n{table}", f"packages/{name}/pyproject.toml")
        for each in ("both", f"model-of-{name}"):
            (project.path / "packages" / name / f"{each}.gguf").write_bytes(
                project.model.read_bytes().replace(b"tiny", name.encode() * 4)
            )
        with monkeypatch.context() as inside:
            inside.chdir(project.path / "packages" / name)
            record(project, "--import-mode=importlib")
            assert len(list((project.path / "packages" / name / "baselines").glob("portable/tests/*"))) == 2

    ini = f"-c{project.path}/ci/bench.ini"
    for folder, named, count in (("packages/a", ".", 3), ("packages", ".", 6), (".", "packages", 6)):
        monkeypatch.chdir(project.path / folder)
        into = f"--llm-json={project.path}/results.json"
        assert len(found(project, ini, "--import-mode=importlib", named, into)) == count
    assert not (project.path / "ci" / "baselines").exists()
    assert not (project.path / "baselines").exists()


def test_repeats_of_a_plugin_share_a_key_and_one_measurement(project: Project, fake: Fake) -> None:
    project.write(GATED)
    record(project)
    project.write(REPEATING, "conftest.py")
    started = len(fake.started)

    result = project.measure("--llm-json=results.json")

    result.assert_outcomes(passed=3)
    assert len(fake.started) == started + 3  # sessions
    assert found(project) == [["test_it.py", "test_speed", ""]]


def test_repeats_are_recorded_once(project: Project) -> None:
    project.write(GATED)
    project.write(REPEATING, "conftest.py")
    record(project)
    (project.path / "conftest.py").unlink()

    assert len(found(project)) == 1


def test_a_repeat_that_fails_fails_the_test_that_it_repeats(project: Project) -> None:
    project.write(REPEATING, "conftest.py")
    project.write(GATED.replace(": pass", ":\n        CALLS.append(1)\n        assert len(CALLS) != 1"))
    project.write((project.path / "test_it.py").read_text().replace("import pytest\n", "CALLS = []\n"))

    (test,) = project.results()["tests"]

    assert test["outcome"] == "failed"


def test_parameters_that_the_test_asks_for_stay_whatever_stands_between_them(project: Project) -> None:
    project.write(
        REPEATING.replace("@pytest.hookimpl(trylast=True)", "")
        + """
    @pytest.fixture(params=["x", "y"], autouse=True)
    def unasked(request): pass

    @pytest.fixture(params=["p"])
    def inner(request): pass

    @pytest.fixture
    def outer(inner): pass
""",
        "conftest.py",
    )
    project.write(
        """
        def pytest_generate_tests(metafunc):
            metafunc.parametrize("a, b", [(1, 2)])

        @pytest.mark.parametrize(("c", "d"), [(3, 4)])
        @pytest.mark.llm_workload(prompt_tokens=[4, 5], generate_tokens=2)
        def test_it(a, b, c, d, outer): pass
        """
    )
    named = keys(project)

    assert len(named) == 4
    assert {frozenset(parameters.split("-")) for *_, parameters in named} == {
        frozenset({"1", "2", "3", "4", "p", letter, f"prompt_tokens={tokens}"})
        for letter in "xy"
        for tokens in (4, 5)
    }


def test_two_other_tests_with_one_key_are_refused_and_both_named(project: Project, fake: Fake) -> None:
    project.write(
        """
        def pytest_pycollect_makeitem(collector, name, obj):
            if name == "test_speed":
                return [
                    pytest.Function.from_parent(
                        collector, name=f"test_speed_{n}", callobj=obj, originalname=name
                    )
                    for n in (1, 2)
                ]
        """,
        "conftest.py",
    )
    project.write(GATED)

    result = project.measure()

    result.assert_outcomes(errors=2)
    for text in project.texts(result).values():
        assert "test_speed_1" in text
        assert "test_speed_2" in text
        assert "would have the same baselines, those of test_it.py::test_speed: rename one of them" in text
    assert not fake.started


def test_repeats_that_ask_for_different_things_are_refused(project: Project) -> None:
    project.write(
        """
        def pytest_generate_tests(metafunc):
            metafunc.fixturenames.append("mode")
            metafunc.parametrize(
                "mode",
                [1, pytest.param(2, marks=pytest.mark.llm_load_time(max=1))],
                indirect=True,
            )

        @pytest.fixture
        def mode(request): pass
        """,
        "conftest.py",
    )
    project.write(GATED)

    texts = project.failures()

    assert len(texts) == 2
    assert all("would have the same baselines" in text for text in texts.values())


def test_a_test_that_is_named_twice_is_one(project: Project) -> None:
    project.write(GATED)
    project.measure("--keep-duplicates", "test_it.py", "test_it.py").assert_outcomes(passed=2)


def test_the_header_names_the_homes_of_the_call_and_further_ones_once_they_are_found(
    project: Project,
) -> None:
    project.write(GATED)
    project.write(GATED, "inner/test_speed.py")
    project.write("[pytest]\nllm_baselines = kept\n", "inner/pytest.ini")

    result = project.measure("--import-mode=importlib")

    result.stdout.fnmatch_lines(
        [
            f"llm-bench home: {project.path} (baselines in {project.path}/baselines)",
            "collected 2 items*",
            f"llm-bench home: {project.path}/inner (baselines in {project.path}/inner/kept)",
        ]
    )
    assert sum(line.startswith("llm-bench home") for line in result.outlines) == 2


def test_an_unknown_model_is_told_with_the_table_that_lacks_it(project: Project) -> None:
    project.write(
        """
        @pytest.mark.llm_model("smollm2-153m")
        def test_it(llm_bench): pass
        """,
        "inner/test_it.py",
    )
    project.write("[pytest]\n", "inner/pytest.ini")
    (text,) = project.failures().values()
    assert f"add it to [tool.pytest_llm.models] of {project.path}/inner/pyproject.toml" in text


def test_one_folder_of_baselines_for_several_homes_wins_and_clashes_are_refused(project: Project) -> None:
    for name in ("a", "b"):
        project.write(GATED, f"{name}/test_speed.py")
        project.write("[pytest]\n", f"{name}/pytest.ini")
    record(project, "--import-mode=importlib")
    assert {path.parts[-4] for path in project.path.rglob("portable/*.json")} == {"a", "b"}

    result = project.measure("--import-mode=importlib", "--llm-baselines=kept")
    result.assert_outcomes(errors=2)
    (text,) = project.texts(result).values()
    assert text.startswith("a/test_speed.py::test_speed and b/test_speed.py::test_speed would have the same")


@pytest.mark.parametrize("installed", [True, False])
def test_tests_of_a_package_have_rootdir_as_home_and_are_named_by_module(
    project: Project, tmp_path: Path, installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "elsewhere" / ("site-packages" if installed else "src")
    (place / "perf_suite").mkdir(parents=True)
    (place.parent / "pytest.ini").write_text("[pytest]\n")
    (place / "perf_suite" / "__init__.py").touch()
    (place / "perf_suite" / "test_speed.py").write_text("import pytest\n" + textwrap.dedent(GATED))
    monkeypatch.syspath_prepend(place)

    result = project.measure("--llm-update-baselines=append", "--pyargs", "perf_suite")
    assert sum(line.startswith("llm-bench home:") for line in result.outlines) == 1

    assert keys(project, "--pyargs", "perf_suite") == [["perf_suite.test_speed", "test_speed", ""]]
    (path,) = project.path.glob("baselines/portable/*.json")
    assert path.name == "perf_suite.test_speed.json"


def test_results_of_several_homes_are_accepted_by_each_of_them(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        project.write(GATED, f"packages/{name}/test_speed.py")
        project.write("[pytest]\n", f"packages/{name}/pytest.ini")
    project.measure("--import-mode=importlib", "--llm-json=results.json").assert_outcomes(passed=2)
    monkeypatch.chdir(project.path / "packages" / "a")

    assert main(["baselines", "accept", "../../results.json"]) == 0
    assert main(["baselines", "diff", "../../results.json"]) == 0
    assert main(["baselines", "accept", "../../results.json", "--baselines=kept"]) == 2

    assert [path.parts[-4] for path in sorted(project.path.rglob("portable/*.json"))] == ["a", "b"]
    assert not (project.path / "baselines").exists()
    monkeypatch.chdir(project.path)
    assert len(found(project, "--import-mode=importlib")) == 2


def test_a_clash_with_a_test_that_is_not_selected_is_refused_too(project: Project) -> None:
    for name in ("a", "b"):
        project.write(GATED.replace("speed", f"{name}_speed"), f"{name}/test_it.py")
    project.write(
        """
        def pytest_itemcollected(item):
            item.originalname = "test_speed"
            item.path = item.path.parent.parent / "test_it.py"
        """,
        "conftest.py",
    )
    (text,) = project.failures("--import-mode=importlib", "-k", "a_speed").values()
    assert "(test_a_speed) and test_it.py::test_speed (test_b_speed) would have the same baselines" in text


def test_files_of_one_name_below_two_folders_of_the_call_are_two_tests(project: Project) -> None:
    project.write("[pytest]\n", "ci/bench.ini")
    for name in ("a", "b"):
        project.write(GATED, f"packages/{name}/tests/test_speed.py")
        project.write("[pytest]\n", f"packages/{name}/pytest.ini")

    results = project.results("-cci/bench.ini", "--import-mode=importlib", "packages/a", "packages/b")

    assert [(test["nodeid"], test["outcome"]) for test in results["tests"]] == [
        ("packages/a/tests/test_speed.py::test_speed", "passed"),
        ("packages/b/tests/test_speed.py::test_speed", "passed"),
    ]


def test_a_repeated_test_is_named_as_pytest_knows_it_without_the_plugin(project: Project, fake: Fake) -> None:
    project.write(GATED)
    project.write(REPEATING, "conftest.py")
    for factor in (1.0, 1.01, 0.99, 1.02, 0.98):
        fake.set(token_seconds=factor / 128)
        record(project)
    fake.set(token_seconds=1 / 32)
    texts = project.failures()
    assert len(texts) == 3
    assert all(
        "next: " in text and " pytest test_it.py::test_speed --llm-bench" in text for text in texts.values()
    )


def test_repeats_with_other_values_of_a_parameter_are_refused_although_their_ids_are_alike(
    project: Project,
) -> None:
    project.write(
        REPEATING
        + """
    def pytest_itemcollected(item):
        object.__setattr__(item.callspec, "_idlist", ["alike", *item.callspec._idlist[1:]])
""",
        "conftest.py",
    )
    project.write(
        GATED.replace("def test", '@pytest.mark.parametrize("way", [1, 2])\n    def test').replace(
            "(llm_bench)", "(llm_bench, way)"
        )
    )
    result = project.measure()
    result.assert_outcomes(errors=6)
    assert all("test_it.py::test_speed[alike]" in text for text in project.texts(result).values())


def test_a_fixture_of_the_whole_run_finds_the_models_of_every_home(project: Project) -> None:
    for name in ("a", "b"):
        project.write(
            f"""
            @pytest.fixture(scope="session")
            def bot(llm_load): return llm_load("model-of-{name}")

            @pytest.fixture(scope="session")
            def both(llm_load): return llm_load("both")

            def test_it(bot): pass
            """,
            f"packages/{name}/test_it.py",
        )
        table = "".join(
            f'[tool.pytest_llm.models.{each}]\nsource = "m.gguf"\n' for each in ("both", f"model-of-{name}")
        )
        project.write(f"[tool.pytest.ini_options]\n{table}", f"packages/{name}/pyproject.toml")
        (project.path / "packages" / name / "m.gguf").write_bytes(project.model.read_bytes())
    project.run("--import-mode=importlib", f"--llm-candidate={project.candidate}").assert_outcomes(passed=2)

    source = (project.path / "packages" / "a" / "test_it.py").read_text()
    (project.path / "packages" / "a" / "test_it.py").write_text(
        source.replace("test_it(bot)", "test_it(both)")
    )
    result = project.run("--import-mode=importlib", f"--llm-candidate={project.candidate}")
    result.assert_outcomes(passed=1, errors=1)
    (text,) = project.texts(result).values()
    assert "both is another model in" in text


@pytest.mark.parametrize("way", ["-c", "-o", "option"])
def test_a_folder_of_baselines_that_the_call_names_wins(project: Project, way: str) -> None:
    project.write(GATED)
    project.write("[pytest]\nllm_baselines = of_home\n", "pytest.ini")
    project.write("[pytest]\nllm_baselines = ../named\n", "ci/bench.ini")
    record(project)
    words = {
        "-c": ["-c", "ci/bench.ini", "."],
        "-o": ["-o", "llm_baselines=named"],
        "option": ["--llm-baselines=named"],
    }
    record(project, *words[way])
    assert sorted(path.parts[-3] for path in project.path.rglob("portable/*.json")) == ["named", "of_home"]
