"""``pytest-llm bisect``: find the builds that made a test slower or changed its output."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm import __version__
from pytest_llm.bisect import build_range, commits, interpret, issue, report
from pytest_llm.bisect.bisection import BisectProgress, bisect
from pytest_llm.bisect.cache import Cache
from pytest_llm.bisect.comparisons import Pairs
from pytest_llm.bisect.operators import operators_of
from pytest_llm.bisect.pytest_runner import Runner
from pytest_llm.bisect.report import Report
from pytest_llm.bisect.search import bill
from pytest_llm.builds.provider import ANSWER_SECONDS, Provider
from pytest_llm.builds.reference import parse_build
from pytest_llm.cli import command, project
from pytest_llm.machine import fingerprint
from pytest_llm.measure.plan import SESSIONS
from pytest_llm.records.serialization import encode
from pytest_llm.reports.results import operators_entry

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pytest_llm.bisect.bisection import Bisected
    from pytest_llm.bisect.pytest_runner import Planned
    from pytest_llm.bisect.search import Stretch
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
        "--checkout", metavar="PATH", help="a checkout of llama.cpp, to bisect each culprit down to a commit"
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
    command.add_cache_to(parser, "for models and comparisons")
    parser.add_argument(
        "--no-operators",
        dest="operators",
        action="store_false",
        help="do not measure which operators got slower (saves up to two minutes a culprit, and compiling "
        "llama.cpp's operator benchmark; builds made from source only)",
    )
    parser.add_argument("--fresh", action="store_true", help="ignore stored comparisons and measure again")


def run(arguments: argparse.Namespace) -> command.Answer:
    start = Path.cwd()
    settings = project.build_settings(start)
    builds = build_range.builds(
        arguments.good,
        arguments.bad,
        arguments.builds,
        lambda text: project.build(text, start),
        command.on_progress,
    )
    checkout = commits.checkout_of(arguments.checkout, builds, start) if arguments.checkout else None
    cache, home = project.cache(arguments.cache, start), project.home(start)
    with closing(Provider(cache, ANSWER_SECONDS, home=home)) as provider:
        bisection = _Bisection(arguments, start, provider)
        found = bisection.bisect(builds)
        answer = bisection.report(found)
        if checkout is not None:
            answer = commits.into_commits(
                found,
                answer,
                lambda step: commits.inside(found, step, checkout, start, settings),
                lambda builds: bisection.report(bisection.bisect(builds)),
                command.on_progress,
            )
    return command.Answer(int(not answer.culprits), answer.lines, answer.document)


class _Bisection:
    """Arguments and options that the bisects of one command share."""

    def __init__(self, arguments: argparse.Namespace, start: Path, provider: Provider) -> None:
        self._arguments = arguments
        self._start = start
        self._provider = provider
        self._cache = project.cache(arguments.cache, start)
        limit = [f"--llm-time-limit={arguments.time_limit}"] if arguments.time_limit else []
        models = [f"--llm-model={each}" for each in arguments.model]
        self._options = [f"--llm-effort={arguments.effort}", *models, *limit]

    def bisect(self, builds: Sequence[str]) -> Bisected:
        arguments = self._arguments
        share = bill(len(builds)).most  # the most that either way takes
        runner = Runner(arguments.nodeid, self._start, (*self._options, f"--llm-cache={self._cache}"))
        planned = runner.plan(builds[0], builds[-1], share)
        if arguments.metric:
            interpret.check(arguments.metric, planned)
        cache = Cache(self._cache / "bisect", self._conditions(planned), fresh=arguments.fresh)
        pairs = Pairs(builds, self._describe, runner, cache, share, len(planned.gates))
        cost = bill(len(builds), neighbours=arguments.neighbours)
        progress = BisectProgress(command.on_progress, pairs, planned, cost)
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
            command.on_progress(
                "interrupted: the comparisons are stored; the same command resumes the bisect"
            )
            raise

    def report(self, found: Bisected) -> Report:
        culprits = found.search.culprits
        about = [commits.describe(found, step, self._start) for step in culprits]
        operators = [self._operators(found, step) for step in culprits]
        command_line = self._command_line(found.builds)
        texts = [
            issue.text(found, step, self._options, command_line, lines_about, times)
            for step, lines_about, times in zip(culprits, about, operators, strict=True)
        ]
        lines = [*report.lines(found), *(f"culprit {line}" for each in about for line in each)]
        for text in texts:
            lines += ["", "─── to paste into an issue " + "─" * 20, "", *text]
        if found.compared:
            lines += ["", f"{report.error_rate(found)}."]
        document = {
            **report.document(found),
            "operators": [[encode(operators_entry(each)) for each in its] for its in operators],
            "texts": ["\n".join(text) for text in texts],
        }
        return Report(lines, document, len(texts))

    def _parse(self, text: str) -> BuildReference:
        return parse_build(text, self._start, archives=project.archives(self._start))

    def _describe(self, text: str) -> Build:
        return self._provider.describe(self._parse(text), command.on_progress)

    def _operators(self, found: Bisected, step: Stretch) -> Sequence[OperatorRun]:
        if not self._arguments.operators:
            return ()
        return operators_of(found, step, self._provider, self._parse, command.on_progress)

    def _conditions(self, planned: Planned) -> dict[str, object]:
        """Return what answers depend on besides the builds."""
        asked = encode(planned)
        test = {name: asked[name] for name in ("nodeid", "model_sha256", "load_options", "workload", "gates")}
        return {
            "test": test,
            "options": self._options,
            "machine": fingerprint.fingerprint(),
            "plugin": __version__,
        }

    def _command_line(self, builds: Sequence[str]) -> list[str]:
        arguments = self._arguments
        of_commits = all(f"@{_COMMIT}" in each for each in builds) and _COMMIT not in (arguments.builds or "")
        ends = [f"--good={builds[0]}", f"--bad={builds[-1]}"]
        words = ["bisect", arguments.nodeid, *(ends if of_commits else [f"--builds={','.join(builds)}"])]
        words += [f"--effort={arguments.effort}", *(f"--model={each}" for each in arguments.model)]
        words += [f"--metric={arguments.metric}"] if arguments.metric else []
        words += [f"--time-limit={arguments.time_limit}"] if arguments.time_limit else []
        words += [] if arguments.operators else ["--no-operators"]
        return words + (["--neighbours"] if arguments.neighbours else [])
