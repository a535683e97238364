"""``llm_output``: a candidate that says other things is wrong, however fast it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.reports.recheck import differences, rejudge
from pytest_llm.reports.results_file import DOCUMENT

if TYPE_CHECKING:
    from tests.fake_engine import Fake
    from tests.integration.conftest import Project

ONE = """
    @pytest.mark.llm_model(n_ctx=512)
    @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=4)
    @pytest.mark.llm_output("Three herons stood in the shallow water.")
    def test_speed(llm_bench):
        assert llm_bench.generation_tokens_per_second.value > 1
"""
PAIRED = """
    pytestmark = [
        pytest.mark.llm_model(n_ctx=512),
        pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=4, parallel=2),
    ]
    beside = pytest.mark.llm_output(["Three herons."], top_k=5)

    @beside
    def test_one():
        pass

    @beside
    def test_two():
        pass
"""
# The prompt, one byte a token; its beginning once more at the context's end, and that end in a full cache.
SEEN = 40 + 40 + 64


@pytest.fixture
def against(reference: str) -> str:
    return f"--llm-against={reference}"


def output_of(results: dict[str, Any]) -> dict[str, Any]:
    (test,) = results["tests"]
    found: dict[str, Any] = test["output"]
    return found


def test_a_faster_candidate_that_is_wrong_fails_says_wrong_first_and_is_not_timed(
    project: Project, against: str, fake: Fake
) -> None:
    fake.set(token_seconds=1 / 512, logit_error=0.5)
    fake.set_reference(token_seconds=1 / 128, logit_error=0)
    project.write(ONE)

    result = project.measure(against, "--llm-json=results.json", "--junitxml=junit.xml")

    result.assert_outcomes(failed=1)
    ((_, text),) = project.texts(result).items()
    told = text.splitlines()
    assert told[0].startswith("wrong output: mean KL divergence ")
    assert f" ({SEEN} positions, furthest at " in told[0]
    assert told[1] == "  candidate fake 1.0 (llama.cpp 57a9d1234)"
    assert told[2] == "  reference fake 1.0 (llama.cpp 57a9d1234)"
    assert "speed" not in text
    result.stdout.fnmatch_lines(
        [
            "reference fake 1.0 (57a9d1234)",
            "test_it.py::test_speed",
            "  output  wrong output",
        ]
    )
    junit = (project.path / "junit.xml").read_text(encoding="utf-8")
    assert 'name="llm_output_verdict" value="wrong output"' in junit


def test_a_small_error_that_quantisation_hides_shows_in_a_copy_with_f32_weights(
    project: Project, against: str, fake: Fake
) -> None:
    fake.set(logit_error=0.003)
    fake.set_reference(logit_error=0)
    project.write(ONE)

    results = project.results(against, f"--llm-cache={project.path / 'cache'}")

    found = output_of(results)
    assert found["verdict"] == "wrong output"
    (reason,) = found["reasons"]
    assert "with F32 weights, tolerance " in reason
    first, second = found["comparison"]["contrasts"]
    assert (first["weights"], second["weights"]) == ("unknown weights", "F32 weights")
    assert first["candidate"]["mean_kl"] > 100 * second["variants"][0]["mean_kl"]
    names = ["flash_attn=on", "n_ubatch=32", "type_k=type_v=f32", "use_extra_bufts=False"]
    assert [each["name"] for each in first["variants"]] == names
    assert results["tests"][0]["metrics"] == {}
    assert results["pairs"] == {}
    assert [run["sessions"] for run in results["runs"].values()] == [[]]
    assert len(list((project.path / "cache" / "f32").iterdir())) == 1
    assert differences(DOCUMENT.decode(results)) == []


@pytest.mark.parametrize("trusting", [False, True])
def test_a_forged_copy_with_f32_weights_is_made_anew_unless_the_cache_is_trusted(
    project: Project, against: str, fake: Fake, trusting: bool
) -> None:
    fake.set(logit_error=0.003)
    fake.set_reference(logit_error=0)
    project.write(ONE)
    cache = f"--llm-cache={project.path / 'cache'}"
    project.measure(against, cache)
    (copy,) = (project.path / "cache" / "f32").iterdir()
    made = copy.read_bytes()
    copy.write_bytes(b"GGUF of another kind")

    project.measure(against, cache, *(["--llm-trust-cache"] if trusting else []))

    assert (copy.read_bytes() == made) is not trusting


@pytest.mark.parametrize("side", ["candidate", "reference", "both"])
def test_a_chat_template_that_is_not_rendered_is_reported_and_no_drift(
    project: Project, against: str, fake: Fake, side: str
) -> None:
    reason = "the chat template is not rendered: it reaches for the attribute '__class__' of str"
    fake.set(no_template=reason if side != "reference" else "")
    fake.set_reference(no_template=reason if side != "candidate" else "")
    project.write(ONE)

    result = project.measure(against)

    result.assert_outcomes(passed=1)
    told = [line for line in result.outlines if line.startswith("not covered: ") and reason in line]
    assert len(told) == 1


def test_verdicts_on_output_follow_from_the_results_file(project: Project, against: str, fake: Fake) -> None:
    fake.set(logit_error=0.5)
    fake.set_reference(logit_error=0)
    project.write(ONE)
    results = project.results(against)
    (finding,) = rejudge(DOCUMENT.decode(results))
    assert finding.output is not None
    assert finding.output.verdict.value == "wrong output"

    mended = output_of(results)["comparison"]["contrasts"][0]["candidate"]
    mended["mean_kl"] = mended["tail_kl"] = 0.0

    assert differences(DOCUMENT.decode(results)) == ["test_it.py::test_speed: output"]


def test_the_same_output_passes_is_told_and_took_two_looks(
    project: Project, against: str, fake: Fake
) -> None:
    project.write(PAIRED)

    results = project.results(against)

    for test in results["tests"]:
        assert test["output"]["verdict"] == "pass"
        assert test["output"]["comparison"]["same"]
        assert test["output"]["comparison"]["contrasts"] == []
        assert test["output"]["gate"] == {
            "prompts": ["Three herons."],
            "top_k": 5,
            "max_kl": None,
            "max_distance": None,
        }
        assert test["notes"][0] == "same output, to the last bit, at 122 positions"  # 13 + 13 + 2 * 16 + 64
        assert test["metrics"]["generation_tokens_per_second"]["comparison"]["verdict"] == "pass"
    looks = 3  # the prompt's tokens, and one of each
    sessions = max(len(run["sessions"]) for run in results["runs"].values())
    assert len(fake.started) == looks + 2 + 2 * sessions


def test_other_rounding_is_no_error(project: Project, against: str, fake: Fake) -> None:
    """The candidate rounds as the reference does with another option."""
    fake.set(rounding=1)
    fake.set_reference(rounding=0)
    project.write(ONE)

    result = project.measure(against, f"--llm-cache={project.path / 'cache'}")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_speed",
            "  output *within tolerance *pass",
            "test_it.py::test_speed: output within tolerance: mean KL divergence * with unknown weights, "
            "tolerance *; mean KL divergence * with F32 weights, *; mean KL divergence * with F32 weights "
            "without flash attention, tolerance *",
        ]
    )


def test_nan_is_wrong(project: Project, against: str, fake: Fake) -> None:
    fake.set(nan_at=20)
    fake.set_reference(nan_at=-1)
    project.write(ONE)

    results = project.results(against)

    (test,) = results["tests"]
    assert test["notes"] == [f"wrong output: NaN or infinite logits at 1 of {SEEN} positions"]
    assert test["output"]["comparison"]["contrasts"] == []


def test_nan_with_f32_weights_alone_is_wrong(project: Project, against: str, fake: Fake) -> None:
    fake.set(rounding=1, nan_at=20, nan_in=".f32.gguf")
    fake.set_reference(rounding=0, nan_at=-1)
    project.write(ONE)

    found = output_of(project.results(against, f"--llm-cache={project.path / 'cache'}"))

    assert found["verdict"] == "wrong output"
    assert found["reasons"][0].startswith("NaN or infinite logits at 1 of ")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"token_shift": 1}, "output: drift: other token ids for 15 texts, first for *"),
        ({"asker": "person"}, "output: drift: the chat template is rendered as *"),
    ],
)
def test_other_tokens_and_templates_are_told_as_drift(
    project: Project, against: str, fake: Fake, values: dict[str, object], told: str
) -> None:
    fake.set(**values)
    fake.set_reference(token_shift=0, asker="user")
    project.write(ONE)

    result = project.measure(against, "--llm-drift=warn")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["test_it.py::test_speed  drift", "  output *  drift", f"test_it.py::test_speed: {told}"]
    )
    failed = project.measure(against)
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines([told])


def test_where_no_copy_can_be_made_that_is_told(project: Project, against: str, fake: Fake) -> None:
    fake.set(logit_error=0.003)
    fake.set_reference(logit_error=0, fault="quantize")
    project.write(ONE)

    found = output_of(project.results(against, f"--llm-cache={project.path / 'cache'}"))

    assert found["verdict"] == "pass"
    assert "it can make no F32 copy of the model" in found["comparison"]["no_f32"]
    assert not list((project.path / "cache" / "f32").iterdir())


@pytest.mark.parametrize(("bound", "verdict"), [(9, "pass"), (1e-9, "wrong output")])
def test_max_kl_says_how_far_outputs_may_be_apart(
    project: Project, against: str, fake: Fake, bound: float, verdict: str
) -> None:
    fake.set(logit_error=0.003)
    fake.set_reference(logit_error=0)
    project.write(ONE.replace('water."', f'water.", max_kl={bound}'))

    found = output_of(project.results(against))

    assert found["verdict"] == verdict
    assert [each["variants"] for each in found["comparison"]["contrasts"]] == [[]]


def test_without_a_reference_the_test_says_that_it_has_none(project: Project) -> None:
    project.write(ONE)

    result = project.measure()

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*output: no baseline: * give --llm-against*"])
    assert project.measure("--llm-missing-baseline=fail").ret == pytest.ExitCode.TESTS_FAILED


def test_a_candidate_that_cannot_talk_is_an_error_that_says_why(
    project: Project, against: str, fake: Fake
) -> None:
    fake.set(fault="write")
    fake.set_reference(fault="")
    project.write(ONE)

    ((_, text),) = project.failures(against).items()

    assert "it refused a passage" in text


@pytest.mark.parametrize(
    ("marker", "told"),
    [
        ("llm_output(prompts=[])", "prompts=[] is neither a text nor a list of texts"),
        ("llm_output(prompts=['a', 7])", "prompts=['a', 7] is neither a text nor a list of texts"),
        ("llm_output(top_k=0)", "top_k=0 is not a whole number above 0"),
        ("llm_output(max_kl=-1)", "max_kl=-1 is not a number of nats, 0 or more"),
        ("llm_output(max_kl='5%')", "max_kl='5%' is not a number of nats, 0 or more"),
        ("llm_output(max_kll=1)", "unknown argument of llm_output 'max_kll': did you mean max_kl?"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_loaded(
    project: Project, fake: Fake, marker: str, told: str
) -> None:
    project.write(f"@pytest.mark.{marker}\ndef test_it(): pass\n")

    ((_, text),) = project.failures().items()

    assert told in text
    assert fake.started == []


def test_the_marker_is_listed_with_its_true_signature(project: Project) -> None:
    project.run("--markers").stdout.fnmatch_lines(
        ["@pytest.mark.llm_output(prompts=None, top_k=20, max_kl=None, max_distance=None): Fail, before *"]
    )
