"""What markers declare: limits, models, workloads and the parameters that their lists make."""

from __future__ import annotations

import math
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_llm.errors import UsageError
from pytest_llm.plugin.markers import read
from pytest_llm.records import Gate, Series

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

# What the stand-in shows of 16 prompt tokens and 17 generated ones at 128 tokens per second.
PROMPT = GENERATION = 128.0
TOTAL = (16 + 17) / 0.25
FIRST_TOKEN = 0.125
INTER_TOKEN = 1 / 128
LOAD = 0.25
VRAM = 6 * 2**30
RAM = 64 * 2**20
ANONYMOUS_RAM = 8 * 2**20
FILE_RAM = 48 * 2**20


class SteadyMemory:
    """A probe that sees the same memory every time."""

    @contextmanager
    def watch(self, pid: int) -> Iterator[Mapping[str, Series]]:
        yield {
            "peak_vram": Series((VRAM,), note="per process"),
            "peak_ram": Series((RAM,)),
            "peak_ram_anonymous": Series((ANONYMOUS_RAM,)),
            "peak_ram_file": Series((FILE_RAM,)),
        }


def test_each_is_listed_with_its_true_signature(project: Project) -> None:
    result = project.run("--markers")

    result.stdout.fnmatch_lines(
        [
            "@pytest.mark.llm_model(name_or_path=(), [*][*]load_options): The GGUF model *",
            "@pytest.mark.llm_workload(prompt_tokens=128, *, depth=0, parallel=1, embed=False): The req*",
            "@pytest.mark.llm_tokens_per_second(min, phase='generation'): Fail below *",
            "@pytest.mark.llm_first_token_latency(max, percentile=50): Fail if *",
            "@pytest.mark.llm_inter_token_latency(max, percentile=50): Fail if *",
            "@pytest.mark.llm_load_time(max): Fail if *",
            "@pytest.mark.llm_vram(max): Fail if *",
            "@pytest.mark.llm_ram(max, kind='total'): Fail if *",
            "@pytest.mark.llm_leak(max): Fail if *",
            "@pytest.mark.llm_limit(metric, min=None, max=None): Fail if *",
            "@pytest.mark.llm_no_regression([*]metrics, tolerance=None, negligible=None): Fail if *",
            "@pytest.mark.llm_bench: Set by the plugin on every benchmark*",
        ],
        consecutive=False,
    )


@pytest.mark.parametrize(
    ("marker", "bound", "beyond"),
    [
        ("llm_tokens_per_second(min={})", GENERATION, math.inf),
        ("llm_tokens_per_second(min={}, phase='prompt')", PROMPT, math.inf),
        ("llm_tokens_per_second(min={}, phase='total')", TOTAL, math.inf),
        ("llm_first_token_latency(max={})", FIRST_TOKEN, 0),
        ("llm_first_token_latency(max={}, percentile=95)", FIRST_TOKEN, 0),
        ("llm_inter_token_latency(max={})", INTER_TOKEN, 0),
        ("llm_inter_token_latency(max={}, percentile=99)", INTER_TOKEN, 0),
        ("llm_load_time(max={})", LOAD, 0),
        ("llm_vram(max={})", VRAM, 0),
        ("llm_ram(max={})", RAM, 0),
        ("llm_ram(max={}, kind='anonymous')", ANONYMOUS_RAM, 0),
        ("llm_ram(max={}, kind='file')", FILE_RAM, 0),
        ("llm_limit('generation_tokens_per_second', min={})", GENERATION, math.inf),
        ("llm_limit('first_token_latency_p95', max={})", FIRST_TOKEN, 0),
    ],
)
def test_a_limit_is_kept_at_exactly_its_bound_and_not_beyond(
    project: Project, monkeypatch: pytest.MonkeyPatch, marker: str, bound: float, beyond: float
) -> None:
    monkeypatch.setattr("pytest_llm.machine.environment.all_probes", SteadyMemory)
    project.write(
        f"""
        pytestmark = pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=17)

        @pytest.mark.{marker.format(bound)}
        def test_at_the_bound():
            pass

        @pytest.mark.{marker.format(math.nextafter(bound, beyond))}
        def test_beyond_the_bound():
            pass
        """
    )

    assert list(project.failures()) == ["test_beyond_the_bound"]


def test_limits_take_units(project: Project) -> None:
    project.write(
        """
        pytestmark = pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=17)

        @pytest.mark.llm_tokens_per_second(min="128 tok/s")
        @pytest.mark.llm_first_token_latency(max="125 ms")
        @pytest.mark.llm_load_time(max="250ms")
        @pytest.mark.llm_ram(max="1 GiB")
        def test_kept():
            pass

        @pytest.mark.llm_first_token_latency(max="124 ms")
        def test_late():
            pass

        @pytest.mark.llm_ram(max="1 MiB")
        def test_large():
            pass
        """
    )

    assert set(project.failures()) == {"test_late", "test_large"}


def test_a_percentile_is_over_all_tokens(project: Project, fake: Fake) -> None:
    fake.set(jitter=1)
    project.write(
        """
        pytestmark = pytest.mark.llm_workload(prompt_tokens=16, generate_tokens=17)

        @pytest.mark.llm_inter_token_latency(max="11.7 ms", percentile=10)
        @pytest.mark.llm_inter_token_latency(max="11.7 ms", percentile=40)
        def test_most_tokens_come_early():
            pass

        @pytest.mark.llm_inter_token_latency(max="11.7 ms", percentile=10)
        @pytest.mark.llm_inter_token_latency(max="11.7 ms", percentile=90)
        def test_some_tokens_come_late():
            pass
        """
    )

    assert list(project.failures()) == ["test_some_tokens_come_late"]


def test_the_closest_limit_wins(project: Project) -> None:
    project.write(
        """
        pytestmark = [
            pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2),
            pytest.mark.llm_tokens_per_second(min=1000),
        ]

        def test_modules():
            pass

        @pytest.mark.llm_tokens_per_second(min=1)
        class TestClass:
            def test_classes(self):
                pass

            @pytest.mark.llm_tokens_per_second(min=1001)
            def test_own(self):
                pass
        """
    )

    assert list(project.failures()) == ["test_modules", "TestClass::test_own"]


def test_limits_on_different_metrics_add_up(project: Project) -> None:
    project.write(
        """
        pytestmark = [
            pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2),
            pytest.mark.llm_tokens_per_second(min=1000, phase="prompt"),
        ]

        @pytest.mark.llm_tokens_per_second(min=1)
        def test_speed():
            pass
        """
    )

    (text,) = project.failures().values()
    assert text.startswith("prompt speed is 128.0 tok/s")


def test_the_closest_model_and_workload_win_whole(project: Project) -> None:
    project.write(
        """
        pytestmark = [
            pytest.mark.llm_model(n_ctx=512, n_threads=7),
            pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2, depth=3),
        ]

        def test_modules():
            pass

        @pytest.mark.llm_model(n_ctx=768)
        class TestClass:
            @pytest.mark.llm_workload(prompt_tokens=5)
            def test_own(self):
                pass
        """
    )

    plan = project.plan(f"--llm-model={project.model}")

    assert "n_ctx=512, n_threads=7" in plan[1]
    assert plan[2].strip() == "4 prompt tokens, 2 generated, depth 3"
    assert "n_ctx=768, n_threads=" in plan[3]
    assert "n_threads=7" not in plan[3]
    assert plan[4].strip() == "5 prompt tokens, 64 generated, depth 0"


@pytest.fixture
def two_models(project: Project) -> None:
    for name in ("one.gguf", "two.gguf"):
        shutil.copy(project.model, project.path / name)


@pytest.mark.usefixtures("two_models")
class TestLists:
    """Lists make parameters."""

    def test_a_list_of_models(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.llm_model(["one.gguf", "two.gguf"])
            def test_talk(gguf_model):
                pass
            """
        )

        assert project.collected() == ["test_talk[one]", "test_talk[two]"]

    def test_lists_of_load_options_and_workloads_combine(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.llm_model(["one.gguf", "two.gguf"], n_ctx=[512, 1024], n_batch=64)
            @pytest.mark.llm_workload(prompt_tokens=[4, 8], generate_tokens=2)
            def test_speed():
                pass
            """
        )

        assert sorted(project.collected()) == sorted(
            f"test_speed[{model}-n_ctx={context}-prompt_tokens={prompt}]"
            for model in ("one", "two")
            for context in (512, 1024)
            for prompt in (4, 8)
        )

    def test_each_combination_is_what_its_id_says(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.llm_model("one.gguf", n_ctx=[512, 1024])
            @pytest.mark.llm_workload(prompt_tokens=[4, 8], generate_tokens=2)
            def test_speed(llm_bench, request):
                options, work = llm_bench.subject.load_options, llm_bench.workload
                assert request.node.name == (
                    f"test_speed[n_ctx={options.n_ctx}-prompt_tokens={work.prompt_tokens}]"
                )
            """
        )

        project.measure().assert_outcomes(passed=4)

    def test_a_list_of_one_makes_no_parameter(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.llm_model(["one.gguf"], n_ctx=[512])
            def test_talk(gguf_model):
                pass
            """
        )

        assert project.collected() == ["test_talk"]

    def test_several_models_of_the_option(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.llm_model(n_ctx=[512, 1024])
            def test_talk(gguf_model):
                pass
            """
        )

        assert project.collected("--llm-model=one.gguf", "--llm-model=two.gguf") == [
            "test_talk[one-n_ctx=512]",
            "test_talk[one-n_ctx=1024]",
            "test_talk[two-n_ctx=512]",
            "test_talk[two-n_ctx=1024]",
        ]

    def test_on_classes_and_modules(self, project: Project) -> None:
        project.write(
            """
            pytestmark = pytest.mark.llm_model(["one.gguf", "two.gguf"])

            def test_talk(gguf_model):
                pass

            @pytest.mark.llm_workload(prompt_tokens=[4, 8], generate_tokens=2)
            class TestSpeed:
                def test_speed(self):
                    pass
            """
        )

        assert sorted(project.collected()) == [
            "TestSpeed::test_speed[one-prompt_tokens=4]",
            "TestSpeed::test_speed[one-prompt_tokens=8]",
            "TestSpeed::test_speed[two-prompt_tokens=4]",
            "TestSpeed::test_speed[two-prompt_tokens=8]",
            "test_talk[one]",
            "test_talk[two]",
        ]

    def test_beside_the_users_own_parameters(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.parametrize("word", ["yes", "no"])
            @pytest.mark.llm_model(["one.gguf", "two.gguf"])
            def test_talk(gguf_model, word):
                pass
            """
        )

        assert set(project.collected()) == {
            f"test_talk[{model}-{word}]" for model in ("one", "two") for word in ("yes", "no")
        }


@pytest.mark.parametrize(
    ("declared", "line"),
    [
        (
            "llm_tokens_per_second(minimum=3)",
            "unknown argument of llm_tokens_per_second 'minimum': did you mean *",
        ),
        (
            "llm_tokens_per_second()",
            "llm_tokens_per_second: missing a required argument: 'min'; it is "
            "llm_tokens_per_second(min, phase='generation')",
        ),
        (
            "llm_load_time('1 s', '2 s')",
            "llm_load_time: too many positional arguments; it is llm_load_time(max)",
        ),
        (
            "llm_tokens_per_second(min='5 apples')",
            "llm_tokens_per_second: '5 apples' is not a speed: the unit 'apples' is not one of *",
        ),
        ("llm_tokens_per_second(min='5 GiB')", "llm_tokens_per_second: '5 GiB' is not a speed: *"),
        (
            "llm_tokens_per_second(min=0)",
            "llm_tokens_per_second: min=0 cannot fail, because generation speed is never below it: "
            "write min='40 tok/s', say",
        ),
        (
            "llm_tokens_per_second(min=10**400)",
            "llm_tokens_per_second: 1000*000 is not a speed: it is not finite*",
        ),
        ("llm_load_time(max=float('nan'))", "llm_load_time: nan is not a duration: it is not finite; *"),
        ("llm_load_time(max=-1)", "llm_load_time: -1 is not a duration: it is negative; *"),
        ("llm_ram(max='10MBfoo')", "llm_ram: '10MBfoo' is not a size: *"),
        ("llm_ram(max=None)", "llm_ram: None is not a size: *"),
        ("llm_ram(max='1 GiB', kind='virtual')", "unknown kind of llm_ram 'virtual': *"),
        ("llm_tokens_per_second(min=1, phase='promt')", "unknown phase of *'promt': did you mean prompt?"),
        (
            "llm_first_token_latency(max=1, percentile=0)",
            "llm_first_token_latency: percentile 0 is not above 0 and below 100; write percentile=95, say",
        ),
        ("llm_first_token_latency(max=1, percentile=100)", "*: percentile 100 is not above 0 and below 100*"),
        ("llm_inter_token_latency(max=1, percentile='95')", "*: percentile '95' is not a number; *"),
        ("llm_inter_token_latency(max=1, percentile=True)", "*: percentile True is not a number; *"),
        ("llm_output(prompts=5)", "llm_output: *; it is llm_output(prompts=None, *"),
        ("llm_workload(prompt=4)", "unknown argument of llm_workload 'prompt': did you mean prompt_tokens?"),
        ("llm_workload(prompt_tokens=0)", "llm_workload: prompt_tokens=0 is less than 1"),
        ("llm_workload(prompt_tokens='many')", "llm_workload: prompt_tokens='many' is not a whole number"),
        ("llm_workload(prompt_tokens=[])", "a list of parameters is empty; give at least one value"),
        ("llm_workload(prompt_tokens=5000)", "the context is too small: * raise n_ctx to 5120 in llm_model"),
        ("llm_model('smollm2-153m')", "unknown model 'smollm2-153m': did you mean smollm2-135m? *"),
        ("llm_model('./nothing.gguf')", "*nothing.gguf: there is no such file"),
        ("llm_model(5)", "llm_model: 5 is neither a name, a path, nor a list of them"),
        ("llm_model(n_ctxx=512)", "unknown load option 'n_ctxx': did you mean n_ctx*"),
        ("llm_model(use_mmap=True)", "unknown load option 'use_mmap': write load_mode='mmap', or *"),
        (
            "llm_model(temp=0.8)",
            "unknown load option 'temp': sampling is an argument of gguf_model.generate*",
        ),
        (
            "llm_workload(n_predict=8)",
            "unknown argument of llm_workload 'n_predict': write *generate_tokens=*",
        ),
        (
            "llm_model('https://example.org/tiny.gguf')",
            "model 'https:*: *a URL is not downloaded: declare it *",
        ),
        (
            "llm_model('org/tiny-GGUF')",
            "model 'org/tiny-GGUF': *a repository of Hugging Face is not downloaded: *",
        ),
        ("llm_model('llama3.2:1b')", "model 'llama3.2:1b': *: *write ollama:llama3.2:1b if Ollama has it*"),
        ("llm_model(n_ctx='big')", "llm_model: n_ctx='big' is not a whole number"),
        (
            "llm_model(n_batch=2**31)",
            "llm_model: n_batch=2147483648 is more than llama.cpp takes, 2147483647",
        ),
        (
            "llm_model(rope_freq_base=float('inf'))",
            "llm_model: rope_freq_base=inf is more than llama.cpp takes*",
        ),
        (
            "llm_model(rope_freq_base=10**400)",
            "llm_model: rope_freq_base=1000*000 is more than llama.cpp takes*",
        ),
        (
            "llm_workload(depth=-(10**5000))",
            "llm_workload: depth=a number of thousands of digits is less than 0",
        ),
        ("llm_model(n_ctx=True)", "llm_model: n_ctx=True is not a whole number"),
        ("llm_model(flash_attn='maybe')", "llm_model: flash_attn='maybe' is not one of auto, on, off"),
        ("llm_model(offload_kqv=1)", "llm_model: offload_kqv=1 is neither True nor False"),
        (
            "llm_workload(generate_tokens=1); llm_inter_token_latency(max=1)",
            "inter-token latency p50 needs two tokens: *",
        ),
    ],
)
def test_nonsense_fails_its_own_test_in_one_line_before_anything_runs(
    project: Project, fake: Fake, declared: str, line: str
) -> None:
    decorators = "\n".join(f"@pytest.mark.{each}" for each in declared.split("; "))
    project.write(f"{decorators}\ndef test_bad(llm_bench): pass\n\ndef test_other(): pass\n")

    result = project.measure()

    result.assert_outcomes(passed=1, errors=1)
    (text,) = project.texts(result).values()
    assert len(text.splitlines()) == 1
    pytest.LineMatcher([text]).fnmatch_lines([line])
    assert fake.started == []


def test_nonsense_fails_without_the_flag_too(project: Project) -> None:
    project.write(
        """
        @pytest.mark.llm_tokens_per_second(min="5 apples")
        def test_bad():
            pass
        """
    )

    project.run().assert_outcomes(errors=1)


def test_one_bad_parameter_leaves_the_others(project: Project) -> None:
    project.write(
        """
        @pytest.mark.llm_workload(prompt_tokens=[4, 0], generate_tokens=2)
        def test_speed():
            pass
        """
    )

    assert project.failures() == {
        "test_speed[prompt_tokens=0]": "llm_workload: prompt_tokens=0 is less than 1",
    }


def test_lists_in_the_marks_of_a_parameter_are_refused(project: Project) -> None:
    project.write(
        """
        @pytest.mark.parametrize(
            "word", [pytest.param("yes", marks=pytest.mark.llm_workload(prompt_tokens=[4, 8]))]
        )
        def test_speed(word):
            pass
        """
    )

    assert project.failures() == {
        "test_speed[yes]": ("lists make parameters only in markers of the test itself, not in pytest.param"),
    }


class TestUnknownMarker:
    """A marker that starts with ``llm_`` and is none."""

    @pytest.fixture(autouse=True)
    def _misspelt(self, project: Project) -> None:
        project.write(
            """
            @pytest.mark.llm_modle("smollm2-135m")
            def test_bad():
                pass

            def test_other():
                pass
            """
        )

    def test_is_an_error_of_its_test_with_the_nearest_name(self, project: Project) -> None:
        result = project.run("-W", "ignore::pytest.PytestUnknownMarkWarning")

        result.assert_outcomes(passed=1, errors=1)
        (text,) = project.texts(result).values()
        assert text.startswith("unknown marker 'llm_modle': did you mean llm_model")
        assert len(text.splitlines()) == 1

    def test_is_named_where_markers_are_strict(self, project: Project) -> None:
        result = project.run("--strict-markers")

        assert result.ret == pytest.ExitCode.INTERRUPTED
        result.stdout.fnmatch_lines(["*'llm_modle' not found in `markers` configuration option*"])


ALIKE = {
    "lm_tokens_per_second": "llm_tokens_per_second",
    "LLM_tokens_per_second": "llm_tokens_per_second",
    "Llm_Vram": "llm_vram",
    "llmtokens_per_second": "llm_tokens_per_second",
    "llm_tok_per_second": "llm_tokens_per_second",
    "llm-tokens-per-second": "llm_tokens_per_second",
    "tokens_per_second": "llm_tokens_per_second",
    "load_time": "llm_load_time",
    "lm_ram": "llm_ram",
    "no_regression": "llm_no_regression",
    "llmbench": "llm_bench",
}


class TestNamesThatAreAlike:
    """A marker that is nearly one of ours, and that nobody registers, would judge nothing."""

    @pytest.fixture(autouse=True)
    def _misspelt(self, project: Project) -> None:
        tests = [
            f"@getattr(pytest.mark, {name!r})(min=1e12)\ndef test_{number}(): pass\n"
            for number, name in enumerate(ALIKE)
        ]
        project.write("".join(tests))

    @pytest.mark.parametrize("arguments", [(), ("--llm-bench", "--llm-none-measured=warn")])
    def test_are_errors_that_name_ours(self, project: Project, arguments: tuple[str, ...]) -> None:
        result = project.run("-W", "ignore", *arguments)

        result.assert_outcomes(errors=len(ALIKE))
        texts = list(project.texts(result).values())
        for (name, meant), text in zip(ALIKE.items(), texts, strict=True):
            assert text.startswith(f"unknown marker {name!r}: did you mean {meant}")
            assert text.endswith(" (if it is your own, register it under markers)")
            assert len(text.splitlines()) == 1

    @pytest.mark.parametrize("by", ["the ini file", "a plugin"])
    def test_are_left_alone_if_somebody_registers_them(self, project: Project, by: str) -> None:
        lines = [f"{name}(min): a marker of somebody else" for name in ALIKE]
        if by == "the ini file":
            project.write("[pytest]\nmarkers =\n" + "".join(f"  {line}\n" for line in lines), "pytest.ini")
        else:
            hook = f"for line in {lines!r}: config.addinivalue_line('markers', line)"
            project.write(f"def pytest_configure(config):\n    {hook}\n", "conftest.py")

        project.run("-W", "error").assert_outcomes(passed=len(ALIKE))
        measured = project.measure("--llm-none-measured=warn", "-W", "error")
        measured.assert_outcomes(passed=len(ALIKE))


def test_names_that_are_not_alike_are_left_alone(project: Project) -> None:
    names = ["slow", "llm", "model", "output", "benchmark", "limit", "llama", "ram", "lm_eval", "load"]
    for number, name in enumerate(names):
        project.write(f"@pytest.mark.{name}\ndef test_it(): pass\n", f"test_{number}.py")

    project.run("-W", "ignore").assert_outcomes(passed=len(names))


@pytest.mark.parametrize("key", ["llm-missing-baseline", "LLM_MISSING_BASELINE"])
def test_an_ini_key_that_is_alike_is_refused(project: Project, key: str) -> None:
    project.write(f"[pytest]\n{key} = fail\n", "pytest.ini")
    project.write("def test_it(): pass\n")

    assert f"unknown ini key {key!r}: did you mean llm_missing_baseline?" in project.usage_error()


def test_known_markers_are_known_where_markers_are_strict(project: Project) -> None:
    project.write(
        """
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
        @pytest.mark.llm_load_time(max="1 h")
        def test_speed():
            pass
        """
    )

    project.measure("--strict-markers", "-W", "error").assert_outcomes(passed=1)


def tolerances(*arguments: str, **keywords: object) -> dict[str, float]:
    gates: tuple[Gate, ...] = read("llm_no_regression", arguments, keywords)
    return {gate.metric.name: gate.tolerance for gate in gates}


def test_a_metric_has_its_own_tolerance_unless_the_marker_gives_one_for_all() -> None:
    memory = ("peak_ram", "peak_vram", "load_time")
    assert tolerances(*memory) == {"peak_ram": 0.03, "peak_vram": 0.05, "load_time": 0.05}
    assert tolerances(*memory, tolerance=None) == tolerances(*memory)
    assert tolerances(*memory, tolerance="10%") == dict.fromkeys(memory, pytest.approx(0.1))
    assert set(tolerances().values()) == {0.05}


@pytest.mark.parametrize("tolerance", [0, "0%", 0.91, 1, "100%"])
def test_a_tolerance_that_is_none_is_refused(tolerance: object) -> None:
    with pytest.raises(UsageError, match="is not above 0 and at most 90 %; write '5%'"):
        tolerances("peak_ram", tolerance=tolerance)


@pytest.mark.parametrize("keywords", [{}, {"max": "10 tok/s"}, {"min": "1 tok/s", "max": "10 tok/s"}])
def test_a_limit_on_the_wrong_side_of_a_metric_is_refused(keywords: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="is better when higher: give it min, and only that"):
        read("llm_limit", ("generation_tokens_per_second",), keywords)
