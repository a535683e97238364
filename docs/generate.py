"""Write the tables and JSON Schemas of docs/ that follow from the code.

    uv run python -m docs.generate

Replaces what stands between ``<!-- generated: NAME -->`` and ``<!-- end -->`` in the pages below.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import yaml

from benchmarks import anchored, error_rates
from benchmarks.runs import kept
from pytest_llm import cli
from pytest_llm.baselines import file_format
from pytest_llm.measure.plan import SESSIONS
from pytest_llm.plugin import markers, options, suite_schema
from pytest_llm.records import LoadOptions
from pytest_llm.records.metrics import METRICS
from pytest_llm.reports import results_file
from pytest_llm.stats import sequential

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


FOLDER = Path(__file__).parent
SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "results-v1.schema.json": results_file.DOCUMENT.schema,
    "machine-baselines-v1.schema.json": file_format.MACHINE.schema,
    "portable-baselines-v1.schema.json": file_format.PORTABLE.schema,
    "suite-v1.schema.json": suite_schema.schema,
}
_FAMILIES = (1, 2, 24)
_BLOCK = re.compile(r"(?<=<!-- generated: )(?P<name>\w+)(?P<open> -->\n).*?(?=<!-- end -->)", re.DOTALL)


def pages() -> Iterator[Path]:
    """Yield every page that has a generated table."""
    return (page for page in sorted(FOLDER.glob("*.md")) if _BLOCK.search(page.read_text(encoding="utf-8")))


def generated(text: str) -> str:
    """Return a page with its tables as the code has them now."""
    return _BLOCK.sub(lambda found: f"{found['name']}{found['open']}{_TABLES[found['name']]()}", text)


def schema(name: str) -> str:
    """Return a JSON Schema of ``SCHEMAS`` as its file has it."""
    return json.dumps(SCHEMAS[name](), indent=1) + "\n"


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(each.replace('|', chr(92) + '|') for each in line)} |\n" for line in lines)


def _markers() -> str:
    rows = (line.partition(": ") for line in markers.ini_lines())
    return _table(["marker", "what it does"], ([f"`{name}`", text] for name, _, text in rows))


def _load_options() -> str:
    types = get_type_hints(LoadOptions)
    return _table(
        ["option", "default", "values"],
        (
            [
                f"`{each.name}`",
                _default(each),
                ", ".join(f"`{value}`" for value in get_args(types[each.name])),
            ]
            for each in dataclasses.fields(LoadOptions)
        ),
    )


def _default(option: dataclasses.Field[object]) -> str:
    return "physical cores" if option.name in ("n_threads", "n_threads_batch") else f"`{option.default!r}`"


def _metrics() -> str:
    return _table(
        ["metric", "unit", "better", "tolerance", "definition", "source"],
        (
            [
                f"`{each.name}`",
                each.unit.base,
                each.better,
                "" if each.slope else f"{100 * each.tolerance:g} %",
                each.definition,
                each.source,
            ]
            for each in METRICS.values()
        ),
    )


def _rule() -> str:
    def looks(effort: str, family: int) -> str:
        return ", ".join(str(each) for each in sequential.rule_for(effort, family).looks)

    return _table(
        ["effort", "α", "β", *(f"looks, m = {family}" for family in _FAMILIES)],
        (
            [
                effort,
                f"{rule.alpha:g}",
                f"{rule.beta:g}",
                *(looks(effort, family) for family in _FAMILIES),
            ]
            for effort in SESSIONS
            for rule in [sequential.rule_for(effort, 1)]
        ),
    )


def _options() -> str:
    return _table(
        ["option", "what it does"],
        ([f"`{f'{each.flag} {each.metavar}'.strip()}`", each.help] for each in options.OPTIONS),
    )


def _commands() -> str:
    groups = [_commands_of(cli.parser(name))[name] for name in cli.GROUPS]
    return "\n".join(_help(each) for group in groups for each in _commands_of(group).values() or [group])


def _commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = (each.choices for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return next(found, {})


def _help(parser: argparse.ArgumentParser) -> str:
    epilog = (parser.epilog or "").partition("\n\nexample:\n")
    actions = (each for each in parser._actions if not isinstance(each, argparse._HelpAction))
    example = "".join(f"$ {line.strip()}\n" for line in epilog[2].splitlines())
    rows = ([f"`{_argument(each)}`", (each.help or "") % vars(each)] for each in actions)
    return (
        f"## {parser.prog}\n\n{parser.description}\n\n```console\n{example}```\n\n"
        f"{_table(['argument', 'what it does'], rows)}\n{epilog[0].capitalize()}\n"
    )


def _argument(action: argparse.Action) -> str:
    value = action.metavar or ("{" + ",".join(action.choices) + "}" if action.choices else "")
    several = "…" if action.nargs in ("+", "*") else ""
    return f"{' '.join(action.option_strings)} {value}{several}".strip()


def _faults() -> str:
    from tests import faults

    return _table(
        ["what happens", "what follows", "test"],
        (
            [each.happens, each.then, f"[{test.partition('::')[2]}](../{test.partition('::')[0]})"]
            for test, each in faults.rows()
        ),
    )


def _anchored() -> str:
    return "".join(f"{line}\n" for line in anchored.report(kept(anchored.DATA)))


def _error_rates() -> str:
    return "".join(f"{line}\n" for line in error_rates.report()).rstrip("\n") + "\n"


def _inputs() -> str:
    rows = _action()["inputs"].items()
    return _table(
        ["input", "default", "meaning"],
        (
            [f"`{name}`", f"`{each['default']}`" if each["default"] else "", each["description"]]
            for name, each in rows
        ),
    )


def _outputs() -> str:
    rows = _action()["outputs"].items()
    return _table(["output", "meaning"], ([f"`{name}`", each["description"]] for name, each in rows))


def _action() -> Any:
    return yaml.safe_load((FOLDER.parent / "action.yml").read_text(encoding="utf-8"))


_TABLES: dict[str, Callable[[], str]] = {
    "markers": _markers,
    "load_options": _load_options,
    "metrics": _metrics,
    "rule": _rule,
    "options": _options,
    "commands": _commands,
    "faults": _faults,
    "anchored": _anchored,
    "error_rates": _error_rates,
    "inputs": _inputs,
    "outputs": _outputs,
}


def main() -> None:
    """Rewrite the pages and the schemas."""
    for name in SCHEMAS:
        (FOLDER / name).write_text(schema(name), encoding="utf-8")
    for page in pages():
        page.write_text(generated(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
