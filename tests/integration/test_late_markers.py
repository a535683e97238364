"""Markers that hooks and fixtures add: read after the collection, and again while the test runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

BENCHMARK = """
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    def test_chat(llm_bench):
        pass
"""
FLOOR = "pytest.mark.llm_tokens_per_second(min=1_000_000)"
PLACE = (
    ", after the plan was made: add it in pytest_collection_modifyitems, or write it on the test, its class "
    "or its module"
)


def late(added: str, written: str = "llm_bench") -> str:
    """Return a benchmark with a written marker, to which a fixture adds another one."""
    return f"""
    @pytest.fixture
    def late(request):
        request.node.add_marker(pytest.mark.{added})

    @pytest.mark.{written}
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
    def test_chat(llm_bench, late):
        pass
    """


HOOKS = {
    "normal": "def pytest_collection_modifyitems(items):",
    "late": "@pytest.hookimpl(trylast=True)\ndef pytest_collection_modifyitems(items):",
    "outermost": (
        "@pytest.hookimpl(wrapper=True, tryfirst=True)\ndef pytest_collection_modifyitems(items):\n yield"
    ),
    "finish": (
        "@pytest.hookimpl(tryfirst=True)\ndef pytest_collection_finish(session):\n items = session.items"
    ),
    "early": "def pytest_itemcollected(item):\n items = [item]",
}


class TestByHooks:
    """Whichever hook adds it, and whenever: it counts like a written one."""

    def test_a_floor_for_all_chat_tests_is_judged(self, project: Project) -> None:
        for name, head in HOOKS.items():
            floor = f"for item in items:\n  if '{name}_chat' in item.name: item.add_marker({FLOOR})"
            project.write(f"{head}\n {floor}", f"{name}/conftest.py")
            project.write(
                f"""
                @pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=8)
                def test_{name}_chat(llm_bench):
                    pass

                def test_{name}_chat_marked_only():
                    pass

                def test_{name}_other():
                    pass
                """,
                f"{name}/test_{name}.py",
            )

        failures = project.failures()

        assert set(failures) == {
            f"test_{name}_{end}" for name in HOOKS for end in ("chat", "chat_marked_only")
        }
        assert all("the limit is at least 1000000 tok/s" in text for text in failures.values())

    def test_what_they_make_a_benchmark_is_skipped_without_the_flag(self, project: Project) -> None:
        self._mark(project, FLOOR)
        project.write("def test_chat(): pass")

        project.run().assert_outcomes(skipped=1)

    def test_what_they_make_a_benchmark_is_selected_as_one(self, project: Project) -> None:
        self._mark(project, FLOOR)
        project.write("def test_chat(): pass\ndef test_other(): pass")

        assert project.collected("-m", "llm_bench", f"--llm-model={project.model}") == ["test_chat"]
        assert project.collected("-m", "not llm_bench", f"--llm-model={project.model}") == ["test_other"]
        assert project.collected("--llm-bench-only", f"--llm-model={project.model}") == ["test_chat"]
        assert "1 benchmark " in project.plan("-k", "chat", f"--llm-model={project.model}")[0]

    def test_they_see_the_marker_of_every_benchmark(self, project: Project) -> None:
        project.write(
            """
            def pytest_collection_modifyitems(items):
                items[:] = [item for item in items if item.get_closest_marker("llm_bench") is None]
            """,
            "conftest.py",
        )
        project.write(f"{BENCHMARK}\n    def test_other(): pass\n")

        assert project.collected(f"--llm-model={project.model}") == ["test_other"]

    def test_a_workload_for_all_parameters_of_a_test_counts(self, project: Project) -> None:
        self._mark(project, "pytest.mark.llm_workload(prompt_tokens=8, generate_tokens=2)")
        project.write(
            """
            @pytest.mark.llm_model(n_ctx=[512, 1024])
            def test_chat(llm_bench):
                assert llm_bench.workload.prompt_tokens == 8
            """
        )

        project.measure().assert_outcomes(passed=2)

    def test_other_lists_than_those_that_made_the_parameters_are_refused(self, project: Project) -> None:
        self._mark(project, "pytest.mark.llm_model(n_ctx=512), append=False")
        project.write("@pytest.mark.llm_model(n_ctx=[768, 1024])\ndef test_chat(llm_bench): pass")

        texts = set(project.failures().values())
        assert texts == {
            "the test has two markers llm_model that contradict each other: leave one of them out",
        }

    def test_lists_come_too_late(self, project: Project) -> None:
        self._mark(project, "pytest.mark.llm_model(n_ctx=[512, 1024])")
        project.write("def test_chat(llm_bench): pass")

        (text,) = project.failures().values()
        assert text.endswith("its class or its module: a hook adds them too late")

    def test_a_baseline_of_what_they_make_a_benchmark_is_not_called_left_over(self, project: Project) -> None:
        self._mark(project, FLOOR)
        project.write("[pytest]\n", "pytest.ini")
        project.write("def test_chat(): pass\ndef test_other(llm_bench): pass")
        project.measure("--llm-update-baselines=replace")

        assert "no longer exist" not in project.measure().stdout.str()

    @staticmethod
    def _mark(project: Project, mark: str) -> None:
        project.write(
            f"""
            def pytest_collection_modifyitems(items):
                for item in items:
                    if "chat" in item.name:
                        item.add_marker({mark})
            """,
            "conftest.py",
        )


class TestOfOnePlace:
    """Markers of one name on one test, whoever added them."""

    @pytest.mark.parametrize("floors", [(1, 1000), (1000, 1)], ids=str)
    def test_the_stricter_limit_is_judged(self, project: Project, floors: tuple[int, int]) -> None:
        marks = "\n".join(f"@pytest.mark.llm_tokens_per_second(min={floor})" for floor in floors)
        project.write(f"{marks}\ndef test_chat(): pass")

        (text,) = project.failures().values()
        assert "the limit is at least 1000" in text

    def test_a_limit_of_a_parameter_is_judged_beside_that_of_its_test(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.llm_load_time(max=1)
            @pytest.mark.parametrize("way", [
                "a", pytest.param("b", marks=pytest.mark.llm_load_time(max=0.1))
            ])
            def test_chat(way): pass
            """
        )

        assert list(project.failures()) == ["test_chat[b]"]

    def test_gates_add_up(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.llm_no_regression("load_time", tolerance="20%")
            @pytest.mark.llm_no_regression("peak_ram")
            @pytest.mark.llm_no_regression("load_time", tolerance="10%")
            def test_chat(): pass
            """
        )

        (test,) = project.results()["tests"]
        gated = {name: each["baseline"] for name, each in test["metrics"].items() if each["baseline"]}
        assert set(gated) == {"load_time", "peak_ram"}

    @pytest.mark.slow
    def test_claims_add_up(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.llm_model(flash_attn="on")
            @pytest.mark.llm_faster_than("1%", phase="prompt", flash_attn="off")
            @pytest.mark.llm_faster_than("1%", n_batch=64)
            def test_chat(): pass
            """
        )

        (test,) = project.results()["tests"]
        claimed = {name for name, each in test["metrics"].items() if each["claim"]}
        assert claimed == {"prompt_tokens_per_second", "generation_tokens_per_second"}

    def test_a_class_overrides_what_it_inherits(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.llm_model(n_ctx=512)
            @pytest.mark.llm_tokens_per_second(min=1000)
            class Base:
                def test_chat(self, llm_bench):
                    assert llm_bench.effective_options["n_ctx"] == self.n_ctx

            class TestBase(Base):
                n_ctx = 512

            @pytest.mark.llm_model(n_ctx=768)
            @pytest.mark.llm_tokens_per_second(min=1)
            class TestOther(TestBase):
                n_ctx = 768
            """
        )

        assert list(project.failures()) == ["TestBase::test_chat"]

    def test_what_contradicts_itself_is_refused(self, project: Project) -> None:
        contradictions = {
            "llm_workload": ("prompt_tokens=4", "prompt_tokens=8"),
            "llm_model": ("n_ctx=512", "n_ctx=1024"),
            "llm_output": ("top_k=3", "top_k=4"),
            "llm_faster_than": ("'1%', n_batch=64", "'2%', n_batch=32"),
        }
        tests = [
            f"@pytest.mark.{name}({first})\n@pytest.mark.{name}({second})\ndef test_{name}(llm_bench): pass\n"
            for name, (first, second) in contradictions.items()
        ]
        project.write("\n".join(tests))

        assert project.failures() == {
            f"test_{name}": (
                f"the test has two markers {name} that contradict each other: leave one of them out"
            )
            for name in contradictions
        }


class TestByFixtures:
    """Markers that come while the test runs."""

    def test_a_limit_is_judged_on_what_was_measured(self, project: Project) -> None:
        project.write(late("llm_tokens_per_second(min=1_000_000)"))

        (test,) = project.results()["tests"]
        limit = test["metrics"]["generation_tokens_per_second"]["limit"]
        assert (test["outcome"], limit["bound"], limit["verdict"]) == ("failed", 1_000_000, "over limit")

    def test_a_limit_that_is_kept_passes_beside_the_others(self, project: Project) -> None:
        project.write(late("llm_tokens_per_second(min=1)", "llm_load_time(max=1)"))

        result = project.measure()

        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["  generation speed *  pass", "  load time *  pass"])

    def test_a_test_that_ends_otherwise_is_not_failed_for_a_limit(self, project: Project) -> None:
        limit = late("llm_tokens_per_second(min=1_000_000)")
        project.write(limit.replace("pass", "assert False, 'its own'"), "test_fails.py")
        project.write(limit.replace("pass", "pytest.skip('for now')"), "test_skips.py")

        result = project.measure()

        result.assert_outcomes(failed=1, skipped=1)
        assert "its own" in project.texts(result)["test_chat"]
        result.stdout.fnmatch_lines(["*beside the failure above*", "*the limit is at least 1000000 tok/s*"])

    def test_a_limit_of_the_body_is_judged(self, project: Project) -> None:
        project.write(
            f"""
            def test_chat(llm_bench, request):
                request.node.add_marker({FLOOR})
            """
        )

        (text,) = project.failures().values()
        assert "the limit is at least 1000000 tok/s" in text

    def test_a_limit_does_not_loosen_a_written_one(self, project: Project) -> None:
        project.write(late("llm_load_time(max=1)", "llm_load_time(max=0.1)"))

        (text,) = project.failures().values()
        assert "the limit is at most 100.0 ms" in text

    def test_a_limit_that_nothing_is_read_for_is_listed_as_not_covered(self, project: Project) -> None:
        project.write(late("llm_vram(max='1 GiB')"))

        result = project.measure()

        result.assert_outcomes(passed=1)
        assert "not covered: test_it.py::test_chat: " in result.stdout.str()

    def test_what_must_be_planned_fails_the_test(self, project: Project) -> None:
        added = {
            "llm_no_regression": "",
            "llm_workload": "prompt_tokens=8",
            "llm_model": "n_ctx=512",
            "llm_output": "",
            "llm_faster_than": "'1%', n_batch=64",
            "llm_leak": "max=1",
            "llm_tokens_per_secnd": "min=1",
        }
        for name, arguments in added.items():
            test = late(f"{name}({arguments})").replace("test_chat", name)
            # A limit may be judged until the test has ended; the body of the others does not run.
            project.write(test if name == "llm_leak" else test.replace("pass", "1 / 0"), f"{name}_test.py")

        result = project.measure(
            "-W", "ignore::pytest.PytestUnknownMarkWarning", "-o", "python_functions=llm_*"
        )

        result.assert_outcomes(failed=len(added))
        assert project.texts(result) == {
            name: f"{name} was added by late ({name}_test.py:5){PLACE}" for name in added
        }

    def test_a_wrong_argument_fails_the_test(self, project: Project) -> None:
        project.write(late("llm_tokens_per_second(minimum=1)"))

        (text,) = project.failures().values()
        assert text.startswith("unknown argument of llm_tokens_per_second 'minimum'")

    @pytest.mark.parametrize("flag", [True, False], ids=["measuring", "plain"])
    def test_a_limit_on_what_is_not_measured_fails_the_test(self, project: Project, flag: bool) -> None:
        project.write(
            f"""
            @pytest.fixture
            def floor(request):
                request.node.add_marker({FLOOR})

            def test_plain(floor): pass
            """
        )

        result = project.measure() if flag else project.run()

        assert project.texts(result) == {
            "test_plain": f"llm_tokens_per_second was added by floor (test_it.py:5){PLACE}"
        }

    def test_a_marker_of_the_class_that_a_fixture_adds_fails_its_tests(self, project: Project) -> None:
        project.write(
            """
            @pytest.fixture(scope="class", autouse=True)
            def gate(request):
                request.node.add_marker(pytest.mark.llm_no_regression())

            class TestChat:
                @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
                def test_chat(self): pass

                def test_plain(self): pass
            """
        )

        assert set(project.failures().values()) == {
            f"llm_no_regression was added by gate (test_it.py:5){PLACE}"
        }

    def test_one_of_the_tear_down_comes_too_late_for_everything(self, project: Project) -> None:
        project.write(
            f"""
            @pytest.fixture
            def late(request):
                yield
                request.node.add_marker({FLOOR})

            def test_chat(llm_bench, late): pass
            """
        )

        result = project.measure()

        result.assert_outcomes(passed=1, errors=1)
        assert "llm_tokens_per_second was added by late (test_it.py:" in project.texts(result)["test_chat"]

    def test_one_of_a_hook_after_the_collection_is_named_with_it(self, project: Project) -> None:
        project.write(
            """
            def pytest_runtest_setup(item):
                item.add_marker(pytest.mark.llm_no_regression() if "chat" in item.name else "llm_bench")
            """,
            "conftest.py",
        )
        project.write(f"{BENCHMARK}\n    def test_other(): pass\n")

        result = project.measure()

        result.assert_outcomes(failed=2)
        hook = "was added by pytest_runtest_setup (conftest.py:4)"
        assert project.texts(result) == {
            "test_chat": f"llm_no_regression {hook}{PLACE}",
            "test_other": f"llm_bench {hook}{PLACE}",
        }

    def test_a_rerun_does_not_forget_it(self, project: Project) -> None:
        project.write(
            """
            LATE = pytest.mark.llm_no_regression()

            @pytest.fixture
            def late(request):
                request.node.add_marker(LATE)

            def test_plain(late): pass
            """
        )
        project.write(
            """
            from _pytest.runner import runtestprotocol

            def pytest_runtest_protocol(item, nextitem):
                for _ in range(2):
                    reports = runtestprotocol(item, nextitem=nextitem, log=False)
                for report in reports:
                    item.ihook.pytest_runtest_logreport(report=report)
                return True
            """,
            "conftest.py",
        )

        project.run().assert_outcomes(failed=1)

    @pytest.mark.parametrize(
        ("statement", "where"),
        [("own_markers.extend([late])", " by sneak (conftest.py:5),"), ("own_markers = [late]", "")],
        ids=["extend", "assign"],
    )
    def test_one_that_is_not_added_by_pytest_is_found_as_well(
        self, project: Project, statement: str, where: str
    ) -> None:
        project.write(
            f"""
            def sneak(item):
                late = pytest.mark.llm_no_regression().mark
                item.{statement}

            def pytest_runtest_setup(item):
                sneak(item)
            """,
            "conftest.py",
        )
        project.write("def test_plain(): pass")

        (text,) = project.failures().values()
        assert (
            text == f"llm_no_regression was added{where} after the plan was made" + PLACE.partition("made")[2]
        )

    def test_a_benchmark_that_is_not_run_is_not_bothered(self, project: Project, fake: Fake) -> None:
        project.write(late("llm_no_regression()"))

        project.run().assert_outcomes(skipped=1)
        assert fake.started == []


class TestWhereNobodyReadsThem:
    """Markers in places that pytest does not look at."""

    @pytest.mark.parametrize("file", ["conftest.py", "sub/conftest.py", "sub/__init__.py"])
    def test_are_refused(self, project: Project, file: str) -> None:
        project.write(f"pytestmark = [{FLOOR}]", file)
        project.write("def test_chat(): pass", "sub/test_chat.py")

        line = project.usage_error()
        assert line.startswith(
            f"ERROR: {project.path / file}: pytestmark marks no test there, so llm_tokens_per"
        )

    def test_of_a_definition_are_refused(self, project: Project) -> None:
        project.write(
            f"""
            def pytest_generate_tests(metafunc):
                if "chat" in metafunc.function.__name__:
                    metafunc.definition.add_marker({FLOOR})
            """,
            "conftest.py",
        )
        project.write(f"{BENCHMARK}\n    def test_other(): pass\n")

        result = project.measure()

        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*llm_tokens_per_second was added to the definition of test_chat, *"])

    def test_other_markers_there_are_not_ours_to_refuse(self, project: Project) -> None:
        project.write("pytestmark = pytest.mark.slow", "conftest.py")
        project.write("def test_chat(): pass")

        project.run().assert_outcomes(passed=1)


def test_an_item_that_is_no_function_is_judged(project: Project) -> None:
    project.write(
        f"""
        class Prompt(pytest.Item):
            def runtest(self): pass

        class Prompts(pytest.File):
            def collect(self):
                yield Prompt.from_parent(self, name="chat")

        def pytest_collect_file(file_path, parent):
            if file_path.suffix == ".prompts":
                return Prompts.from_parent(parent, path=file_path)

        def pytest_collection_modifyitems(items):
            for item in items:
                item.add_marker({FLOOR})
        """,
        "conftest.py",
    )
    project.write("", "it.prompts")

    (text,) = project.failures().values()
    assert "the limit is at least 1000000 tok/s" in text


def test_a_skipped_benchmark_that_another_plugin_runs_is_no_crash(project: Project) -> None:
    project.write(
        """
        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_setup(item):
            item.own_markers = [mark for mark in item.own_markers if mark.name != "skip"]
        """,
        "conftest.py",
    )
    project.write("@pytest.mark.skip\ndef test_chat(llm_bench): pass\n")

    (text,) = project.failures().values()
    assert "no test of this subject was in the plan" in text


def test_a_plugin_that_was_there_first_and_comes_last_is_heard(project: Project) -> None:
    project.write(
        f"""
        @pytest.hookimpl(trylast=True)
        def pytest_collection_modifyitems(items):
            for item in items:
                item.add_marker({FLOOR})
        """,
        "floors.py",
    )
    project.pytester.syspathinsert()
    project.write("def test_chat(): pass")

    assert list(project.failures("-p", "floors")) == ["test_chat"]


# From the closest to the farthest; what shares a line adds up.
PLACES = (("function", "parameter", "hook"), ("class",), ("base",), ("module",))
LATE = ("fixture", "body")
BOUNDS = {"kept": 1, "broken": 1_000_000}


def _speed(state: str | None) -> str:
    return "None" if state is None else f"pytest.mark.llm_tokens_per_second(min={BOUNDS[state]})"


@pytest.mark.slow
@settings(
    max_examples=settings().max_examples // 5,  # each runs pytest
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.dictionaries(st.sampled_from((*sum(PLACES, ()), *LATE)), st.sampled_from([*BOUNDS]), max_size=3))
def test_every_limit_is_judged_wherever_it_was_written(
    project: Project, tmp_path_factory: pytest.TempPathFactory, states: dict[str, str]
) -> None:
    folder = tmp_path_factory.mktemp("written")  # a file that is written twice in a second is not read twice
    given = {place: _speed(states.get(place)) for place in (*sum(PLACES, ()), *LATE)}
    project.write(
        f"""
        def pytest_collection_modifyitems(items):
            for item in items:
                if {"hook" in states}:
                    item.add_marker({given["hook"]})
        """,
        str(folder / "conftest.py"),
    )
    project.write(
        f"""
        def marks(mark):
            return [] if mark is None else [mark]

        pytestmark = marks({given["module"]})

        @pytest.fixture
        def late(request):
            for mark in marks({given["fixture"]}):
                request.node.add_marker(mark)

        class Base:
            pytestmark = marks({given["base"]})

        class TestChat(Base):
            pytestmark = marks({given["class"]})

            @pytest.mark.parametrize("_", [pytest.param(0, marks=marks({given["parameter"]}))])
            def test_chat(self, _, llm_bench, late, request):
                for mark in marks({given["body"]}):
                    request.node.add_marker(mark)

            test_chat.pytestmark = [*test_chat.pytestmark, *marks({given["function"]})]
            test_chat.pytestmark = [getattr(each, "mark", each) for each in test_chat.pytestmark]
        """,
        str(folder / "test_it.py"),
    )

    result = project.measure(folder)

    closest = next((line for line in PLACES if states.keys() & line), ())
    judged = {states.get(place) for place in (*closest, *LATE)}
    outcome = "failed" if "broken" in judged else "passed"
    result.assert_outcomes(**{outcome: 1})
