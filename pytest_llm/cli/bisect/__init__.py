"""``pytest-llm bisect``: which of a row of builds made a test slower, or its output another one."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm import __version__
from pytest_llm.bisect import interpret, report
from pytest_llm.bisect.bisection import bisect
from pytest_llm.bisect.cache import Kept
from pytest_llm.bisect.comparisons import Pairs
from pytest_llm.bisect.issue import paragraph
from pytest_llm.bisect.pytest_runner import Runner
from pytest_llm.bisect.search import bill
from pytest_llm.builds.provider import Provider
from pytest_llm.builds.reference import parse_build
from pytest_llm.cli import command, project
from pytest_llm.cli.bisect import build_range, commits
from pytest_llm.cli.bisect.into_commits import Onwards
from pytest_llm.cli.bisect.operators import operators_of
from pytest_llm.cli.bisect.progress import Progress
from pytest_llm.cli.doctor.report import ANSWER_SECONDS
from pytest_llm.machine import fingerprint
from pytest_llm.measure.plan import SESSIONS
from pytest_llm.records.serialization import encode
from pytest_llm.reports.results import operators_entry

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from pytest_llm.bisect.bisection import Bisected
    from pytest_llm.bisect.request import Planned
    from pytest_llm.records import Build, BuildReference, OperatorRun

_TEXT = command.Text(
    summary="find the builds that made a test slower or changed its output",
    more="Compares pairs of builds, as pytest --llm-against does: the two ends first, then halves, down to "
    "neighbours. Builds that cannot be tested are skipped. All comparisons share one error rate. Every "
    "comparison is stored: an interrupted bisect resumes. Ends with the text for an issue. With --checkout, "
    "each culprit is then bisected over the commits of llama.cpp between it and the build before, at an "
    "error rate of its own.",
    statuses="0 if a culprit was found; 1 if not: the ends do not differ, the good end is the worse one, "
    "or an end cannot be tested",
    example="pytest-llm bisect tests/test_speed.py::test_chat --good 0.3.16 --bad 0.3.36\n"
    "  pytest-llm bisect tests/test_speed.py::test_chat --builds venv:old,venv:mid,venv:new\n"
    "  pytest-llm bisect tests/test_speed.py::test_chat --good 0.3.35 --bad 0.3.36 --checkout ../llama.cpp",
)

_COMMIT = "git:"


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the command."""
    command.describe(parser, _TEXT, run)
    parser.add_argument("nodeid", metavar="NODEID", help="the test to measure, as on pytest's command line")
    ends = parser.add_argument_group(
        "builds",
        "two releases or two commits (git:REF:CHECKOUT), to test all builds between them; or a list",
    )
    ends.add_argument("--good", metavar="BUILD", help="the earlier end, known to be good")
    ends.add_argument("--bad", metavar="BUILD", help="the later end, known to be bad")
    ends.add_argument("--builds", metavar="BUILD,BUILD,...", help="all builds, in order")
    ends.add_argument(
        "--checkout",
        metavar="PATH",
        help="a checkout of llama.cpp, to bisect each culprit down to a commit",
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        default="",
        help="metric to bisect: one that the test gates, or output (default: the first metric in which the "
        "ends show a loss, or the output if there is none)",
    )
    parser.add_argument(
        "--neighbours",
        action="store_true",
        help="compare every build with the one before it, so that no gain can hide a loss (default: bisect)",
    )
    parser.add_argument(
        "--effort", choices=SESSIONS, default="normal", help="as for pytest (default: normal)"
    )
    parser.add_argument(
        "--model", metavar="NAME_OR_FILE", action="append", default=[], help="pytest's --llm-model"
    )
    parser.add_argument("--time-limit", metavar="TIME", help="pytest's --llm-time-limit, for one comparison")
    parser.add_argument(
        "--cache",
        metavar="DIR",
        help="cache folder, for models and comparisons (default: the ini key llm_cache, PYTEST_LLM_CACHE, or "
        "the user's cache folder)",
    )
    parser.add_argument(
        "--no-operators",
        dest="operators",
        action="store_false",
        help="do not measure which operators got slower (saves up to two minutes a culprit, and compiling "
        "llama.cpp's operator benchmark; builds made from source only)",
    )
    parser.add_argument("--fresh", action="store_true", help="ignore stored comparisons and measure again")


def run(arguments: argparse.Namespace) -> command.Answer:
    """Bisect."""
    start = Path.cwd()
    builds = build_range.builds(arguments, start, on_progress=_on_progress)
    onwards = Onwards(arguments.checkout, builds, start) if arguments.checkout else None
    options = _options(arguments)

    def parse(text: str) -> BuildReference:
        return parse_build(text, start)

    with closing(Provider(project.cache(arguments.cache, start), ANSWER_SECONDS)) as provider:

        def bisected(builds: Sequence[str]) -> Bisected:
            return _bisect(
                arguments, builds, options, lambda text: provider.describe(parse(text), _on_progress)
            )

        def told(found: Bisected) -> command.Answer:
            operators = [
                operators_of(found, step, provider, parse, _on_progress) if arguments.operators else ()
                for step in found.found.guilty
            ]
            return _answer(found, options, _words(arguments, found.builds), start, operators)

        found = bisected(builds)
        answer = told(found)
        return answer if onwards is None else onwards.answer(found, answer, bisected, told, _on_progress)


def _on_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _bisect(
    arguments: argparse.Namespace,
    builds: Sequence[str],
    options: Sequence[str],
    describe: Callable[[str], Build],
) -> Bisected:
    cost = bill(len(builds), neighbours=arguments.neighbours)
    share = bill(len(builds)).most  # the most that either way takes
    cache = project.cache(arguments.cache, Path.cwd())
    runner = Runner(arguments.nodeid, Path.cwd(), (*options, f"--llm-cache={cache}"))
    planned = runner.plan(builds[0], builds[-1], share)
    if arguments.metric:
        interpret.check(arguments.metric, planned)
    kept = Kept(cache / "bisect", _conditions(planned, options), fresh=arguments.fresh)
    pairs = Pairs(builds, describe, runner, kept, share, len(planned.gates))
    progress = Progress(sys.stderr, pairs, planned, cost)
    progress.begin()
    try:
        return bisect(
            pairs,
            planned,
            share,
            target=arguments.metric,
            neighbours=arguments.neighbours,
            watch=progress.compared,
        )
    except KeyboardInterrupt:
        progress.interrupted()
        raise


def _answer(
    found: Bisected,
    options: Sequence[str],
    words: Sequence[str],
    start: Path,
    operators: Sequence[Sequence[OperatorRun]],
) -> command.Answer:
    guilty = {step: commits.titles(found, step, start) for step in found.found.guilty}
    texts = [
        paragraph(found, step, options, words, title, its)
        for (step, title), its in zip(guilty.items(), operators, strict=True)
    ]
    lines = report.lines(found)
    lines += [f"guilty {line}" for title in guilty.values() for line in title]
    for text in texts:
        lines += ["", "─── to paste into an issue " + "─" * 20, "", *text]
    if found.compared:
        lines += ["", f"{report.error_rate(found)}."]
    document = {
        **report.document(found),
        "operators": [[operators_entry(each) for each in its] for its in operators],
        "texts": ["\n".join(text) for text in texts],
    }
    return command.Answer(int(not texts), lines, document)


def _options(arguments: argparse.Namespace) -> list[str]:
    options = [f"--llm-effort={arguments.effort}", *(f"--llm-model={each}" for each in arguments.model)]
    return options + ([f"--llm-time-limit={arguments.time_limit}"] if arguments.time_limit else [])


def _conditions(planned: Planned, options: Sequence[str]) -> dict[str, object]:
    """Return what answers depend on besides the builds."""
    asked = encode(planned)
    test = {name: asked[name] for name in ("nodeid", "model_sha256", "load_options", "workload", "gates")}
    return {
        "test": test,
        "options": list(options),
        "machine": fingerprint.fingerprint(),
        "plugin": __version__,
    }


def _words(arguments: argparse.Namespace, builds: Sequence[str]) -> list[str]:
    of_commits = all(f"@{_COMMIT}" in each for each in builds) and _COMMIT not in (arguments.builds or "")
    build_range = (
        [f"--good={builds[0]}", f"--bad={builds[-1]}"] if of_commits else [f"--builds={','.join(builds)}"]
    )
    words = ["bisect", arguments.nodeid, *build_range, f"--effort={arguments.effort}"]
    words += [f"--model={each}" for each in arguments.model]
    words += [f"--metric={arguments.metric}"] if arguments.metric else []
    words += [f"--time-limit={arguments.time_limit}"] if arguments.time_limit else []
    words += [] if arguments.operators else ["--no-operators"]
    return words + (["--neighbours"] if arguments.neighbours else [])
