"""``pytest-llm models``: list, fetch, verify, make and pin models."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.cli import command, project
from pytest_llm.engines import DEFAULT, engine_for
from pytest_llm.errors import EngineError, ModelError, UsageError
from pytest_llm.models import ModelStore, builtin_entries
from pytest_llm.models.catalogue import check_name, read_project
from pytest_llm.models.gguf.ggml_types import file_type_number, file_types
from pytest_llm.records import Installed, LoadOptions, Subject
from pytest_llm.records.units import BYTES
from pytest_llm.system.atomic_file import replace

if TYPE_CHECKING:
    import argparse

    from pytest_llm.models.catalogue import Entry
    from pytest_llm.records import Model

_LIST = command.Text(
    summary="list the models that have a name",
    more="Those of this package and of [tool.pytest_llm.models] in pyproject.toml, each with its source and "
    "whether its file is here.",
    statuses="0",
    example="pytest-llm models list",
)
_FETCH = command.Text(
    summary="fetch models, and check their hashes",
    more="What is here is not fetched again, what was interrupted is gone on with, and a model without a "
    "pinned SHA-256 is never fetched.",
    statuses="0; 1 if a model could not be fetched",
    example="pytest-llm models fetch smollm2-135m",
)
_VERIFY = command.Text(
    summary="hash the files of models, and compare with what is pinned",
    more="Reads every byte. Nothing is fetched.",
    statuses="0; 1 if a file is missing or another one",
    example="pytest-llm models verify smollm2-135m",
)
_MAKE = command.Text(
    summary="make a model with weights of another type",
    more="By llama.cpp's own quantiser, of the llama-cpp-python of this environment. From a quantised model "
    "only a worse or a larger one can be made.",
    statuses="0; 1 if llama.cpp refuses",
    example="pytest-llm models make smollm2-135m F16 smollm2-f16.gguf",
)
_PIN = command.Text(
    summary="give a model a name, and pin its SHA-256 in pyproject.toml",
    more="SOURCE is a path, a URL, hf:OWNER/REPOSITORY/FILE.gguf@REVISION, ollama:NAME:TAG or "
    "lmstudio:PUBLISHER/NAME. The file is fetched if it is not here; from then on tests may fetch it, too.",
    statuses="0; 1 if the file is missing, or cannot be fetched",
    example="pytest-llm models pin small hf:OWNER/REPOSITORY/FILE.gguf@main",
)
_TIMEOUT = 3600.0  # of a copy of a large model
_HERE, _AWAY, _MISSING = "here", "not fetched", "missing"


def add_to(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    listing = command.add(commands, "list", _LIST, _list)
    fetch = command.add(commands, "fetch", _FETCH, _fetch)
    verify = command.add(commands, "verify", _VERIFY, _verify)
    for each in (fetch, verify):
        each.add_argument("models", metavar="MODEL", nargs="+", help="name, path or source")
    make = command.add(commands, "make", _MAKE, _make)
    make.add_argument("model", metavar="MODEL", help="name, path or source")
    make.add_argument("type", metavar="TYPE", help=f"one of {', '.join(file_types())}")
    make.add_argument("output", metavar="FILE.gguf", type=Path, help="the new file")
    pin = command.add(commands, "pin", _PIN, _pin)
    pin.add_argument("name", metavar="NAME", help="the name in tests")
    pin.add_argument("source", metavar="SOURCE", help="where the file is")
    for each in (listing, fetch, verify, make, pin):
        command.add_cache_to(each, "which holds the models in models/")


def _list(arguments: argparse.Namespace) -> command.Answer:
    store, entries = _store_of(arguments)
    documents = [_listed(store, each) for each in entries.values()]
    lines = []
    for each in documents:
        size = f", {BYTES.format(each['bytes'])}" if each["bytes"] else ""
        lines += [f"{each['name']}: {each['state']}{size}", f"  {each['source']}"]
    return command.Answer(0, lines, {"models": documents})


def _listed(store: ModelStore, entry: Entry) -> dict[str, Any]:
    found = store.header(entry.name)
    try:
        store.check(entry.name)
        state = _HERE if found else _AWAY
    except (ModelError, UsageError):
        state = _MISSING
    size = found[0] if found else entry.size
    return {
        "name": entry.name,
        "source": entry.source,
        "sha256": entry.sha256,
        "bytes": size,
        "state": state,
    }


def _fetch(arguments: argparse.Namespace) -> command.Answer:
    store, _ = _store_of(arguments)
    return _each(arguments.models, store)


def _verify(arguments: argparse.Namespace) -> command.Answer:
    store, entries = _store_of(arguments)
    away = [each for each in arguments.models if each in entries and not store.is_here(each)]
    found = _each([each for each in arguments.models if each not in away], store)
    missing = [f"{each} is not here: fetch it with pytest-llm models fetch {each}" for each in away]
    lines = [*found.lines, *missing]
    document: Any = found.document
    document["problems"] += missing
    return command.Answer(int(bool(document["problems"])), lines, document)


def _each(names: list[str], store: ModelStore) -> command.Answer:
    lines, problems, documents = [], [], []
    for name in names:
        try:
            model = store.resolve(name)
        except (ModelError, UsageError) as error:
            problems.append(str(error))
            lines.append(problems[-1])
            continue
        documents.append(_document(model))
        lines.append(f"{name}: {BYTES.format(model.file_bytes)}, SHA-256 {model.sha256}, {model.path}")
    return command.Answer(int(bool(problems)), lines, {"models": documents, "problems": problems})


def _make(arguments: argparse.Namespace) -> command.Answer:
    store, _ = _store_of(arguments)
    try:
        kind = file_type_number(arguments.type.upper())
    except KeyError:
        raise UsageError(
            f"{arguments.type} is no type of weights: write one of {', '.join(file_types())}"
        ) from None
    output = Path.cwd() / arguments.output
    if output.exists():
        raise UsageError(f"{output} exists: name another file, or remove it")
    if output.suffix.lower() != ".gguf":
        raise UsageError(f"{output.name} does not end with .gguf: tests would take it for a name")
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        model = store.resolve(arguments.model)
        engine = engine_for(Installed(DEFAULT), _TIMEOUT)
        command.on_progress(f"copying {model.name} with weights of {arguments.type.upper()}")
        subject = Subject(model.name, Installed(DEFAULT), LoadOptions())
        with closing(engine.start_generation(subject, model)) as started:
            started.write_copy(output, kind)
        made = store.resolve(str(output))
    except (EngineError, ModelError) as error:
        return command.Answer(1, [str(error)], {"problem": str(error)})
    line = f"{arguments.output}: {made.quantization}, {BYTES.format(made.file_bytes)}, SHA-256 {made.sha256}"
    return command.Answer(0, [line], _document(made))


def _pin(arguments: argparse.Namespace) -> command.Answer:
    store, entries = _store_of(arguments)
    name, file = arguments.name, project.home(Path.cwd()) / "pyproject.toml"
    check_name(name, f"the name {name!r}")
    if name in entries:
        raise UsageError(f"{name} is {entries[name].source} already: name it otherwise, or change {file}")
    try:
        entry = store.pin(name, arguments.source)
    except ModelError as error:
        return command.Answer(1, [str(error)], {"problem": str(error)})
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    replace(file, f"{before}{gap}{_table(entry)}".encode())
    read_project(file)  # says what is wrong with the file, if it was before
    lines = [f"{name} is pinned in {file}:", *(f"  {each}" for each in _table(entry).splitlines())]
    return command.Answer(0, lines, {"name": name, "source": entry.source, "sha256": entry.sha256})


def _table(entry: Entry) -> str:
    name = json.dumps(entry.name) if "." in entry.name else entry.name
    return (
        f"[tool.pytest_llm.models.{name}]\n"
        f"source = {json.dumps(entry.source, ensure_ascii=False)}\n"
        f'sha256 = "{entry.sha256}"\n'
        f"size = {entry.size}\n"
    )


def _document(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "path": model.path,
        "sha256": model.sha256,
        "bytes": model.file_bytes,
        "quantization": model.quantization,
    }


def _store_of(arguments: argparse.Namespace) -> tuple[ModelStore, dict[str, Entry]]:
    here = Path.cwd()
    home = project.home(here)
    entries = {**builtin_entries(), **read_project(home / "pyproject.toml")}
    cache = project.cache(arguments.cache, here)
    return ModelStore(cache, entries, home, show=command.on_progress), entries
