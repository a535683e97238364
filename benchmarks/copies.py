"""How far files of equal bytes are apart in speed, by how they lie in the page cache.

    uv run python -m benchmarks.copies --server llama-server@bin:PROGRAM

Of SmolLM2, two llama-servers have a copy that was written in pieces of 1 MiB, two a copy in pieces of 4 KiB,
and two the file itself. In each round all generate behind a fresh prompt, in an order drawn anew. Printed is
the mean over rounds of a token's milliseconds, less those of the first, with Student's 99 % interval. Two
servers on one file are apart by something else.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.server_agreement import of_slices
from pytest_llm.builds.provider import ANSWER_SECONDS, Provider
from pytest_llm.builds.reference import parse_build
from pytest_llm.measure.rounds import awake
from pytest_llm.models import ModelStore, builtin_entries
from pytest_llm.models.copies import model_at
from pytest_llm.records import LoadOptions, Subject, Workload
from pytest_llm.stats.differences import difference
from pytest_llm.system.folders import default_cache

if TYPE_CHECKING:
    from pytest_llm.records.protocols import Loaded

WORKLOAD = Workload(128, 64)


def copied(source: Path, target: Path, piece: int) -> str:
    """Write a copy in pieces of so many bytes; return its path."""
    data = source.read_bytes()
    with target.open("wb", buffering=0) as file:
        for at in range(0, len(data), piece):
            file.write(data[at : at + piece])
    return str(target)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--server", default="llama-server", help="a build")
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    cache = default_cache(os.environ)
    model = ModelStore(cache, builtin_entries(), Path.cwd()).resolve("smollm2-135m")
    options = LoadOptions(n_ctx=512, n_threads=1, n_threads_batch=1)
    build = parse_build(given.server, Path.cwd())
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Provider(cache, ANSWER_SECONDS)) as provider,
        ExitStack() as stack,
    ):
        source = Path(model.path)
        files = {
            "a copy written in pieces of 1 MiB": copied(source, Path(folder, "large.gguf"), 2**20),
            "a copy written in pieces of 4 KiB": copied(source, Path(folder, "small.gguf"), 2**12),
            "the file that the copies were made of": model.path,
        }
        started = [(f"{name}{more}", path) for more in ("", ", again") for name, path in files.items()]
        subjects: dict[str, Loaded] = {}
        for name, path in started:
            placed = model_at(model, path)
            assert placed is not None
            engine = provider.engine(build, print)
            found = stack.enter_context(closing(engine.start(Subject(model.name, build, options), placed)))
            found.load()
            found.rehearse(WORKLOAD)
            found.suspend()
            subjects[name] = found
        seconds: dict[str, list[float]] = {name: [] for name in subjects}
        for _ in range(given.rounds):
            for name in random.sample([*subjects], len(subjects)):
                with awake(subjects[name]):
                    seconds[name].append(of_slices(subjects[name]))
    first, *others = seconds
    print("| file | ms a token, less the first row |\n| --- | --- |")
    print(f"| {first} | 0 ({1e3 * median(seconds[first]):.1f} ms) |")
    for name in others:
        apart = difference(seconds[name], seconds[first])
        assert apart.interval is not None
        low, high = (1e3 * each for each in apart.interval)
        print(f"| {name} | {1e3 * apart.mean:+.2f} ({low:+.2f} … {high:+.2f}) |")


if __name__ == "__main__":
    main()
