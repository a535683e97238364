"""The pages of README.md, CONTRIBUTING.md and docs/: generated tables are current, links lead somewhere."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from jsonschema import Draft202012Validator

from docs import generate, links
from pytest_llm.baselines import records
from pytest_llm.checks import drift
from pytest_llm.checks.operators import profile
from pytest_llm.machine.memory import sampler
from pytest_llm.machine.qualification import checks as qualification
from pytest_llm.measure import budgets, leaks, plan
from pytest_llm.records.metrics import METRICS, find
from pytest_llm.stats import power, prediction, sequential, theil_sen, tolerance
from tests import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("page", list(generate.pages()), ids=lambda page: page.name)
def test_generated_tables_are_current(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert generate.generated(text) == text, "run: uv run python -m docs.generate"


@pytest.mark.parametrize("name", generate.SCHEMAS)
def test_published_schemas_are_current_and_valid(name: str) -> None:
    published = (generate.FOLDER / name).read_text(encoding="utf-8")
    assert published == generate.schema(name), "run: uv run python -m docs.generate"
    Draft202012Validator.check_schema(json.loads(published))


def test_every_option_marker_metric_and_command_is_in_a_generated_table() -> None:
    from pytest_llm.cli import GROUPS
    from pytest_llm.plugin.markers import MARKERS
    from pytest_llm.plugin.options import OPTIONS
    from pytest_llm.records.metrics import METRICS

    text = "".join(page.read_text(encoding="utf-8") for page in generate.pages())
    names = [f"`{each.flag}" for each in OPTIONS] + [f"`{name}(" for name in MARKERS]
    names += [f"| `{name}` |" for name in METRICS] + [f"## pytest-llm {name}" for name in GROUPS]
    assert [name for name in names if name not in text] == []


def test_every_link_leads_somewhere() -> None:
    assert links.broken() == []


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    pages = [
        page.relative_to(REPOSITORY).as_posix()
        for page in links.pages(REPOSITORY)
        if page.name != "README.md" and page.parent.name != "changes"
    ]
    assert [page for page in pages if f"({page}" not in readme] == []


# ── the link checker ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], list[str]]:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "other.md").write_text(
        "# Other\n\n## What `--it` does, and why\n\n## Twice\n\n## Twice\n"
    )

    def write(text: str) -> list[str]:
        (tmp_path / "docs" / "page.md").write_text(f"# Page\n\n{text}\n")
        return links.broken(tmp_path)

    return write


@pytest.mark.parametrize(
    "text",
    [
        "[a](other.md)",
        "[a](other.md#what---it-does-and-why)",
        "[a](other.md#twice) [b](other.md#twice-1)",
        "[a](#page)",
        "[`code`](../docs/other.md)",
        "[elsewhere](https://example.com/#nothing) [mail](mailto:a@example.com)",
        "`[not](a-link)`\n\n```\n[nor](this)\n```",
    ],
)
def test_links_that_lead_somewhere_are_fine(write: Callable[[str], list[str]], text: str) -> None:
    assert write(text) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[a](nothing.md)", "nothing.md: there is no nothing.md"),
        ("[a](other.md#what)", "other.md#what: other.md has no heading #what"),
        ("[a](#nowhere)", "#nowhere: page.md has no heading #nowhere"),
        ("[`code`](nothing.py)", "nothing.py: there is no nothing.py"),
        ("[a](../../..)", "../../..: it leaves the checkout"),
        ("text [a\nb](nothing.md)", "nothing.md: there is no nothing.md"),
        ("![a picture](nothing.png)", "nothing.png: there is no nothing.png"),
    ],
)
def test_links_that_lead_nowhere_are_named(
    write: Callable[[str], list[str]], text: str, problem: str
) -> None:
    assert write(text) == [f"docs/page.md: {problem}"]


# ── examples ─────────────────────────────────────────────────────────────────────────────────────


def test_the_readme_names_its_two_commands() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^\$ uv run pytest -n auto\b", readme, re.MULTILINE)
    assert re.search(r"^\$ uv run pytest --llm-bench\b", readme, re.MULTILINE)


def test_every_key_of_the_results_file_is_explained() -> None:
    schema = generate.SCHEMAS["results-v1.schema.json"]()
    page = (REPOSITORY / "docs/results.md").read_text(encoding="utf-8")
    page += (REPOSITORY / "docs/markers.md").read_text(encoding="utf-8")  # load options
    explained = set(re.findall(r"`(\w+)`", page))
    assert _properties(schema) - explained - _OF_A_MODEL == set()


# Of the model's header; its record explains them.
_OF_A_MODEL = {"path", "layers", "heads", "kv_heads", "embedding_length", "context_length", "vocabulary_size"}


def _properties(part: object) -> set[str]:
    if isinstance(part, dict):
        return set(part.get("properties", ())).union(*map(_properties, part.values()))
    return set().union(*map(_properties, part)) if isinstance(part, list) else set()


FIVE_FILES = re.findall(
    r"^\d\. \[`[^`]+`\]\(\.\./([^)]+)\)",
    (REPOSITORY / "docs/measuring.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def test_the_way_of_a_measurement_is_five_files_and_each_says_its_job() -> None:
    assert len(FIVE_FILES) == 5
    for name in FIVE_FILES:
        assert (REPOSITORY / name).read_text(encoding="utf-8").startswith('"""'), name


def test_every_term_of_the_glossary_has_its_line_once() -> None:
    terms = re.findall(
        r"^\*\*([^*]+)\*\*", (REPOSITORY / "docs/glossary.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(terms) == len(set(terms)) > 50


def figures() -> dict[str, tuple[str, ...]]:
    """Return sentences with the constants of the code, by the page that must have them."""
    sessions = "{quick} with `--llm-effort quick`, {normal} with `normal`, {thorough} with `thorough`"
    return {
        "comparing.md": (
            f"tolerance of {METRICS['generation_tokens_per_second'].tolerance:.0%}".replace("%", " %"),
            f"the larger one of M / {1 / sequential.NEGLIGIBLE:g} and 3 τ",
            f"on a machine that is not qualified it is {100 * sequential.TAU:g} %",
            f"{budgets.PAIR.rounds.least} to {budgets.PAIR.rounds.most} rounds in about "
            f"{budgets.PAIR.rounds.seconds:g} seconds",
            f"down to {budgets.PAIR.rounds.shared_seconds:g} seconds and one round of each",
            f"would have called with {100 * power.POWER:g} % power",
            f"led by at most {drift.NEAR_TIE:g} nat",
            f"every decode lengthened by {100 * qualification.SLOWDOWN:g} %",
            *(f"| {each.name} | " for each in qualification.CHECKS),
        ),
        "measuring.md": (
            sessions.format(**plan.SESSIONS),
            f"{budgets.SOLO.rounds.least} to {budgets.SOLO.rounds.most} |",
            f"Slices take about {budgets.SOLO.rounds.seconds:g} seconds a session",
            *(
                f"{find(f'first_token_latency_p{each}').least_observations} for p{each}"
                for each in (90, 95, 99)
            ),
        ),
        "baselines.md": (
            f"the last {records.MAX_RUNS} stored ones",
            f"fewer than {('five' if prediction.LEAST_RUNS == 5 else prediction.LEAST_RUNS)} stored runs",
            f"α = {prediction.ALPHA:g} is shared by the m gates of a run; β = {prediction.BETA:g} holds",
            f"δ₀ = max(M / {1 / sequential.NEGLIGIBLE:g}, 3τ) is negligible",
        ),
        "memory.md": (
            f"{METRICS['peak_ram'].tolerance:.0%} is the smallest".replace("%", " %"),
            f"every {1000 * sampler.INTERVAL:g} ms",
            f"generates {leaks.STEPS} tokens a sequence",
            f"then {leaks.READINGS} times with a reading after each, {leaks.STEPS * leaks.READINGS} tokens",
            f"the {100 * theil_sen.CONFIDENCE:g} % interval of Sen",
        ),
        "operators.md": (f"{profile.BUDGET:g} s each for prompt and generation",),
        "output.md": (f"{tolerance.MARGIN:g} times the largest divergence of the reference from itself",),
    }


@pytest.mark.parametrize(("page", "texts"), figures().items(), ids=figures())
def test_the_figures_of_a_page_are_those_of_the_code(page: str, texts: tuple[str, ...]) -> None:
    text = " ".join((REPOSITORY / "docs" / page).read_text(encoding="utf-8").split())
    assert [each for each in texts if each not in text] == []
