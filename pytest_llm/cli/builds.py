"""``pytest-llm builds``: list, make, remove and look up builds of llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.builds import identity_of, pins, released
from pytest_llm.builds.provider import build_store
from pytest_llm.cli import command, project
from pytest_llm.errors import BuildError, EngineError, UsageError
from pytest_llm.records.serialization import encode
from pytest_llm.records.units import BYTES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pytest_llm.builds import BuildStore, Identity, Manifest, StoredBuild
    from pytest_llm.records import BuildReference

_LIST = command.Text(
    summary="list the builds that were made",
    more="Prints the size, Python, date and package index of each build, and the version, commit and "
    "compiler that it reports. An incomplete build is listed as unfinished and is never used.",
    statuses="0",
    example="pytest-llm builds list",
)
_MAKE = command.Text(
    summary="make builds, each in a folder of its own",
    more="An existing build is left as it is. Progress goes to standard error.",
    statuses="0; 1 if a build failed",
    example="pytest-llm builds make 0.3.35 '0.3.36[-DGGML_NATIVE=OFF]'\n  pytest-llm builds make "
    "git:master~3:../llama.cpp",
)
_REMOVE = command.Text(
    summary="remove builds",
    more="Removes a build for every Python and package index that it was made for. A build in use is kept.",
    statuses="0; 1 if a build is in use or does not exist",
    example="pytest-llm builds remove 0.3.35",
)
_NEWEST = command.Text(
    summary="print the newest release",
    more="Prints the newest release of llama-cpp-python in pip's package index, without trial releases. With "
    "--checkout, prints the release tag of llama.cpp with the highest number, such as b6100, as a build.",
    statuses="0",
    example='pytest --llm-bench --llm-candidate "$(pytest-llm builds newest)" --llm-against 0.3.35',
)
_BUILD = (
    "a release, or a commit of a checkout of llama.cpp, with optional CMake settings: 0.3.36, "
    "'0.3.36[-DGGML_AVX2=OFF]', git:master~3:../llama.cpp; or an archive: llama-server@b11434"
)


def add_to(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    listing = command.add(commands, "list", _LIST, _list)
    make = command.add(commands, "make", _MAKE, _make)
    make.add_argument("builds", metavar="BUILD", nargs="+", help=_BUILD)
    remove = command.add(commands, "remove", _REMOVE, _remove)
    remove.add_argument("builds", metavar="BUILD", nargs="*", help=_BUILD)
    remove.add_argument("--all", action="store_true", help="remove all builds, incomplete ones, too")
    newest = command.add(commands, "newest", _NEWEST, _newest)
    newest.add_argument("--checkout", metavar="DIR", type=Path, help="a checkout of llama.cpp with its tags")
    for each in (listing, make, remove):
        command.add_cache_to(each, "which holds the builds in builds/")


def _list(arguments: argparse.Namespace) -> command.Answer:
    store = _store_of(arguments)
    kept = store.kept()
    lines = [f"builds in {store.folder}", *(line for each in kept for line in _kept_lines(each))]
    if not kept:
        lines = [f"no builds in {store.folder}: make one with pytest-llm builds make 0.3.36"]
    document = {"folder": str(store.folder), "builds": [_kept_document(each) for each in kept]}
    return command.Answer(0, lines, document)


def _kept_lines(kept: StoredBuild) -> list[str]:
    size = BYTES.format(kept.bytes)
    if kept.manifest is None:
        return [f"  {kept.folder.name}: {kept.state}, {size}"]
    identity = kept.manifest.identity
    python = f"{identity.python}, " if identity.python else ""
    return [
        f"  {identity.title}: {size}, {python}made {kept.manifest.made[:10]}",
        f"    {_described(kept.manifest)}",
        *([f"    from {' '.join(identity.index)}"] if identity.index else []),
    ]


def _make(arguments: argparse.Namespace) -> command.Answer:
    store = _store_of(arguments)
    lines, documents = [], []
    for identity, reference in _asked(arguments.builds).items():
        line, document = _make_one(store, identity, reference)
        lines.append(line)
        documents.append(document)
    failed = any("error" in each for each in documents)
    return command.Answer(int(failed), lines, {"folder": str(store.folder), "builds": documents})


def _make_one(store: BuildStore, identity: Identity, reference: BuildReference) -> tuple[str, dict[str, Any]]:
    try:
        made = store.make(reference, command.on_progress)
    except EngineError as error:
        for line in error.log:
            command.on_progress(f"  | {line}")
        document = {"build": identity.title, "error": str(error), "log": list(error.log)}
        return str(error), document
    return f"{identity.title}: {_described(made)}", _made_document(made)


def _remove(arguments: argparse.Namespace) -> command.Answer:
    if bool(arguments.builds) == arguments.all:
        raise UsageError("name the builds to remove, or --all of them; pytest-llm builds list shows them")
    store, wanted = _store_of(arguments), _asked(arguments.builds)
    kept = store.kept()
    going = [each for each in kept if arguments.all or any(_is(each, one) for one in wanted)]
    staying = [f"{one.title} is not there" for one in wanted if not any(_is(each, one) for each in kept)]
    lines, removed = [], []
    for each in going:
        try:
            store.remove(each)
        except BuildError as error:
            staying.append(str(error))
            continue
        lines.append(f"removed {each.folder.name}, {BYTES.format(each.bytes)}")
        removed.append({"folder": str(each.folder), "bytes": each.bytes})
    if not going and arguments.all:
        lines.append(f"nothing to remove in {store.folder}")
    document = {"folder": str(store.folder), "removed": removed, "problems": staying}
    return command.Answer(int(bool(staying)), [*lines, *staying], document)


def _newest(arguments: argparse.Namespace) -> command.Answer:
    checkout: Path | None = arguments.checkout
    tag = released.newest_tag(checkout) if checkout else released.newest_release(released.released_versions())
    build = pins.as_build(tag, checkout)
    return command.Answer(0, [build], {"build": build})


def _is(kept: StoredBuild, identity: Identity) -> bool:
    if kept.manifest is None:
        return kept.folder.name == identity.key
    return kept.manifest.identity.title == identity.title


def _store_of(arguments: argparse.Namespace) -> BuildStore:
    return build_store(project.cache(arguments.cache, Path.cwd()), project.home(Path.cwd()))


def _asked(texts: Sequence[str]) -> dict[Identity, BuildReference]:
    found = [project.build(each, Path.cwd()) for each in texts]
    return {identity_of(each): each for each in found}


def _made_document(manifest: Manifest) -> dict[str, Any]:
    return {"build": manifest.identity.title, **encode(manifest)}


def _kept_document(kept: StoredBuild) -> dict[str, Any]:
    made = {} if kept.manifest is None else _made_document(kept.manifest)
    return {"folder": str(kept.folder), "state": kept.state, "bytes": kept.bytes, **made}


def _described(manifest: Manifest) -> str:
    described = manifest.description
    return ", ".join(each for each in (str(described), described.compiled_with) if each)
